"""Pass 2 beside a device. Takes the top rows of one shard's images, writes their patches, projections and previews."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch

from workers.actors import reading
from workers.actors.shard import Group
from workers.actors.worker import Worker
from workers.core import deconvnet
from workers.core.deconvnet import Tape, Units
from workers.core.display import display
from workers.core.network import Layer
from workers.core.receptive_field import Box
from workers.core.topk import Rows
from workers.corpus import manifest
from workers.corpus.reader import Batch, Picture
from workers.errors import NumericsError, ReadError
from workers.pictures import encode
from workers.spec.parts import Precision
from workers.spec.scan import RunSpec
from workers.store.spill import Spill
from workers.store.tables.scan import PROJECTED

KEYS = ("layer_index", "channel", "rank", "image_index")

# How far a unit's activation may be from the score that the scan stored, relative to the layer's largest: the batches differ.
AGREEMENT = {Precision.FLOAT32: 1e-3, Precision.BFLOAT16: 0.1, Precision.FLOAT16: 0.02}


@dataclass(frozen=True)
class GroupReport:
    """What a driver is told about a finished group."""

    result: str
    rows: int
    images: int
    seconds: float


class ProjectWorker(Worker[RunSpec]):
    """Projects units, always in float32."""

    def run(self, group: Group) -> GroupReport:
        """Project a group and write its result, which then is its done mark."""
        started = time.monotonic()
        self.done = 0
        indices = np.unique(group.rows.image_index)
        with self.root.scratch() as scratch, Spill(scratch, PROJECTED, KEYS) as spill:
            for batch in self._batches(group, set(indices.tolist())):
                for row in chain(_GroupBatch(self, group, batch).rows(), _previews(batch)):
                    spill.add(row)
                self.done += len(batch.pictures)
            self.root.put_file(spill.encode(), group.result)
        return GroupReport(group.result, len(group.rows), len(indices), time.monotonic() - started)

    def _batches(self, group: Group, indices: set[int]) -> Iterator[Batch]:
        listed = manifest.rows(self.root, group.manifest, group.start, group.stop)
        wanted = [row for row in listed if row.image_index in indices]
        spec = self.job.spec
        numbers = {self.network.layers[layer].node for layer in group.rows.layer_index}
        size = min(spec.scan.batch, deconvnet.images_at_once(self.network, numbers, spec.project.method))
        preview = partial(encode.preview, image_format=spec.project.image_format) if spec.project.previews else None
        for batch in reading.batches(self.job, wanted, size, preview=preview):
            if batch.rejects:
                reject = batch.rejects[0]
                raise ReadError(
                    f"image {reject.image_index} was scanned and is now {reject.reason}: its file has changed"
                )
            yield batch


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
        self.scales = group.scales

    def rows(self) -> Iterator[dict[str, Any]]:
        """The encoded rows, layer by layer."""
        by_layer = {
            int(layer): np.nonzero(self.top.layer_index == layer)[0] for layer in np.unique(self.top.layer_index)
        }
        layers = {self.worker.network.layers[index]: which for index, which in by_layer.items()}
        units = {layer.node: self._units(self.top.take(which)) for layer, which in layers.items()}
        images = self.worker.input(self.batch.pixels())
        tape = deconvnet.record(self.worker.network, images, units, self.spec.project.method)
        for layer, which in layers.items():
            self._check(tape, layer, which)
            yield from self._layer(tape, layer, which, units[layer.node])

    def _units(self, top: Rows) -> Units:
        image = [self.positions[index] for index in top.image_index.tolist()]
        where = self.spec.resources.device
        return Units(*(torch.as_tensor(each, device=where).long() for each in (image, top.channel, top.y, top.x)))

    def _check(self, tape: Tape, layer: Layer, which: np.ndarray[Any, Any]) -> None:
        """Both passes must mean the same unit: its activation is the score that the scan stored."""
        scores, values = self.top.score[which], tape.values[layer.node].cpu().numpy()
        wrong = disagreeing(scores, values, self.scales[layer.index], self.spec.resources.precision)
        if wrong.any():
            first = int(np.nonzero(wrong)[0][0])
            unit = self.top.take(which[first : first + 1])
            raise NumericsError(
                f"layer {layer.name!r}, channel {unit.channel[0]}: the scan scored {scores[first]} in image "
                f"{unit.image_index[0]}, the second pass {values[first]}; has the image changed?"
            )

    def _layer(self, tape: Tape, layer: Layer, which: np.ndarray[Any, Any], units: Units) -> Iterator[dict[str, Any]]:
        network, node = self.worker.network, layer.node
        exact = deconvnet.exact(network, node)
        size = deconvnet.chunk_size(network, node)
        for start in range(0, len(units), size):
            part = slice(start, start + size)
            signals, boxes = deconvnet.project(tape, node, units.part(part), tape.values[node][part])
            projections = signals.cpu().numpy()
            for n, row in enumerate(which[part]):
                seen = layer.field.box(int(self.top.y[row]), int(self.top.x[row])).cut(*network.nodes[0].shape[1:])
                yield self._encoded(row, seen, _cut(projections[n], boxes[n], seen), exact)

    def _encoded(self, row: int, seen: Box, signal: np.ndarray[Any, Any], exact: bool) -> dict[str, Any]:
        form, index = self.spec.project.image_format, int(self.top.image_index[row])
        picture: Picture = self.batch.pictures[self.positions[index]]
        prepared = picture.prepared[:, seen.top : seen.bottom, seen.left : seen.right].permute(1, 2, 0).contiguous()
        coded: dict[str, Any] = {"patch": encode.patch(prepared.numpy(), form), "projection_scale": 0.0}
        if self.top.score[row] > 0:
            pixels, scale = display(signal)
            coded |= {"projection": encode.projection(pixels, form), "projection_scale": scale}
        return {
            "layer_index": int(self.top.layer_index[row]),
            "channel": int(self.top.channel[row]),
            "rank": int(self.rank[row]),
            "image_index": index,
            "exact": exact,
            **coded,
        }


def disagreeing(
    scores: np.ndarray[Any, Any],
    values: np.ndarray[Any, Any],
    scale: float | np.ndarray[Any, Any],
    precision: Precision,
) -> np.ndarray[Any, Any]:
    """Which of a layer's activations are not those of the scan; NaN never is.

    Rounding is of the size of what was added up, which the layer's largest scores tell, also where a sum cancels out: an
    output of a classifier may be a thousandth of its terms.

    Args:
        scores: as the scan stored them.
        values: as they are now.
        scale: magnitude of the layer's largest, one or one for each.
        precision: of the scan's forward pass.
    """
    bound = AGREEMENT[precision]
    agreeing: np.ndarray[Any, Any] = np.abs(values - scores) <= bound * np.maximum(scale, bound)
    return ~agreeing


def _cut(signal: np.ndarray[Any, Any], covers: Box, wanted: Box) -> np.ndarray[Any, Any]:
    """The part of a signal (3, height, width) that covers `covers` which lies on `wanted`, inside it."""
    top, left = wanted.top - covers.top, wanted.left - covers.left
    return signal[:, top : top + wanted.height, left : left + wanted.width]
