"""A training's checkpoints beside a device. Takes batches of shards and groups, writes their results; decodes each image once."""

import time
from collections import Counter
from collections.abc import Sequence

from workers.actors import device
from workers.actors.job import Environment, Job
from workers.actors.project import GroupReport, ProjectWorker
from workers.actors.scan import ScanWorker, ShardScan
from workers.actors.shard import CheckpointBatch, CheckpointGroup, CheckpointShard, ShardReport
from workers.errors import NumericsError
from workers.spec.scan import RunSpec
from workers.store import rows
from workers.store.root import patient
from workers.store.tables.scan import SHARD


class EvolveWorker:
    """Scans shards with several networks; what it writes for one of them is what a `ScanWorker` of that one writes.

    Args:
        jobs: the scan of each checkpoint, of the layers that it has for the first time.
    """

    def __init__(self, jobs: Sequence[Job[RunSpec]]) -> None:
        self.jobs = jobs
        self.root = patient(jobs[0].spec.root)
        self.done = 0
        self.workers: dict[int, ScanWorker] = {}

    def check(self) -> Environment:
        """Prove that this node reaches the root and the corpus, and say what software it runs."""
        device.settle(self.jobs[0].spec.resources.device, self.jobs[0].spec.resources.threads)
        return device.check(self.jobs[0], self.root)

    def run(self, batch: CheckpointBatch) -> ShardReport:
        """Scan a batch's images with each of its checkpoints and write a result for each."""
        started = time.monotonic()
        self.done = 0
        self._hold([shard.checkpoint for shard in batch.shards])
        scans = {shard: ShardScan(self.workers[shard.checkpoint]) for shard in batch.shards}
        waited = self._scan(scans)
        storing = time.monotonic()
        for shard, scan in scans.items():
            self.root.put(shard.result, rows.encode(SHARD, scan.result()))
        ended = time.monotonic()
        [one, *_] = scans.values()  # of the same images: a reject is told once
        rejects = Counter(str(each.reason) for each in one.rejects)
        images = sum(len(scan.records) for scan in scans.values())
        return ShardReport(batch, images, dict(rejects), ended - started, waited, ended - storing)

    def _scan(self, scans: dict[CheckpointShard, ShardScan]) -> float:
        """Show every batch of images to every scan; gives the time spent waiting for them."""
        shards, waited, before = list(scans), 0.0, time.monotonic()
        for batch in self.workers[shards[0].checkpoint].batches(shards):
            waited += time.monotonic() - before
            for shard, scan in scans.items():
                try:
                    scan.take(batch)
                except NumericsError as error:
                    raise NumericsError(f"{self.jobs[shard.checkpoint].model.source}: {error}") from error
                self.done += len(batch.pictures) + len(batch.rejects)
            before = time.monotonic()
        return waited

    def _hold(self, wanted: Sequence[int]) -> None:
        """Have the networks of some checkpoints, and of no others, in memory."""
        self.workers = {number: worker for number, worker in self.workers.items() if number in wanted}
        for number in wanted:
            if number not in self.workers:
                self.workers[number] = ScanWorker(self.jobs[number])


class ProjectCheckpoints:
    """Projects groups of several checkpoints, as a `ProjectWorker` of each would.

    Args:
        jobs: as above.
    """

    def __init__(self, jobs: Sequence[Job[RunSpec]]) -> None:
        self.jobs = jobs
        self.current: tuple[int, ProjectWorker] | None = None

    @property
    def done(self) -> int:
        """Images of the group under way that are done."""
        return self.current[1].done if self.current else 0

    def check(self) -> Environment:
        """Prove that this node reaches the root and the corpus, and say what software it runs."""
        return device.check(self.jobs[0], patient(self.jobs[0].spec.root))

    def run(self, group: CheckpointGroup) -> GroupReport:
        """Project a group with its checkpoint's network."""
        if self.current is None or self.current[0] != group.checkpoint:
            self.current = None  # frees the last one's network before the next one is built
            self.current = (group.checkpoint, ProjectWorker(self.jobs[group.checkpoint]))
        return self.current[1].run(group)
