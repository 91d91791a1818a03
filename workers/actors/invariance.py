"""The invariance worker. Takes one image, writes how its features and class change when it is transformed."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from workers.actors.environment import Environment
from workers.actors.job import Job, common_configuration, target_label
from workers.actors.occlude import target_of
from workers.actors.shard import Shard
from workers.actors.single import SingleWorker
from workers.core.display import eight_bit
from workers.core.invariance import FeatureComparison, compare
from workers.core.transform import transform_image
from workers.corpus.batch import PreparedImage
from workers.corpus.manifest import Row
from workers.errors import NumericsError
from workers.pictures import encode
from workers.spec.invariance import IDENTITY, InvarianceRun, InvarianceSpec, Transform
from workers.store.tables.invariance import TRANSFORMED

# Raise it whenever the same inputs would give other numbers: stored results of the old algorithm are then not reused.
INVARIANCE_ALGORITHM = 2

SHOWN = 5  # pictures per transform

Amount = tuple[Transform, float]


def invariance_configuration(job: Job[InvarianceRun], environment: Environment, label: str | None) -> dict[str, Any]:
    """All that one image's rows depend on, except the image; `label` is the image's label."""
    return {
        "job": "invariance",
        "algorithm": INVARIANCE_ALGORITHM,
        **common_configuration(job, environment),
        "layers": job.layers,
        "invariance": job.spec.invariance.model_dump(mode="json", exclude={"layers", "images", "sample"}),
        "class_names": job.model.class_names,
        "label": target_label(job, job.spec.invariance.target, label),
    }


class InvarianceWorker(SingleWorker[InvarianceRun, Shard]):
    """Transforms images and measures how their features change."""

    RESULT = TRANSFORMED

    def compute_rows(self, picture: PreparedImage, row: Row, shard: Shard) -> list[dict[str, Any]]:  # noqa: ARG002 - not needed
        """The image's rows of `invariance`."""
        spec, index = self.job.spec.invariance, picture.record.image_index
        amounts = amounts_of(spec, *picture.prepared.shape[1:])
        images = [transform_image(picture.prepared, *amount, spec.border) for amount in amounts]
        original, inputs = self.input(picture.prepared[None]), (self.input(pixels[None]) for pixels in images)
        comparisons = list(compare(self.network, original, inputs, [n.node for n in self.layers]))
        if not all(bool(torch.isfinite(comparison.probabilities).all()) for comparison in comparisons):
            raise NumericsError(f"image {index}: the network outputs NaN or infinity; try other weights")
        target = self._target(comparisons[amounts.index(identity(amounts[0][0]))], row.label)
        shown = choose_shown(amounts)
        return [
            {
                "image_index": index,
                "layer": layer.name,
                "layer_index": layer.index,
                "transform": str(amount[0]),
                "amount": amount[1],
                "distance": comparison.distances[place],
                "relative_distance": comparison.relative[place],
                **self._classes(comparison.probabilities, target),
                "border": str(spec.border),
                "picture": encode.patch(eight_bit(pixels), "webp") if place == 0 and amount in shown else None,
            }
            for place, layer in enumerate(self.layers)
            for amount, pixels, comparison in zip(amounts, images, comparisons, strict=True)
        ]

    def _target(self, original: FeatureComparison, label: str | None) -> tuple[int, str]:
        """The class to measure, and the column `target`; by default the untransformed image's most probable class."""
        target, outputs = self.job.spec.invariance.target, len(original.probabilities)
        index = target_of(target, label, self.job.model.class_names, outputs)
        return (int(original.probabilities.argmax()), "predicted") if index is None else (index, target)

    def _classes(self, probabilities: Tensor, target: tuple[int, str]) -> dict[str, Any]:
        index, predicted = target[0], int(probabilities.argmax())
        return {
            "class_index": index,
            "class_name": self._name(index),
            "target": target[1],
            "probability": float(probabilities[index]),
            "predicted_index": predicted,
            "predicted_name": self._name(predicted),
        }

    def _name(self, index: int) -> str | None:
        names = self.job.model.class_names
        return names[index] if index < len(names) else None


def amounts_of(spec: InvarianceSpec, height: int, width: int) -> list[Amount]:
    """Every transform with each of its amounts, in the order of the table."""
    sides = {transform: width if transform is Transform.TRANSLATE_X else height for transform in set(spec.transforms)}
    return [(transform, amount) for transform in sorted(sides) for amount in spec.amounts(transform, sides[transform])]


def identity(transform: Transform) -> Amount:
    """The amount of a transform that leaves an image unchanged."""
    return transform, IDENTITY[transform]


def choose_shown(amounts: Sequence[Amount]) -> set[Amount]:
    """The amounts with a picture: for each transform the identity, both ends, and some between them, evenly spaced."""
    shown = set[Amount]()
    for transform in {transform for transform, _ in amounts}:
        own = [amount for amount in amounts if amount[0] is transform]
        steps = max(1, min(SHOWN, len(own)) - 1)
        shown |= {own[round(step / steps * (len(own) - 1))] for step in range(steps + 1)} | {identity(transform)}
    return shown
