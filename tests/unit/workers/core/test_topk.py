"""The top-k against sorting everything, and its laws."""

from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.core import shard_scores
from workers.core.recording import locate
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
    return Rows.make(layer_index=layer, channel=channel, score=score, image_index=image, key=key)


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


@given(st.integers(0, 2**16), st.integers(1, 5), st.integers(1, 20), st.booleans())
def test_the_top_rows_of_a_shard_equal_sorting_everything(seed, k, images, duplicates):
    random = np.random.default_rng(seed)
    ties = np.array([-3.5, -1, -0.0, 0, 0.5, 2, 3e38, 1e-45], np.float32)
    scores = random.choice(ties, (images, 5))
    keys = random.integers(-2, 4, images) if duplicates else random.permutation(images)
    indices = np.sort(random.choice(1000, images, replace=False))
    found = shard_scores.top_rows(torch.from_numpy(scores), {4: 3, 7: 2}, indices.tolist(), keys.tolist(), k)
    everything = Rows.make(
        layer_index=np.tile([4, 4, 4, 7, 7], images),
        channel=np.tile([0, 1, 2, 0, 1], images),
        score=scores.ravel(),
        image_index=np.repeat(indices, 5),
        key=np.repeat(keys, 5),
    )
    assert listed(found) == sorted_out(everything, k)
    assert not np.signbit(found.score[found.score == 0]).any()


def test_channels_in_many_parts_are_those_of_one(monkeypatch):
    scores = torch.randn(30, 11, generator=torch.Generator().manual_seed(0))
    groups = torch.arange(30) // 3
    whole = [shard_scores.strongest(scores, each, 4) for each in (None, groups)]
    monkeypatch.setattr(shard_scores, "_AT_ONCE", 60)  # two channels
    for each, (values, positions) in zip((None, groups), whole, strict=True):
        again = shard_scores.strongest(scores, each, 4)
        assert torch.equal(again[0], values) and torch.equal(again[1], positions)


def test_of_equal_maxima_the_first_in_row_major_order_is_the_location():
    map_ = torch.tensor([[[[0.0, 3.0], [3.0, 3.0]]]]).contiguous(memory_format=torch.channels_last)
    y, x = locate(map_[0, torch.tensor([0])])
    assert (int(y[0]), int(x[0])) == (0, 1)


def test_minus_zero_is_stored_as_zero():
    made = Rows.make(layer_index=0, channel=0, score=-0.0, image_index=0, key=0)
    assert not np.signbit(made.score[0])


def test_ranks_count_from_zero_within_a_channel():
    found = Rows.make(
        layer_index=[0, 0, 0, 1], channel=[0, 0, 1, 1], score=1, image_index=[0, 1, 0, 0], key=[0, 1, 0, 0]
    )
    assert ranks(found).tolist() == [0, 1, 0, 0]
