"""Workers that want too much memory. They refuse large batches, as an allocator would."""

from typing import Any

import pytest

from workers.actors.concepts import ConceptsWorker
from workers.actors.reports import GroupReport
from workers.actors.scan import ScanWorker
from workers.actors.shard import ChannelBatch
from workers.actors.synthesise import SynthesiseWorker
from workers.errors import OutOfMemory

LARGEST_BATCH = 8


class Greedy(ScanWorker):
    """Has memory for batches of at most eight images."""

    def run(self, shard):
        if self.job.spec.scan.batch > LARGEST_BATCH:
            raise MemoryError
        return super().run(shard)


def refuse_batches(patch: pytest.MonkeyPatch, worker: type[ConceptsWorker | SynthesiseWorker]) -> None:
    """Let workers of a class have memory for one channel at a time."""
    run = worker.run

    def small(self: Any, batch: ChannelBatch) -> GroupReport:
        if len(batch.channels) > 1:
            raise OutOfMemory("out of memory")
        return run(self, batch)

    patch.setattr(worker, "run", small)
