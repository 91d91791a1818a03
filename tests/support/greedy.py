"""A scan's worker that wants too much memory. Takes shards, refuses batches above eight images as an allocator would."""

from workers.actors.scan import ScanWorker

LARGEST_BATCH = 8


class Greedy(ScanWorker):
    """Has memory for batches of at most eight images."""

    def run(self, shard):
        if self.job.spec.scan.batch > LARGEST_BATCH:
            raise MemoryError
        return super().run(shard)
