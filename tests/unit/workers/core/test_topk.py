"""The top-k against sorting everything, and its laws."""

from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.core.maxima import Maxima, locate
from workers.core.topk import Rows, merge, ranks

ROW = st.tuples(
    st.integers(0, 1), st.integers(0, 2), st.sampled_from([-1.0, 0.0, 0.5, 2.0]), st.integers(0, 12), st.integers(0, 5)
)


def rows(values) -> Rows:
    """One row per (layer, channel, image): an image has one score and one key."""
    known = {(layer, channel, image): (score, key) for layer, channel, score, image, key in values}
    columns = [(*at, *rest) for at, rest in known.items()]
    if not columns:
        return Rows.empty()
    layer, channel, image, score, key = zip(*columns, strict=True)
    return Rows.make(layer_index=layer, channel=channel, score=score, image_index=image, y=0, x=0, key=key)


def listed(found: Rows):
    return list(zip(found.layer_index, found.channel, found.score, found.image_index, found.key, strict=True))


def sorted_out(found: Rows, k: int):
    """Sort everything, keep each key once, cut behind k."""
    best: list[Any] = []
    kept: dict[Any, Any] = {}
    for row in sorted(listed(found), key=lambda r: (r[0], r[1], -r[2], r[3])):
        seen = kept.setdefault(row[:2], set())
        if row[4] not in seen and len(seen) < k:
            seen.add(row[4])
            best.append(row)
    return best


@given(st.lists(ROW, max_size=60), st.integers(1, 4))
def test_merge_equals_sorting_everything(values, k):
    found = rows(values)
    assert listed(merge([found], k)) == sorted_out(found, k)


@given(st.lists(ROW, max_size=40), st.integers(0, 40), st.integers(0, 40), st.integers(1, 4))
def test_merge_is_associative_commutative_and_idempotent(values, one, other, k):
    found = rows(values)
    low, high = sorted((one, other))
    a, b, c = (found.take(np.arange(len(found))[part]) for part in (slice(low), slice(low, high), slice(high, None)))
    whole = listed(merge([a, b, c], k))
    assert listed(merge([merge([a, b], k), merge([c], k)], k)) == whole
    assert listed(merge([merge([c, b], k), a, a], k)) == whole


@given(st.integers(0, 2**16), st.integers(1, 5), st.integers(1, 7), st.booleans())
def test_maxima_over_batches_equal_sorting_everything(seed, k, batch, duplicates):
    random = np.random.default_rng(seed)
    maps = random.integers(-2, 3, (20, 3, 2, 2)).astype(np.float32)  # many ties
    keys = random.integers(0, 6, 20) if duplicates else np.arange(20)
    maxima = Maxima({4: 3}, k)
    for start in range(0, 20, batch):
        part = slice(start, start + batch)
        look = maxima.begin(keys[part], np.arange(20)[part])
        look.take(4, torch.from_numpy(maps[part]), maps[part].max((2, 3)))
        look.finish()
    everything = Rows.make(
        layer_index=4,
        channel=np.tile(np.arange(3), 20),
        score=maps.max((2, 3)).ravel(),
        image_index=np.repeat(np.arange(20), 3),
        y=0,
        x=0,
        key=np.repeat(keys, 3),
    )
    assert listed(maxima.top) == sorted_out(everything, k)
    where = maps.reshape(20, 3, 4).argmax(2)[maxima.top.image_index, maxima.top.channel]
    assert (maxima.top.y * 2 + maxima.top.x == where).all()


def test_of_equal_maxima_the_first_in_row_major_order_is_the_location():
    map_ = torch.tensor([[[[0.0, 3.0], [3.0, 3.0]]]]).contiguous(memory_format=torch.channels_last)
    y, x = locate(map_, np.array([0]), np.array([0]))
    assert (y[0], x[0]) == (0, 1)


def test_minus_zero_is_stored_as_zero():
    made = Rows.make(layer_index=0, channel=0, score=-0.0, image_index=0, y=0, x=0, key=0)
    assert not np.signbit(made.score[0])


def test_ranks_count_from_zero_within_a_channel():
    found = Rows.make(
        layer_index=[0, 0, 0, 1], channel=[0, 0, 1, 1], score=1, image_index=[0, 1, 0, 0], y=0, x=0, key=[0, 1, 0, 0]
    )
    assert ranks(found).tolist() == [0, 1, 0, 0]
