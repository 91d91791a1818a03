"""Pass 1 beside a device. Takes a shard, writes each channel's strongest images and statistics; keeps nothing between shards."""

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
from workers.actors.job import Job
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


class ScanWorker(Worker[RunSpec]):
    """Scans shards."""

    def __init__(self, job: Job[RunSpec]) -> None:
        super().__init__(job, job.spec.resources.precision)

    def run(self, shard: Shard) -> ShardReport:
        """Scan a shard and write its result, which then is its done mark."""
        started = time.monotonic()
        scan = ShardScan(self)
        waited = self._scan(shard, scan)
        found = rows.encode(SHARD, scan.result())
        storing = time.monotonic()
        self.root.put(shard.result, found)
        ended = time.monotonic()
        counts = Counter(str(reject.reason) for reject in scan.rejects)
        return ShardReport(shard, len(scan.records), dict(counts), ended - started, waited, ended - storing)

    def _scan(self, shard: Shard, scan: "ShardScan") -> float:
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
        """The images of one or more shards of the same rows, decoded and prepared, in batches of a fixed size."""
        listed, verdicts = reading.judged(self.root, shards)
        return reading.batches(self.job, listed, self.job.spec.scan.batch, verdicts)


class ShardScan:
    """What is known of one shard while it is scanned."""

    def __init__(self, worker: ScanWorker) -> None:
        self.worker = worker
        self.spec = worker.job.spec
        self.maxima = Maxima({layer.index: layer.channels for layer in worker.layers}, self.spec.scan.k)
        self.records: list[ImageRecord] = []
        self.rejects: list[Reject] = []

    def take(self, batch: Batch) -> None:
        """Run one batch and keep what its maps say."""
        self.rejects += batch.rejects
        self.records += batch.records
        if batch.pictures:
            images = self.worker.input(batch.pixels())
            with torch.inference_mode():
                self._look(images, batch.records)

    def _look(self, images: Tensor, records: Sequence[ImageRecord]) -> None:
        keys = np.array([key_of(record, self.spec.scan.distinct) for record in records], np.int64)
        indices = np.array([record.image_index for record in records], np.int64)
        look = self.maxima.begin(keys, indices)
        layers = {layer.node: layer for layer in self.worker.layers}

        def visit(number: int, _: tuple[Tensor, ...], map_: Tensor) -> None:
            scores = map_.amax(dim=(2, 3)).float().cpu().numpy()  # (images, channels)
            self._check(layers[number], scores, records)
            look.take(layers[number].index, map_, scores)

        self.worker.network.forward(images, layers, visit, overwrite=True)
        look.finish()

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
            statistics = Statistics.concatenate(
                [Statistics.of(index, each) for index, each in scores.items()]
            ).to_arrow()
        columns = {"images": images, "rejects": rejects, "top": top, "statistics": statistics}
        return pa.table({name: pa.ListArray.from_arrays([0, len(values)], values) for name, values in columns.items()})


def key_of(record: ImageRecord, distinct: Distinct) -> int:
    """What counts once, as a 63-bit number: the bytes, the group, or the image itself (also where it has no group)."""
    if distinct is Distinct.CONTENT:
        return int(record.sha256[:15], 16)
    if distinct is Distinct.GROUP and record.group is not None:
        return _hash(record.group)
    return -1 - record.image_index


def _hash(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:15], 16)


def _image(record: ImageRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name != "group"}
