"""Parts of images hidden beside a device. Takes one image, writes the signs of what changes; keeps nothing between images."""

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from workers.actors.job import Job
from workers.actors.occlude import filling
from workers.actors.shard import Shard
from workers.actors.single import SingleWorker
from workers.core.correspondence import Kind, elsewhere, hidden, signs
from workers.core.display import eight_bit
from workers.core.invariance import features
from workers.core.receptive_field import Box
from workers.corpus.manifest import Row
from workers.corpus.reader import Picture
from workers.errors import NumericsError
from workers.pictures import encode
from workers.spec.correspondence import CorrespondenceRun, PartBox
from workers.store.tables.correspondence import HIDDEN


class CorrespondenceWorker(SingleWorker[CorrespondenceRun, Shard]):
    """Hides parts of images and looks how their feature maps change."""

    RESULT = HIDDEN

    def found(self, picture: Picture, row: Row, shard: Shard) -> Iterator[dict[str, Any]]:  # noqa: ARG002 - needs no more
        """Rows by part, kind, draw and layer; one row with the reason for a part that cannot be hidden."""
        spec, index = self.job.spec.correspondence, picture.record.image_index
        before = self._features(picture.prepared)
        drawn = [(Kind.PART, 0), *((kind, draw) for kind in (Kind.RANDOM, Kind.TOGETHER) for draw in range(spec.draws))]
        for part in spec.boxes_of(row.image_id):
            box, reason = self._box(part, picture)
            if reason:
                yield {"image_index": index, "part": part.part, "reason": reason}
                continue
            for kind, draw in drawn:
                place = self._place(box, kind, (part, draw), picture.prepared.shape[1])
                common = {"image_index": index, "part": part.part, "kind": str(kind), "draw": draw}
                yield from self._changes(picture.prepared, before, place, common)

    def _changes(
        self, prepared: Tensor, before: list[Tensor], box: Box, common: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """What hiding a box changes, a row for each layer."""
        filled = filling(prepared, self.job.spec.correspondence.fill, max(box.height, box.width))
        covered = hidden(prepared, box, filled)
        for place, (layer, x, y) in enumerate(zip(self.layers, before, self._features(covered), strict=True)):
            if not bool(torch.isfinite(x).all() and torch.isfinite(y).all()):
                which = f"image {common['image_index']}, layer {layer.name}"
                raise NumericsError(f"{which}: the network gives NaN or infinity; try other weights")
            found, shown = signs(x, y), place == 0 and common["draw"] == 0
            yield {
                **common,
                "layer_index": layer.index,
                "positive": found.positive.tobytes(),
                "negative": found.negative.tobytes(),
                "units": found.units,
                "picture": encode.patch(eight_bit(covered), "webp") if shown else None,
            }

    def _box(self, part: PartBox, picture: Picture) -> tuple[Box, str]:
        """The part in the model's input, and why it cannot be hidden, or nothing."""
        height, width = picture.record.height, picture.record.width
        box = self.job.model.preprocessing.input_box(Box(part.top, part.left, part.bottom, part.right), height, width)
        if part.bottom > height or part.right > width:
            return box, f"the box leaves the image, which has {height} rows and {width} columns"
        side = picture.prepared.shape[1]
        if box != box.cut(side, side):
            return box, f"the box leaves what the model sees of the image: rows {_seen(self.job, height, width)}"
        return box, ""

    def _place(self, box: Box, kind: Kind, drawn: tuple[PartBox, int], side: int) -> Box:
        """The box, or one at a random place: the same whatever else is drawn, in whatever order."""
        if kind is Kind.PART:
            return box
        part, draw = drawn
        image = part.image_id if kind is Kind.RANDOM else None
        told = hashlib.sha256(repr((self.job.spec.correspondence.seed, part.part, draw, image)).encode())
        return elsewhere(box, side, torch.Generator().manual_seed(int.from_bytes(told.digest()[:7])))

    def _features(self, pixels: Tensor) -> list[Tensor]:
        return features(self.network, self.input(pixels[None]), [layer.node for layer in self.layers])


def _seen(job: Job[Any], height: int, width: int) -> str:
    """What of an image the model sees."""
    preprocessing = job.model.preprocessing
    seen = preprocessing.source_box(Box(0, 0, preprocessing.crop, preprocessing.crop), height, width).cut(height, width)
    return f"{seen.top} to {seen.bottom}, columns {seen.left} to {seen.right}"
