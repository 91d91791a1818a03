"""What the driver of a scan does for each shard: plan, hand out, merge, account. Its actors do nothing that is measured.

`--reduce N`: N shards of ResNet-50 (512 images, 22,720 channels), then one more. The CPU time is that of the driver alone.
`--null N`: N shards are handed out to two actors on Ray that do nothing; also the driver's memory, early and late.
"""

import argparse
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import torch

from jobs.ray.pool import Pool
from jobs.reduce import reduce
from jobs.run import plan
from jobs.run.accounts import account
from jobs.run.results import StoredResults
from jobs.watch import SilentWatcher
from tests.benchmarks.figures import Figure
from workers.actors.account import make_row
from workers.actors.environment import Environment
from workers.actors.merge import DerivedReport
from workers.actors.reports import ShardReport
from workers.actors.shard import Account, Derived, Shard
from workers.core import shard_scores
from workers.corpus.lister import GROUP_ROWS
from workers.store import paths, rows
from workers.store.root import Root
from workers.store.rows import TableWriter
from workers.store.tables.scan import ACCOUNTED, SHARD
from workers.store.tables.shared import MANIFEST

CHANNELS = dict.fromkeys(range(160), 142)
IMAGES, K = 512, 9  # of a shard; per channel
GOAL_S, GOAL_GROWN_S, GOAL_PER_S = 10.0, 3.0, 1000.0


def list_images(root: Root, count: int, number: int) -> str:
    """A manifest of made-up files."""
    indices = np.arange(count)
    table = pa.table(
        {
            "image_id": [f"class{index % 1000:03d}/n{index:08d}.JPEG" for index in indices],
            "uri": [f"s3://corpus/train/class{index % 1000:03d}/n{index:08d}.JPEG" for index in indices],
            "bytes": indices % 100_000 + 1000,
            "etag": [f"{index:032x}" for index in indices],
            "label": [f"class{index % 1000:03d}" for index in indices],
            "group": pa.nulls(count, pa.string()),
            "removed": np.zeros(count, bool),
            "refused": pa.nulls(count, pa.string()),
        },
        schema=MANIFEST,
    )
    name = f"{paths.corpus_folder('benchmark')}/manifest-{number}.parquet"
    with root.scratch() as folder:
        pq.write_table(table, folder / "m.parquet", row_group_size=GROUP_ROWS, write_page_checksum=True)
        root.put_file(folder / "m.parquet", name)
    return name


def merged() -> bytes:
    """What a merge writes for ResNet-50: the best images of 22,720 channels, and statistics."""
    scores = torch.randn(IMAGES, sum(CHANNELS.values()), generator=torch.Generator().manual_seed(0)).relu()
    names = list(range(IMAGES))
    lists = {name: pa.array([], SHARD.field(name).type.value_type) for name in SHARD.names}
    lists["top"] = shard_scores.top_rows(scores, CHANNELS, names, names, K).to_arrow()
    lists["statistics"] = shard_scores.statistics(scores, CHANNELS).to_arrow()
    columns = {name: pa.ListArray.from_arrays([0, len(values)], values) for name, values in lists.items()}
    return rows.encode(SHARD, pa.table(columns))


@dataclass
class FreeActors:
    """Actors whose time does not count. They merge nothing, and account for images that nobody read.

    Attributes:
        root: where they write.
        result: what every merge writes; only the root of the tree is ever read.
        spent: their CPU time, seconds.
    """

    root: Root
    result: bytes
    spent: float = 0.0

    def run(self, items: Iterable[Derived], *_: object) -> Iterator[DerivedReport]:
        """Write each item's result."""
        last = list(items)
        for item in last:
            before = time.process_time()
            if isinstance(item, Account):
                self.root.put(item.result, rows.encode(ACCOUNTED, self._account(item)))
            else:
                self.root.put(item.result, self.result if len(last) == 1 else b"")
            self.spent += time.process_time() - before
            yield DerivedReport(item.result, {})

    def _account(self, item: Account) -> pa.Table:
        count = item.stop - item.start
        images = pa.StructArray.from_arrays(
            [
                pa.array(np.arange(item.start, item.stop)),
                pa.array(np.full(count, 500, np.int32)),
                pa.array(np.full(count, 375, np.int32)),
                pa.array(np.full(count, 110_000, np.int64)),
                pa.array([f"{index:064x}" for index in range(item.start, item.stop)]),
                pa.array(["pillow 12"] * count),
            ],
            fields=list(SHARD.field("images").type.value_type),
        )
        columns = {"images": images, "rejects": pa.array([], SHARD.field("rejects").type.value_type)}
        every = pa.table({name: pa.ListArray.from_arrays([0, len(each)], each) for name, each in columns.items()})
        return make_row(self.root, item, [every])


def driver_seconds(root: Root, listed: str, actors: FreeActors, scratch: Path) -> tuple[float, float]:
    """CPU seconds of the driver for the plan, and for merging and accounting."""
    run: Any = SimpleNamespace(root=root, run="r", pool=actors, watch=SilentWatcher(), replan=None)
    run.writer = lambda table: TableWriter(root, table, "r", scratch, staged=True)
    began = time.process_time()
    planned = plan.plan(root, listed, "c" * 32, IMAGES)
    planning, actors.spent = time.process_time() - began, 0.0
    began = time.process_time()
    stored = StoredResults(root, lambda _: None)
    reduced = reduce(run, stored, planned.shards, K)
    account(run, stored, planned.shards, np.unique(reduced.top.image_index))
    return planning, time.process_time() - began - actors.spent


def reduce_figures(count: int) -> Iterator[Figure]:
    """The driver's time for some shards, and again when there is one more."""
    with tempfile.TemporaryDirectory() as folder:
        root = Root(str(Path(folder) / "root"))
        actors = FreeActors(root, merged())
        for number, (shards, goal) in enumerate([(count, GOAL_S), (count + 1, GOAL_GROWN_S)]):
            listed = list_images(root, shards * IMAGES, number)
            planning, reducing = driver_seconds(root, listed, actors, Path(folder))
            what = f"driver, {shards:,} shards of ResNet-50"
            yield Figure(f"{what}: plan", "s of CPU", (planning,))
            yield Figure(f"{what}: merge and account", "s of CPU", (reducing,), goal, at_most=True)


class NullWorker:
    """Reports shards as done."""

    done = 0

    def check(self) -> Environment:
        """An environment that all null workers share."""
        return Environment("0", "0", "0", "0", "none", "cpu", "node")

    def run(self, shard: Shard) -> ShardReport:
        """Do nothing."""
        return ShardReport(shard, shard.stop - shard.start, {}, 0.0, 0.0, 0.0)


def null_figures(count: int) -> Iterator[Figure]:
    """The rate at which shards are handed out, and the driver's memory after a tenth and at the end."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    process, memory, done = psutil.Process(), dict[int, int](), 0
    shards = (Shard(n * IMAGES, (n + 1) * IMAGES, "manifest", f"shards/c/{n:032x}.parquet") for n in range(count))
    with Pool(2, "cpu", 1, SilentWatcher()) as pool:
        pool.start(NullWorker)
        began, cpu = time.perf_counter(), time.process_time()
        for done, _ in enumerate(pool.run(shards, lambda _: None, lambda item, _: item), 1):
            if done in (count // 10, count):
                memory[done] = process.memory_info().rss
        seconds, used = time.perf_counter() - began, time.process_time() - cpu
    ray.shutdown()
    early, late = (memory[number] / 1e6 for number in (count // 10, count))
    yield Figure(f"{done:,} null shards, 2 actors: handed out", "shards/s", (done / seconds,), GOAL_PER_S)
    yield Figure(f"{done:,} null shards: the driver's CPU", "us per shard", (1e6 * used / done,))
    yield Figure(f"{done:,} null shards: memory at the end / after a tenth", "", (late / early,), 1.05, at_most=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reduce", type=int, default=2500)
    parser.add_argument("--null", type=int, default=20_000)
    asked = parser.parse_args()
    for figure in chain(reduce_figures(asked.reduce), null_figures(asked.null)):
        print(figure, flush=True)


if __name__ == "__main__":
    main()
