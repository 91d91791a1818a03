"""A scan waits for its device a fixed number of times per shard, and never between batches."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from jobs.run import plan
from tests.support import benchmarking, corpora
from workers.actors.scan import ScanWorker, ShardScan
from workers.actors.shard import Shard

BATCH = 4
METHODS = ("cpu", "numpy", "tolist", "item", "__bool__", "__int__", "__float__", "__array__")
OPERATIONS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal", "is_nonzero")


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for a GPU: copies to the host, and operations whose result's size it must know."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        del types
        if operation.overloadpacket.__name__ in OPERATIONS:
            self.counts[operation.overloadpacket.__name__] += 1
        return operation(*args, **(kwargs or {}))

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Count also what no operation shows on a CPU."""
        for name in METHODS:
            patch.setattr(torch.Tensor, name, self._counted(name, getattr(torch.Tensor, name)))

    def _counted(self, name, method):
        def counted(*args, **kwargs):
            self.counts[name] += 1
            return method(*args, **kwargs)

        return counted


def waits(folder: Path, images: int, patch: pytest.MonkeyPatch) -> tuple[Counter[str], Counter[str]]:
    """Those of all batches of a shard, and those of its result."""
    corpora.photos(folder / "photos", range(images))
    job, _ = benchmarking.prepared("deconvoy://zfnet-mini", str(folder / "photos"), folder, images, batch=BATCH)
    worker = ScanWorker(job)
    shard = plan.rename_result(worker.root, Shard(0, images, job.manifest, "shards/test/a.parquet"))
    scan, batches = ShardScan(worker), list(worker.batches([shard]))
    with patch.context() as inside, Waits() as mode:
        mode.watch(inside)
        for batch in batches:
            scan.take(batch)
        of_batches, mode.counts = mode.counts, Counter()
        scan.result()
    return of_batches, mode.counts


def test_no_batch_waits_and_a_shard_waits_as_often_however_many_batches_it_has(tmp_path, monkeypatch):
    _, few, many = (waits(tmp_path / str(batches), batches * BATCH, monkeypatch) for batches in (1, 2, 6))
    assert few[0] == many[0] == {}
    assert few[1] == many[1]
    assert 0 < few[1].total() <= 40


def test_waits_are_noticed(monkeypatch):
    with monkeypatch.context() as inside, Waits() as mode:
        mode.watch(inside)
        values = torch.arange(3)
        assert bool(values[1] > 0) and values.tolist() == [0, 1, 2]
        values.nonzero()
    assert mode.counts["__bool__"] and mode.counts["tolist"] and mode.counts["nonzero"]
