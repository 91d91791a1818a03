"""Batches of channels: which channels they have, and what names their results."""

from types import SimpleNamespace
from typing import Any

from jobs.run import channels, plan
from workers.actors.job import digest
from workers.actors.shard import ChannelBatch
from workers.store import paths
from workers.store.root import Root

LAYER: Any = SimpleNamespace(name="relu5")
CONFIGURATION, OTHER = "c" * 32, "d" * 32


def test_batches_have_all_channels_in_order_and_the_last_has_the_rest():
    batches = list(channels.cut(LAYER, range(10), 4, CONFIGURATION))
    assert [batch.channels for batch in batches] == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)]
    assert {batch.layer for batch in batches} == {"relu5"}


def test_a_result_is_named_by_layer_and_channels_and_all_else_that_it_depends_on():
    [plain] = channels.cut(LAYER, (3, 7), 4, CONFIGURATION)
    [about] = channels.cut(LAYER, (3, 7), 4, CONFIGURATION, files=["a", "b"])
    assert plain.result == paths.shard_path(CONFIGURATION, digest({"layer": "relu5", "channels": (3, 7)}))
    key = digest({"layer": "relu5", "channels": (3, 7), "files": ["a", "b"]})
    assert about.result == paths.shard_path(CONFIGURATION, key)


def test_items_without_a_result_are_missing_whatever_their_configuration(tmp_path):
    root = Root(str(tmp_path))
    batches = [
        ChannelBatch("relu5", (number,), paths.shard_path(configuration, f"{number}"))
        for number in range(3)
        for configuration in (CONFIGURATION, OTHER)
    ]
    stored = [batches[0], batches[3]]
    for batch in stored:
        root.put(batch.result, b"rows")
    assert plan.missing(root, batches) == [batch for batch in batches if batch not in stored]
    assert plan.missing(root, []) == []
