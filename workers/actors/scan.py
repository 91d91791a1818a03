"""The scan worker (pass 1). Takes a shard, writes each channel's strongest images and statistics; keeps no state."""

import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from workers.actors import engine, reading
from workers.actors.derive import derive
from workers.actors.environment import Environment
from workers.actors.job import Job, common_configuration
from workers.actors.merge import DerivedReport
from workers.actors.shard import Derived, Shard, ShardReport
from workers.actors.worker import Worker
from workers.core import folding, shard_scores
from workers.core.maxima import Maxima, images_in_cache
from workers.core.network import Network
from workers.corpus.batch import Batch, ImageRecord, Reject
from workers.errors import NumericsError
from workers.spec.parts import Distinct
from workers.spec.scan import RunSpec
from workers.store import rows
from workers.store.tables.scan import SHARD

# Raise it whenever the same inputs would give other numbers: stored results of the old algorithm are then not reused.
SCAN_ALGORITHM = 3


def scan_configuration(job: Job[RunSpec], environment: Environment) -> dict[str, Any]:
    """All that the result of a scanned shard depends on, except the shard's rows."""
    spec = job.spec
    return {
        "job": "scan",
        "algorithm": SCAN_ALGORITHM,
        **common_configuration(job, environment),
        "layers": job.layers,
        "k": spec.scan.k,
        "distinct": spec.scan.distinct,
        "batch": spec.scan.batch,
        "precision": spec.resources.precision,
    }


class ScanWorker(Worker[RunSpec]):
    """Scans shards."""

    def __init__(self, job: Job[RunSpec]) -> None:
        super().__init__(job, job.spec.resources.precision)
        device, batch = job.spec.resources.device, job.spec.scan.batch
        at_once = min(batch, images_in_cache(self.network, self.layers)) if device == "cpu" else batch
        self.maxima = Maxima(self.network, self.layers, at_once)
        self.runner, self.engine = engine.runner(self.maxima, job.spec.scan.engine, device, self._noise())

    def _prepare(self, network: Network) -> Network:
        """The network with its batch norms folded, as far as the job's layers allow."""
        return folding.fold(network, [layer.node for layer in network.select(self.job.layers)])

    def check(self) -> Environment:
        """As `Worker.check`, with the engine."""
        return replace(super().check(), engine=self.engine)

    def _noise(self) -> Tensor:
        """One image of noise, ready for the network."""
        pixels = torch.randint(256, (1, *self.network.nodes[0].shape), generator=torch.Generator().manual_seed(0))
        return self.input(pixels.to(torch.uint8))

    def run(self, item: Shard | Derived) -> ShardReport | DerivedReport:
        """Scan a shard, or derive a result from those of shards; write a result, whose existence marks the item as done."""
        return derive(self.root, item) if isinstance(item, Derived) else self._run_shard(item)

    def _run_shard(self, shard: Shard) -> ShardReport:
        started = time.monotonic()
        scan = ShardScan(self)
        waited = self._scan(shard, scan)
        result = rows.encode(SHARD, scan.result())
        storing = time.monotonic()
        self.root.put(shard.result, result)
        ended = time.monotonic()
        counts = Counter(str(reject.reason) for reject in scan.rejects)
        return ShardReport(shard, len(scan.records), dict(counts), ended - started, waited, ended - storing)

    def _scan(self, shard: Shard, scan: "ShardScan") -> float:
        """Scan all batches of a shard; gives the time spent waiting for them."""
        waited = 0.0
        self.done = 0
        before = time.monotonic()
        for batch in self.batches([shard]):
            waited += time.monotonic() - before
            scan.take(batch)
            self.done += len(batch.pictures) + len(batch.rejects)
            before = time.monotonic()
        return waited

    def batches(self, shards: Sequence[Shard]) -> Iterator[Batch]:
        """The images of shards of the same rows, decoded and prepared, in batches of a fixed size."""
        images, verdicts = reading.read_rows(self.root, shards)
        return reading.batches(self.job, images, self.job.spec.scan.batch, verdicts)


class ShardScan:
    """The state of one shard's scan: the scores of its images so far, on the device."""

    def __init__(self, worker: ScanWorker) -> None:
        self.worker = worker
        self.spec = worker.job.spec
        self.channels = {layer.index: layer.channels for layer in worker.layers}
        self.scores: list[Tensor] = []
        self.records: list[ImageRecord] = []
        self.rejects: list[Reject] = []

    def take(self, batch: Batch) -> None:
        """Run one batch, and keep the largest activation of every channel in every image."""
        scores = self.worker.runner.of(self.worker.input(batch.pixels())) if batch.pictures else None
        self.add(batch, scores)

    def add(self, batch: Batch, scores: Tensor | None) -> None:
        """Keep the scores (images, channels of all layers) of a batch; None if it has no images."""
        self.rejects += batch.rejects
        self.records += batch.records
        if scores is not None:
            self.scores.append(scores)

    def result(self) -> pa.Table:
        """The one row of the shard's result."""
        images = pa.array([_image(record) for record in self.records], SHARD.field("images").type.value_type)
        rejects = pa.array([vars(reject) for reject in self.rejects], SHARD.field("rejects").type.value_type)
        top, statistics = (pa.array([], SHARD.field(name).type.value_type) for name in ("top", "statistics"))
        if self.records:
            scores = torch.cat(self.scores)
            self._check(scores)
            indices = [record.image_index for record in self.records]
            keys = [key_of(record, self.spec.scan.distinct) for record in self.records]
            top = shard_scores.top_rows(scores, self.channels, indices, keys, self.spec.scan.k).to_arrow()
            statistics = shard_scores.statistics(scores, self.channels).to_arrow()
        columns = {"images": images, "rejects": rejects, "top": top, "statistics": statistics}
        return pa.table({name: pa.ListArray.from_arrays([0, len(values)], values) for name, values in columns.items()})

    def _check(self, scores: Tensor) -> None:
        """Require finite scores (images, channels of all layers)."""
        if bool(scores.sum(dtype=torch.float64).isfinite()):
            return
        image, column = (int(place) for place in (~scores.isfinite()).nonzero()[0])
        columns = self.worker.maxima.columns
        layer = next(layer for layer in self.worker.layers if column < columns[layer.node].stop)
        channel = column - columns[layer.node].start
        raise NumericsError(
            f"layer {layer.name!r}, channel {channel} gives {float(scores[image, column])} for image "
            f"{self.records[image].image_index}; try --precision float32 or other weights"
        )


def key_of(record: ImageRecord, distinct: Distinct) -> int:
    """The key of images that count once: a hash of the bytes or the group, else a number of its own (if it has no group)."""
    if distinct is Distinct.CONTENT:
        return int(record.sha256[:15], 16)
    if distinct is Distinct.GROUP and record.group is not None:
        return _hash(record.group)
    return -1 - record.image_index


def _hash(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:15], 16)


def _image(record: ImageRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name != "group"}
