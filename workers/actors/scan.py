"""The scan worker (pass 1). Takes a shard, writes each channel's strongest images and statistics; keeps no state."""

import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from workers.actors import reading
from workers.actors.job import Environment, Job, common_configuration
from workers.actors.shard import Shard, ShardReport
from workers.actors.worker import Worker
from workers.core.maxima import Maxima
from workers.core.network import Layer
from workers.core.statistics import Statistics
from workers.corpus.reader import Batch, ImageRecord, Reject
from workers.errors import NumericsError
from workers.spec.parts import Distinct
from workers.spec.scan import RunSpec
from workers.store import rows
from workers.store.tables.scan import SHARD

# Raise it whenever the same inputs would give other numbers: stored results of the old algorithm are then not reused.
SCAN_ALGORITHM = 1


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

    def run(self, shard: Shard) -> ShardReport:
        """Scan a shard and write its result, whose existence marks the shard as done."""
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
    """The state of one shard's scan."""

    def __init__(self, worker: ScanWorker) -> None:
        self.worker = worker
        self.spec = worker.job.spec
        self.maxima = Maxima({layer.index: layer.channels for layer in worker.layers}, self.spec.scan.k)
        self.records: list[ImageRecord] = []
        self.rejects: list[Reject] = []

    def take(self, batch: Batch) -> None:
        """Run one batch and update the state with its feature maps."""
        self.rejects += batch.rejects
        self.records += batch.records
        if batch.pictures:
            images = self.worker.input(batch.pixels())
            with torch.inference_mode():
                self._update(images, batch.records)

    def _update(self, images: Tensor, records: Sequence[ImageRecord]) -> None:
        keys = np.array([key_of(record, self.spec.scan.distinct) for record in records], np.int64)
        indices = np.array([record.image_index for record in records], np.int64)
        update = self.maxima.begin(keys, indices)
        layers = {layer.node: layer for layer in self.worker.layers}

        def visit(number: int, _: tuple[Tensor, ...], map_: Tensor) -> None:
            scores = map_.amax(dim=(2, 3)).float().cpu().numpy()  # (images, channels)
            self._check(layers[number], scores, records)
            update.take(layers[number].index, map_, scores)

        self.worker.network.forward(images, layers, visit, overwrite=True)
        update.finish()

    def _check(self, layer: Layer, scores: np.ndarray[Any, Any], records: Sequence[ImageRecord]) -> None:
        if not np.isfinite(scores).all():
            image, channel = np.argwhere(~np.isfinite(scores))[0]
            raise NumericsError(
                f"layer {layer.name!r}, channel {channel} gives {scores[image, channel]} for image "
                f"{records[image].image_index}; try --precision float32 or other weights"
            )

    def result(self) -> pa.Table:
        """The one row of the shard's result."""
        images = pa.array([_image(record) for record in self.records], SHARD.field("images").type.value_type)
        rejects = pa.array([vars(reject) for reject in self.rejects], SHARD.field("rejects").type.value_type)
        top = self.maxima.top.to_arrow()
        scores = self.maxima.scores()
        statistics = pa.array([], SHARD.field("statistics").type.value_type)
        if self.records:
            by_layer = [Statistics.of(index, layer_scores) for index, layer_scores in scores.items()]
            statistics = Statistics.concatenate(by_layer).to_arrow()
        columns = {"images": images, "rejects": rejects, "top": top, "statistics": statistics}
        return pa.table({name: pa.ListArray.from_arrays([0, len(values)], values) for name, values in columns.items()})


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
