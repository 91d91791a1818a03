"""Selectivity against a correlation over all scores, and the choice of channels to look at first."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from service.query import telling
from service.query.catalog import find
from service.query.telling import TELLING, read_overview, selectivities
from tests.support.published import DEAD, publish
from workers.store.root import Root

K = 5


def tables(scores: np.ndarray, labels: list[str | None]) -> tuple[pa.Table, pa.Table]:
    """The rows of `units` and `top` of one layer; scores are (images, channels)."""
    units, top = [], []
    for channel in range(scores.shape[1]):
        own = scores[:, channel]
        units.append(
            {
                "layer_index": 7,
                "channel": channel,
                "images": len(own),
                "mean": own.mean(),
                "std": own.std(),
                "dead": bool(own.max() <= 0),
            }
        )
        for image in np.argsort(-own, kind="stable")[:K]:
            row = {"score": float(own[image]), "image_index": int(image), "label": labels[image]}
            top.append({"layer_index": 7, "channel": channel, **row})
    schema = pa.schema([("layer_index", pa.int32()), ("channel", pa.int32()), ("score", pa.float64()),
                        ("image_index", pa.int64()), ("label", pa.string())])  # fmt: skip
    return pa.Table.from_pylist(units), pa.Table.from_pylist(top, schema)


def expected(scores: np.ndarray, labels: list[str | None]) -> list[float]:
    """The same by numpy's correlation coefficient over all images, and by counting."""
    values = []
    for channel in range(scores.shape[1]):
        own = scores[:, channel]
        best = np.argsort(-own, kind="stable")[:K]
        is_top = np.isin(np.arange(len(own)), best)
        counts = Counter(labels[image] for image in best if own[image] > 0 and labels[image] is not None)
        most = max(counts.values(), default=0)
        if own.max() <= 0:
            values.append(0.0)
        else:
            values.append(np.corrcoef(is_top, own)[0, 1] + (most / K if most > 1 else 0))
    return values


@pytest.mark.parametrize("seed", range(5))
def test_selectivity_is_a_correlation_plus_the_share_of_the_most_common_label(seed):
    random = np.random.default_rng(seed)
    scores = random.normal(size=(60, 12)) ** 3
    scores[:, 3] = -np.abs(scores[:, 3])  # dead
    labels = [None if random.random() < 0.2 else f"label {random.integers(4)}" for _ in range(60)]
    units, top = tables(scores, labels)
    assert selectivities(units, top) == pytest.approx(expected(scores, labels), abs=1e-9)
    plain = selectivities(*tables(scores, [None] * 60))
    assert plain == pytest.approx(expected(scores, [None] * 60), abs=1e-9) and plain.max() <= 1


def test_a_channel_with_one_score_for_its_top_images_and_another_for_the_rest_has_selectivity_1():
    scores = np.zeros((40, 1))
    scores[:K] = 3.0
    assert selectivities(*tables(scores, [None] * 40)) == pytest.approx([1.0])


def test_a_corpus_of_no_more_images_than_are_kept_has_channels_to_look_at(monkeypatch):
    random = np.random.default_rng(1)
    scores = np.abs(random.normal(size=(K, 4)))
    scores[:, 2] = 0
    units, top = tables(scores, ["cat"] * K)
    assert selectivities(units, top).tolist() == [
        1.0,
        1.0,
        0.0,
        1.0,
    ]  # all of their images are labelled alike; one is dead
    monkeypatch.setattr(telling, "read", lambda _run, table, _wanted, _columns: units if table.name == "units" else top)
    [chosen] = read_overview(None).telling.values()
    assert {channel.channel for channel in chosen} == {0, 1, 3}


def test_channels_to_look_at_first_have_different_labels_and_images(monkeypatch):
    random = np.random.default_rng(0)
    scores = np.abs(random.normal(size=(80, 30))) * 0.1
    labels = [f"label {image % 16}" for image in range(80)]
    for channel in range(30):  # channels 2n and 2n+1 have the same top images, all with label n
        scores[[image for image in range(80) if image % 16 == channel // 2], channel] += 1
    units, top = tables(scores, labels)
    monkeypatch.setattr(telling, "read", lambda _run, table, _wanted, _columns: units if table.name == "units" else top)
    [chosen] = read_overview(None).telling.values()
    first = chosen[:15]  # as many as there are labels among the channels
    assert len(chosen) == TELLING and len({channel.label for channel in first}) == len(first)
    assert all((channel.images, channel.top) == (K, K) for channel in chosen)
    best = max(range(30), key=lambda channel: selectivities(units, top)[channel])
    assert chosen[0].channel == best


def test_an_overview_of_a_run_finds_channels_by_number_and_by_label(tmp_path):
    root = Root(str(tmp_path))
    publish(root)
    run = find(root)
    overview = read_overview(run)
    relu2 = run.layer("relu2")
    assert overview.find(relu2.index, 3).channel == 3 and overview.find(relu2.index, 3).layer_index == relu2.index
    found = overview.matching("CA", 100)
    assert found and all(channel.label == "cat" for channel in found)
    assert overview.count_of_label("cat") == len(found) and overview.with_label("cat", 1) == found[:1]
    assert overview.matching("dog", 9) == () == overview.with_label("dog", 9)
    assert all(DEAD not in {channel.channel for channel in chosen} for chosen in overview.telling.values())
