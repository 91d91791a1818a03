"""The correspondence worker. Takes one image, hides its parts, writes the signs of the changes; keeps no state."""

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from workers.actors.environment import Environment
from workers.actors.job import Job, common_configuration
from workers.actors.occlude import make_fill
from workers.actors.shard import Shard
from workers.actors.single import SingleWorker
from workers.core.correspondence import Placement, hide, random_box, signs
from workers.core.display import eight_bit
from workers.core.invariance import features
from workers.core.receptive_field import Box
from workers.corpus.batch import PreparedImage
from workers.corpus.manifest import Row
from workers.errors import NumericsError
from workers.pictures import encode
from workers.spec.correspondence import CorrespondenceRun, PartBox
from workers.store.tables.correspondence import HIDDEN

# Raise it whenever the same inputs would give other numbers: stored results of the old algorithm are then not reused.
CORRESPONDENCE_ALGORITHM = 2


def correspondence_configuration(
    job: Job[CorrespondenceRun], environment: Environment, image_id: str
) -> dict[str, Any]:
    """All that one image's signs depend on, except the image. Only its own parts count, and its id seeds the draws."""
    spec = job.spec.correspondence
    return {
        "job": "correspondence",
        "algorithm": CORRESPONDENCE_ALGORITHM,
        **common_configuration(job, environment),
        "layers": job.layers,
        "boxes": [box.model_dump() for box in spec.boxes_of(image_id)],
        "draws": spec.draws,
        "seed": spec.seed,
        "fill": spec.fill,
    }


class CorrespondenceWorker(SingleWorker[CorrespondenceRun, Shard]):
    """Hides parts of images and finds out how their feature maps change."""

    RESULT = HIDDEN

    def compute_rows(self, picture: PreparedImage, row: Row, shard: Shard) -> Iterator[dict[str, Any]]:  # noqa: ARG002 - not needed
        """Rows by part, kind, draw and layer; a part that cannot be hidden has one row with the reason."""
        spec, index = self.job.spec.correspondence, picture.record.image_index
        before = self._features(picture.prepared)
        random = [(kind, draw) for kind in (Placement.RANDOM, Placement.TOGETHER) for draw in range(spec.draws)]
        for part in spec.boxes_of(row.image_id):
            box, reason = self._box(part, picture)
            if reason:
                yield {"image_index": index, "part": part.part, "reason": reason}
                continue
            for kind, draw in [(Placement.PART, 0), *random]:
                place = self._place(box, kind, (part, draw))
                common = {"image_index": index, "part": part.part, "kind": str(kind), "draw": draw}
                yield from self._changes(picture.prepared, before, place, common)

    def _changes(
        self, prepared: Tensor, before: list[Tensor], box: Box, common: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """The changes caused by hiding a box, one row per layer."""
        filled = make_fill(prepared, self.job.spec.correspondence.fill, max(box.height, box.width))
        covered = hide(prepared, box, filled)
        for place, (layer, x, y) in enumerate(zip(self.layers, before, self._features(covered), strict=True)):
            if not bool(torch.isfinite(x).all() and torch.isfinite(y).all()):
                location = f"image {common['image_index']}, layer {layer.name}"
                raise NumericsError(f"{location}: the network outputs NaN or infinity; try other weights")
            change, has_picture = signs(x, y), place == 0 and common["draw"] == 0
            yield {
                **common,
                "layer_index": layer.index,
                "positive": change.positive.tobytes(),
                "negative": change.negative.tobytes(),
                "units": change.units,
                "picture": encode.patch(eight_bit(covered), "webp") if has_picture else None,
            }

    def _box(self, part: PartBox, picture: PreparedImage) -> tuple[Box, str]:
        """The part's box in the model's input, and the reason why it cannot be hidden, or an empty string."""
        height, width = picture.record.height, picture.record.width
        box = self.job.model.preprocessing.input_box(Box(part.top, part.left, part.bottom, part.right), height, width)
        if part.bottom > height or part.right > width:
            return box, f"the box extends beyond the image, which has {height} rows and {width} columns"
        if box != box.cut(*self.job.model.preprocessing.size):
            visible = _visible(self.job, height, width)
            return box, f"the box extends beyond the part of the image that the model sees: rows {visible}"
        return box, ""

    def _place(self, box: Box, kind: Placement, key: tuple[PartBox, int]) -> Box:
        """The box itself, or one at a random place, which depends only on the seed and the key (part and draw)."""
        if kind is Placement.PART:
            return box
        part, draw = key
        image = part.image_id if kind is Placement.RANDOM else None
        digest = hashlib.sha256(repr((self.job.spec.correspondence.seed, part.part, draw, image)).encode()).digest()
        return random_box(
            box, self.job.model.preprocessing.size, torch.Generator().manual_seed(int.from_bytes(digest[:7]))
        )

    def _features(self, pixels: Tensor) -> list[Tensor]:
        return features(self.network, self.input(pixels[None]), [layer.node for layer in self.layers])


def _visible(job: Job[Any], height: int, width: int) -> str:
    """The rows and columns of an image that the model sees."""
    crop = Box(0, 0, *job.model.preprocessing.size)
    box = job.model.preprocessing.source_box(crop, height, width).cut(height, width)
    return f"{box.top} to {box.bottom}, columns {box.left} to {box.right}"
