"""The scan worker (pass 1). Takes a shard, writes each channel's strongest images and statistics; keeps no state."""

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import chain, islice
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from workers.actors import engine, reading
from workers.actors.derive import derive
from workers.actors.environment import Environment
from workers.actors.job import Job, border_configuration, common_configuration
from workers.actors.merge import DerivedReport
from workers.actors.reports import ShardReport
from workers.actors.shard import Derived, Shard, ShardBatch
from workers.actors.worker import Worker
from workers.core import folding, shard_scores
from workers.core.maxima import Maxima, find_head, images_in_cache, is_classifier, predictions
from workers.core.network import Network
from workers.corpus.batch import Batch, ImageRecord, Reject
from workers.corpus.isolate import Verdict
from workers.corpus.manifest import Row
from workers.errors import NumericsError
from workers.spec.parts import Distinct
from workers.spec.scan import RunSpec
from workers.store import rows
from workers.store.tables.scan import SHARD

# Raise it whenever the same inputs would give other numbers: stored results of the old algorithm are then not reused.
SCAN_ALGORITHM = 5


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
        "predictions": spec.scan.predictions and bool(job.model.class_names),
        **border_configuration(job),
    }


def scans_alike(job: Job[RunSpec], network: Network, more: Sequence[str]) -> bool:
    """Whether a scan of more layers, which is otherwise the same, gives the same numbers for the job's layers.

    The layers of a scan decide which batch norms are folded and how many images run together, and with that the last bits.

    Args:
        job: the job; the engine of both scans is eager.
        network: its network.
        more: names of the layers of the other scan.
    """
    if not set(job.layers) < set(more):
        return False
    own, others = ([layer.node for layer in network.select(names)] for names in (job.layers, more))
    last = network.output if _predicts(job, network) else max(own)  # predictions depend on all of it
    folded = ([node for node in folding.foldable(network, nodes) if node <= last] for nodes in (own, others))
    at_once = (_images_at_once(job, network, nodes) for nodes in (own, others))
    return all(one == other for one, other in (folded, at_once))


def _predicts(job: Job[RunSpec], network: Network) -> bool:
    return job.spec.scan.predictions and is_classifier(network, len(job.model.class_names))


def _images_at_once(job: Job[RunSpec], network: Network, nodes: Sequence[int]) -> int:
    """How many images run together, if the maps of these nodes are wanted."""
    batch = job.spec.scan.batch
    if job.spec.resources.device != "cpu":
        return batch
    return min(batch, images_in_cache(network, [*nodes, *([network.output] if _predicts(job, network) else ())]))


class ScanWorker(Worker[RunSpec]):
    """Scans shards."""

    def __init__(self, job: Job[RunSpec]) -> None:
        super().__init__(job, job.spec.resources.precision)
        device = job.spec.resources.device
        at_once = _images_at_once(job, self.network, [layer.node for layer in self.layers])
        predicts = _predicts(job, self.network)
        head = find_head(self.network) if at_once < job.spec.scan.batch else None
        self.maxima = Maxima(self.network, self.layers, at_once, predicts, job.spec.scan.is_inner, head)
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

    def run(self, item: Shard | ShardBatch[Shard] | Derived) -> ShardReport | DerivedReport:
        """Scan shards, or derive a result from theirs; write a result for each, whose existence marks it as done."""
        return derive(self.root, item) if isinstance(item, Derived) else self._run_shards(item)

    def _run_shards(self, work: Shard | ShardBatch[Shard]) -> ShardReport:
        """Scan shards one after the other. While one is scanned, another thread writes the result of the one before."""
        started = time.monotonic()
        self.done, images, rejects, reading_s, storing_s = 0, 0, Counter[str](), 0.0, 0.0
        with ThreadPoolExecutor(1) as writer:
            written: Future[float] | None = None
            for shard, batches in self._read(work.shards):
                scan = ShardScan(self)
                reading_s += self._scan(scan, batches)
                images += len(scan.records)
                rejects.update(str(reject.reason) for reject in scan.rejects)
                storing_s += _wait(written)  # so that only two shards are in memory
                written = writer.submit(self._store, shard, scan)
            storing_s += _wait(written)
        return ShardReport(work, images, dict(rejects), time.monotonic() - started, reading_s, storing_s)

    def _read(self, shards: Sequence[Shard]) -> Iterator[tuple[Shard, Iterator[Batch]]]:
        """Each shard with its batches. Shards begin where a batch does, so they are read as one sequence, without a pause."""
        size, parts, verdicts = self.job.spec.scan.batch, list[list[Row]](), dict[int, Verdict]()
        for shard in shards:
            rows_of_shard, known = reading.read_rows(self.root, [shard])
            parts.append(rows_of_shard)
            verdicts |= known
        batches = reading.batches(self.job, list(chain(*parts)), size, verdicts)
        for shard, part in zip(shards, parts, strict=True):
            yield shard, islice(batches, -(-len(part) // size))

    def _scan(self, scan: "ShardScan", batches: Iterable[Batch]) -> float:
        """Scan all batches of a shard; gives the time spent waiting for them."""
        waited = 0.0
        before = time.monotonic()
        for batch in batches:
            waited += time.monotonic() - before
            scan.take(batch)
            self.done += len(batch.pictures) + len(batch.rejects)
            before = time.monotonic()
        return waited

    def _store(self, shard: Shard, scan: "ShardScan") -> float:
        """Write a shard's result; gives the seconds that its storage took."""
        result = rows.encode(SHARD, scan.result())
        began = time.monotonic()
        self.root.put(shard.result, result)
        return time.monotonic() - began

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
        """Keep the scores (images, columns of the maxima) of a batch; None if it has no images."""
        self.rejects += batch.rejects
        self.records += batch.records
        if scores is not None:
            self.scores.append(scores)

    def result(self) -> pa.Table:
        """The one row of the shard's result."""
        images = pa.array([_image(record) for record in self.records], SHARD.field("images").type.value_type)
        rejects = pa.array([vars(reject) for reject in self.rejects], SHARD.field("rejects").type.value_type)
        top, statistics, predicted = (
            pa.array([], SHARD.field(name).type.value_type) for name in ("top", "statistics", "predictions")
        )
        if self.records:
            every = torch.cat(self.scores)
            self.scores.clear()  # frees half of the memory
            predicted = self._predict(every)
            scores = every[:, self.worker.maxima.scores]
            self._check(scores)
            indices = [record.image_index for record in self.records]
            keys = [key_of(record, self.spec.scan.distinct) for record in self.records]
            top = shard_scores.top_rows(scores, self.channels, indices, keys, self.spec.scan.k).to_arrow()
            statistics = shard_scores.statistics(scores, self.channels).to_arrow()
        columns = {"images": images, "rejects": rejects, "top": top, "statistics": statistics, "predictions": predicted}
        return pa.table({name: pa.ListArray.from_arrays([0, len(values)], values) for name, values in columns.items()})

    def _predict(self, every: Tensor) -> pa.StructArray:
        """The prediction of each image, from (images, columns of the maxima); none if the job has none.

        Raises:
            NumericsError: an output is not finite.
        """
        kind, outputs = SHARD.field("predictions").type.value_type, self.worker.maxima.outputs
        if outputs is None:
            return pa.array([], kind)
        classes, probabilities = predictions(self.worker.network, every[:, outputs])
        if not bool(probabilities.isfinite().all()):
            raise NumericsError("the network outputs NaN or infinity; try --precision float32 or other weights")
        indices = pa.array([record.image_index for record in self.records], pa.int64())
        values = (pa.array(classes.cpu().numpy(), pa.int32()), pa.array(probabilities.cpu().numpy(), pa.float32()))
        return pa.StructArray.from_arrays([indices, *values], fields=list(kind))

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


def _wait(written: Future[float] | None) -> float:
    """Wait until a result is written; gives the seconds spent waiting for its storage."""
    began = time.monotonic()
    storing_s = written.result() if written else 0.0
    return min(storing_s, time.monotonic() - began)


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
