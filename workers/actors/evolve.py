"""The workers for checkpoints of a training. Take shards and groups of several checkpoints, write their results."""

import time
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from workers.actors import device
from workers.actors.derive import derive
from workers.actors.environment import Environment
from workers.actors.job import Job
from workers.actors.merge import DerivedReport
from workers.actors.project import ProjectWorker
from workers.actors.reports import GroupReport, ShardReport
from workers.actors.scan import ScanWorker, ShardScan
from workers.actors.shard import CheckpointBatch, CheckpointGroup, CheckpointShard, Derived
from workers.errors import NumericsError
from workers.spec.scan import RunSpec
from workers.store import rows
from workers.store.root import patient
from workers.store.tables.scan import SHARD


class EvolveWorker:
    """Scans shards with several networks, and decodes each image once. Each result is the one of a `ScanWorker`.

    Args:
        jobs: the scan of each checkpoint, limited to layers that no earlier checkpoint has in the same form.
    """

    def __init__(self, jobs: Sequence[Job[RunSpec]]) -> None:
        self.jobs = jobs
        self.root = patient(jobs[0].spec.root)
        self.done = 0
        self.workers: dict[int, ScanWorker] = {}

    def check(self) -> Environment:
        """Check that this node can read the root and the corpus; gives its software and device."""
        device.configure(self.jobs[0].spec.resources.device, self.jobs[0].spec.resources.threads)
        return device.check(self.jobs[0], self.root)

    def run(self, item: CheckpointBatch | Derived) -> ShardReport | DerivedReport:
        """Scan a batch's images with each of its checkpoints, and write a result for each; or derive one."""
        return derive(self.root, item) if isinstance(item, Derived) else self._run_batch(item)

    def _run_batch(self, batch: CheckpointBatch) -> ShardReport:
        started = time.monotonic()
        self.done = 0
        self._load([shard.checkpoint for shard in batch.shards])
        scans = {shard: ShardScan(self.workers[shard.checkpoint]) for shard in batch.shards}
        waited = self._scan(scans)
        storing = time.monotonic()
        for shard, scan in scans.items():
            self.root.put(shard.result, rows.encode(SHARD, self._result(shard, scan)))
        ended = time.monotonic()
        [first, *_] = scans.values()  # all scans have the same images, and so the same rejects
        rejects = Counter(str(reject.reason) for reject in first.rejects)
        images = sum(len(scan.records) for scan in scans.values())
        return ShardReport(batch, images, dict(rejects), ended - started, waited, ended - storing)

    def _scan(self, scans: dict[CheckpointShard, ShardScan]) -> float:
        """Scan every batch of images with every network; gives the time spent waiting for images."""
        shards, waited, before = list(scans), 0.0, time.monotonic()
        for batch in self.workers[shards[0].checkpoint].batches(shards):
            waited += time.monotonic() - before
            for scan in scans.values():
                scan.take(batch)
                self.done += len(batch.pictures) + len(batch.rejects)
            before = time.monotonic()
        return waited

    def _result(self, shard: CheckpointShard, scan: ShardScan) -> pa.Table:
        try:
            return scan.result()
        except NumericsError as error:
            raise NumericsError(f"{self.jobs[shard.checkpoint].model.source}: {error}") from error

    def _load(self, wanted: Sequence[int]) -> None:
        """Keep the networks of exactly these checkpoints in memory."""
        self.workers = {number: worker for number, worker in self.workers.items() if number in wanted}
        for number in wanted:
            if number not in self.workers:
                self.workers[number] = ScanWorker(self.jobs[number])


class ProjectCheckpoints:
    """Projects groups of several checkpoints. Each result is the one of a `ProjectWorker`.

    Args:
        jobs: see `EvolveWorker`.
    """

    def __init__(self, jobs: Sequence[Job[RunSpec]]) -> None:
        self.jobs = jobs
        self.current: tuple[int, ProjectWorker] | None = None

    @property
    def done(self) -> int:
        """The number of finished images of the current group."""
        return self.current[1].done if self.current else 0

    def check(self) -> Environment:
        """Check that this node can read the root and the corpus; gives its software and device."""
        return device.check(self.jobs[0], patient(self.jobs[0].spec.root))

    def run(self, group: CheckpointGroup) -> GroupReport:
        """Project a group with its checkpoint's network."""
        if self.current is None or self.current[0] != group.checkpoint:
            self.current = None  # frees the previous network before the next one is built
            self.current = (group.checkpoint, ProjectWorker(self.jobs[group.checkpoint]))
        return self.current[1].run(group)
