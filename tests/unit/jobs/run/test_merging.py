"""The tree of merges against sorting everything; what is made again when results are missing, damaged or new."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from jobs.reduce import Reduced, reduce
from jobs.run.deriving import Deriving
from jobs.run.merging import WIDTH, Tree
from jobs.run.results import StoredResults
from jobs.watch import SilentWatcher
from workers.actors.merge import merge
from workers.actors.shard import Merge, Shard
from workers.core import shard_scores
from workers.core.statistics import Statistics
from workers.errors import DamagedFile, MemoryTaken, OutOfMemory
from workers.store import rows
from workers.store.root import Root
from workers.store.tables.scan import SHARD

LAYERS = {3: 4, 8: 2}
IMAGES = 5  # of a shard
K = 3


class Pool:
    """Runs merges at once; keeps what it ran."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.ran: list[Merge] = []

    def run(self, items, progress, judge):
        del progress, judge
        for item in items:
            self.ran.append(item)
            yield merge(self.root, item)


def scores(number: int) -> torch.Tensor:
    """Scores of a shard, with ties; every seventh shard has none."""
    if number % 7 == 6:
        return torch.empty(0, 6)
    return torch.from_numpy(np.random.default_rng(number).integers(-3, 9, (IMAGES, 6)).astype(np.float32))


def keys(number: int) -> list[int]:
    """Images of neighbouring shards share keys."""
    return [(number * IMAGES + image) // 7 for image in range(IMAGES)]


def shards(count: int) -> list[Shard]:
    return [
        Shard(number * IMAGES, (number + 1) * IMAGES, "manifest", f"shards/c0/{number:03}.parquet")
        for number in range(count)
    ]


def write(root: Root, shard: Shard) -> None:
    number = shard.start // IMAGES
    found = scores(number)
    lists: dict[str, pa.Array] = {name: pa.array([], SHARD.field(name).type.value_type) for name in SHARD.names}
    if len(found):
        indices = list(range(shard.start, shard.stop))
        lists["top"] = shard_scores.top_rows(found, LAYERS, indices, keys(number), K).to_arrow()
        lists["statistics"] = shard_scores.statistics(found, LAYERS).to_arrow()
    columns = {name: pa.ListArray.from_arrays([0, len(values)], values) for name, values in lists.items()}
    root.put(shard.result, rows.encode(SHARD, pa.table(columns)))


@pytest.fixture
def run(tmp_path) -> Any:
    root = Root(str(tmp_path))
    return SimpleNamespace(root=root, pool=Pool(root), watch=SilentWatcher(), replan=None)


def reduced(run: Any, count: int) -> Reduced:
    """All shards merged; a missing shard is written again."""
    for shard in shards(count):
        if not run.root.exists(shard.result):
            write(run.root, shard)
    return reduce(run, StoredResults(run.root, lambda shard: write(run.root, shard)), shards(count), K)


def expected(count: int) -> tuple[Any, Statistics]:
    """The same from one matrix of all scores."""
    with_images = [number for number in range(count) if len(scores(number))]
    everything = torch.cat([scores(number) for number in with_images])
    indices = [number * IMAGES + image for number in with_images for image in range(IMAGES)]
    names = [name for number in with_images for name in keys(number)]
    top = shard_scores.top_rows(everything, LAYERS, indices, names, K)
    return top, shard_scores.statistics(everything, LAYERS)


def require_right(found: Reduced, count: int) -> None:
    top, statistics = expected(count)
    for name, values in vars(top).items():
        assert np.array_equal(getattr(found.top, name), values), name
    mine, wanted = found.statistics.table_columns(), statistics.table_columns()
    for name, values in wanted.items():
        if name in ("bins", "counts"):
            assert mine[name].to_pylist() == values.to_pylist()
        else:
            np.testing.assert_allclose(mine[name], values, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("count", [1, 2, WIDTH, WIDTH + 1, 2 * WIDTH + 7, WIDTH**2 + 1])
def test_the_root_is_what_all_scores_together_give(run, count):
    found = reduced(run, count)
    require_right(found, count)
    assert len(found.merges) == len(run.pool.ran) == len(set(found.merges))


def test_a_second_run_merges_nothing_and_one_more_shard_merges_the_way_to_the_root(run):
    first = reduced(run, 40)
    run.pool.ran.clear()
    assert reduced(run, 40).merges == first.merges and not run.pool.ran
    found = reduced(run, 41)
    assert [(item.start // IMAGES, item.stop // IMAGES) for item in run.pool.ran] == [(32, 41), (0, 41)]
    require_right(found, 41)


def test_results_that_are_missing_or_damaged_are_made_again(run):
    first = reduced(run, 40)
    before = {name: run.root.read(name) for name in first.merges}
    run.pool.ran.clear()
    run.root.delete(first.merges[-1])
    data = bytearray(before[first.merges[1]])
    data[len(data) // 2] ^= 1
    run.root.put(first.merges[1], bytes(data))
    run.root.delete(shards(40)[20].result)
    tree = Tree.over(shards(40), K)
    stored = StoredResults(run.root, lambda shard: write(run.root, shard))
    Deriving(run, tree.shards, tree.levels, stored).finish("reduce", "merges")
    # The root finds a damaged child, which finds a missing shard; each is made again, and then what needs it.
    assert [item.result for item in run.pool.ran] == [first.merges[-1], *[first.merges[1]] * 2, first.merges[-1]]
    assert {name: run.root.read(name) for name in first.merges} == before


def test_a_result_that_stays_unreadable_ends_the_run_in_one_line(run):
    reduced(run, 5)
    [root] = run.root.files("shards/merges")
    run.root.delete(f"shards/merges/{root}")
    run.root.delete(shards(5)[3].result)
    stored = StoredResults(run.root, lambda _: None)
    with pytest.raises(
        DamagedFile, match=r"003.parquet cannot be read, although it was computed again: it is missing$"
    ):
        reduce(run, stored, shards(5), K)


def test_memory_that_is_short_in_a_merge_is_not_a_matter_of_the_batch(run, monkeypatch):
    def run_short_of_memory(*_):
        raise OutOfMemory("out of memory on node")
        yield

    for shard in shards(5):
        write(run.root, shard)
    monkeypatch.setattr(run.pool, "run", run_short_of_memory)
    with pytest.raises(MemoryTaken, match="out of memory on node, while shard results were combined"):
        reduced(run, 5)
