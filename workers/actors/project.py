"""The projection worker (pass 2). Takes the top rows of one shard's images, writes patches, projections and previews."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch

from workers.actors import device, reading
from workers.actors.environment import Environment
from workers.actors.job import Job, border_configuration, common_configuration
from workers.actors.reports import GroupReport
from workers.actors.shard import Group
from workers.actors.worker import Worker
from workers.core import deconvnet, recording
from workers.core.display import decoded, display, eight_bit
from workers.core.network import Layer
from workers.core.receptive_field import Box
from workers.core.recording import Channels, Tape, Units
from workers.core.topk import Rows
from workers.corpus import manifest
from workers.corpus.batch import Batch, ImageRecord, PreparedImage
from workers.corpus.pixels import Pixels
from workers.errors import NumericsError, ReadError
from workers.host.ahead import run_ahead
from workers.pictures import encode
from workers.spec.parts import Precision
from workers.spec.scan import RunSpec
from workers.store.spill import Spill
from workers.store.tables.scan import PROJECTED

# Raise it whenever the same inputs would give other numbers: stored results of the old algorithm are then not reused.
PROJECT_ALGORITHM = 6

Array = np.ndarray[Any, Any]

KEYS = ("layer_index", "channel", "rank", "image_index")

# Tolerance between a unit's activation and the scan's score, relative to the layer's largest score: the batches differ.
AGREEMENT = {Precision.FLOAT32: 1e-3, Precision.BFLOAT16: 0.1, Precision.FLOAT16: 0.02}


def project_configuration(job: Job[RunSpec], environment: Environment) -> dict[str, Any]:
    """All that the result of a projection group depends on, except the group's rows."""
    project = job.spec.project
    return {
        "job": "project",
        "algorithm": PROJECT_ALGORITHM,
        **common_configuration(job, environment),
        "batch": job.spec.scan.batch,
        "method": project.method,
        "image_format": project.image_format,
        "previews": project.previews,
        "precision": job.spec.resources.precision,
        **border_configuration(job),
    }


class ProjectWorker(Worker[RunSpec]):
    """Projects units, always in float32."""

    def run(self, group: Group) -> GroupReport:
        """Project a group and write its result, whose existence marks the group as done."""
        started = time.monotonic()
        self.done = 0
        indices = np.unique(group.rows.image_index)
        with self.root.scratch() as scratch, Spill(scratch, PROJECTED, KEYS) as spill:
            threads = device.cpu_share(self.job.spec.resources.device)
            for batch in self._batches(group, set(indices.tolist())):
                for row in run_ahead(_GroupBatch(self, group, batch).rows(), threads):
                    spill.add(row)
                    self.done += 1
                for row in _previews(batch):
                    spill.add(row)
            self.root.put_file(spill.encode(), group.result)
        return GroupReport(group.result, len(group.rows), len(indices), time.monotonic() - started)

    def _batches(self, group: Group, indices: set[int]) -> Iterator[Batch]:
        listed = manifest.rows(self.root, group.manifest, group.start, group.stop)
        wanted = [row for row in listed if row.image_index in indices]
        spec = self.job.spec
        numbers = {self.network.layers[layer].node for layer in group.rows.layer_index}
        size = min(spec.scan.batch, recording.images_at_once(self.network, numbers, spec.project.projection))
        preview = partial(_preview, spec.project.image_format) if spec.project.previews else None
        for batch in reading.batches(self.job, wanted, size, preview=preview):
            if batch.rejects:
                reject = batch.rejects[0]
                raise ReadError(
                    f"image {reject.image_index} was used in the scan but is now rejected "
                    f"({reject.reason}): its file has changed"
                )
            for record in batch.records:
                _require_same_file(record, group.hashes[record.image_index])
            yield batch


def _preview(form: Literal["webp", "png"], pixels: Pixels) -> bytes:
    """A small copy of an image as it is shown."""
    return encode.preview(decoded(pixels), form)


def _require_same_file(record: ImageRecord, scanned: str) -> None:
    """Require the bytes that were scanned: in half precision, scores alone would not show another image."""
    if record.sha256 != scanned:
        raise ReadError(
            f"image {record.image_index} was scanned with the SHA-256 {scanned[:16]}... and now has "
            f"{record.sha256[:16]}...: its file has changed, but not its size or times; change its time with "
            "`touch`, and run the same command again"
        )


def _previews(batch: Batch) -> Iterator[dict[str, Any]]:
    """A row for each image; it belongs to no unit."""
    for picture in batch.pictures:
        if picture.preview:
            yield {"image_index": picture.record.image_index, "preview": picture.preview}


class _GroupBatch:
    """The rows of a group whose images are in one batch."""

    def __init__(self, worker: ProjectWorker, group: Group, batch: Batch) -> None:
        self.worker = worker
        self.spec = worker.job.spec
        self.batch = batch
        self.positions = {record.image_index: number for number, record in enumerate(batch.records)}
        here = np.isin(group.rows.image_index, list(self.positions))
        self.top = group.rows.take(here)
        self.rank = group.rank[here]
        self.scales, self.tolerances = group.scales, group.tolerances

    def rows(self) -> Iterator[Callable[[], dict[str, Any]]]:
        """For each row, layer by layer, what encodes it."""
        by_layer = {
            int(layer): np.nonzero(self.top.layer_index == layer)[0] for layer in np.unique(self.top.layer_index)
        }
        layers = {self.worker.network.layers[index]: which for index, which in by_layer.items()}
        wanted = {layer.node: self._channels(self.top.take(which)) for layer, which in layers.items()}
        images = self.worker.input(self.batch.pixels())
        tape = recording.record(self.worker.network, images, wanted, self.spec.project.projection)
        for layer, which in layers.items():
            self._check(tape, layer, which)
            yield from self._layer(tape, layer, which)

    def _channels(self, top: Rows) -> Channels:
        image = [self.positions[index] for index in top.image_index.tolist()]
        where = self.spec.resources.device
        images, channels = (torch.as_tensor(each, device=where).long() for each in (image, top.channel))
        return Channels(images, channels, self.spec.scan.is_inner)

    def _check(self, tape: Tape, layer: Layer, which: np.ndarray[Any, Any]) -> None:
        """Require each unit's activation to equal the score that the scan stored, within the tolerance."""
        scores, values = self.top.score[which], tape.values[layer.node].cpu().numpy()
        precision, tolerance = self.spec.resources.precision, self.tolerances.get(layer.index, 0.0)
        wrong = find_disagreements(scores, values, self.scales[layer.index], precision, tolerance)
        if wrong.any():
            first = int(np.nonzero(wrong)[0][0])
            unit = self.top.take(which[first : first + 1])
            raise NumericsError(
                f"layer {layer.name!r}, channel {unit.channel[0]}: the scan scored {scores[first]} in image "
                f"{unit.image_index[0]}, the second pass {values[first]}; the computation is not reproducible on this machine"
            )

    def _layer(self, tape: Tape, layer: Layer, which: np.ndarray[Any, Any]) -> Iterator[Callable[[], dict[str, Any]]]:
        network, node = self.worker.network, layer.node
        size, is_exact = deconvnet.chunk_size(network, node, tape.values[node].device.type), network.exact(node)
        for start in range(0, len(which), size):
            part = slice(start, start + size)
            units = tape.units[node].part(part)
            places = zip(units.y.tolist(), units.x.tolist(), strict=True)
            for row, (y, x), signal in zip(which[part], places, self._signals(tape, node, units, part), strict=True):
                field = layer.fields.of(int(self.top.channel[row]))
                seen = field.box(y, x).cut(*network.nodes[0].shape[1:])
                place = {"y": y, "x": x, "exact": is_exact}
                yield partial(self._encoded, row, place, seen, signal)

    def _signals(self, tape: Tape, node: int, units: Units, part: slice) -> Sequence[tuple[Array, Box] | None]:
        """The projections of units and the boxes that they cover; None for each unit if the spec asks for none."""
        if self.spec.project.projection is None:
            return [None] * len(units)
        signals, boxes = deconvnet.project(tape, node, units, tape.values[node][part])
        return list(zip(signals.cpu().numpy(), boxes, strict=True))

    def _encoded(
        self, row: int, place: Mapping[str, Any], seen: Box, projected: tuple[Array, Box] | None
    ) -> dict[str, Any]:
        form, index = self.spec.project.image_format, int(self.top.image_index[row])
        picture: PreparedImage = self.batch.pictures[self.positions[index]]
        prepared = picture.prepared[:, seen.top : seen.bottom, seen.left : seen.right]
        coded: dict[str, Any] = {"patch": encode.patch(eight_bit(prepared), form), "projection_scale": 0.0}
        if projected is not None and self.top.score[row] > 0 and not seen.is_empty:
            shown, scale = display(deconvnet.window(*projected, seen))
            coded |= {"projection": encode.projection(shown, form), "projection_scale": scale}
        return {
            "layer_index": int(self.top.layer_index[row]),
            "channel": int(self.top.channel[row]),
            "rank": int(self.rank[row]),
            "image_index": index,
            **place,
            **coded,
        }


def find_disagreements(
    scores: np.ndarray[Any, Any],
    values: np.ndarray[Any, Any],
    scale: float | np.ndarray[Any, Any],
    precision: Precision,
    tolerance: float,
) -> np.ndarray[Any, Any]:
    """A mask of the activations that differ from the scan's scores by more than the tolerance; NaN always differs.

    The rounding error of a sum is proportional to its terms, and the layer's largest scores indicate their size. A sum that
    cancels out may be much smaller: a classifier's output may be a thousandth of its terms.

    Args:
        scores: the scores that the scan stored.
        values: the activations now.
        scale: largest magnitude of the layer's scores, common or per unit.
        precision: precision of the scan's forward pass.
        tolerance: a difference that is always accepted: the measured cost of half precision.
    """
    bound = AGREEMENT[precision]
    largest = np.maximum(bound * np.maximum(scale, bound), tolerance)
    agreeing: np.ndarray[Any, Any] = np.abs(values - scores) <= largest
    return ~agreeing
