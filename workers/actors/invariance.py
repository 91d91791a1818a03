"""Moved, enlarged and turned images beside a device. Takes one image, writes how its features and its class change."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from workers.actors.occlude import target_of
from workers.actors.shard import Shard
from workers.actors.single import SingleWorker
from workers.core.display import eight_bit
from workers.core.invariance import Moved, moved
from workers.core.transform import transformed
from workers.corpus.manifest import Row
from workers.corpus.reader import Picture
from workers.errors import NumericsError
from workers.pictures import encode
from workers.spec.invariance import IDENTITY, InvarianceRun, InvarianceSpec, Transform
from workers.store.tables.invariance import TRANSFORMED

SHOWN = 5  # pictures of each transform

Amount = tuple[Transform, float]


class InvarianceWorker(SingleWorker[InvarianceRun, Shard]):
    """Transforms images and looks how far their feature maps go with them."""

    RESULT = TRANSFORMED

    def found(self, picture: Picture, row: Row, shard: Shard) -> list[dict[str, Any]]:  # noqa: ARG002 - needs no more
        """The image's rows of `invariance`."""
        spec, index = self.job.spec.invariance, picture.record.image_index
        amounts = amounts_of(spec, picture.prepared.shape[1])
        seen = [transformed(picture.prepared, *amount, spec.border) for amount in amounts]
        inputs = (self.input(pixels[None]) for pixels in seen)
        told = list(
            moved(self.network, self.input(picture.prepared[None]), inputs, [layer.node for layer in self.layers])
        )
        if not all(bool(torch.isfinite(each.probabilities).all()) for each in told):
            raise NumericsError(f"image {index}: the network gives NaN or infinity; try other weights")
        target = self._target(told[amounts.index(untouched(amounts[0][0]))], row.label)
        shown = shown_amounts(amounts)
        return [
            {
                "image_index": index,
                "layer": layer.name,
                "layer_index": layer.index,
                "transform": str(amount[0]),
                "amount": amount[1],
                "distance": each.distances[place],
                "relative_distance": each.relative[place],
                **self._classes(each.probabilities, target),
                "border": str(spec.border),
                "picture": encode.patch(eight_bit(pixels), "webp") if place == 0 and amount in shown else None,
            }
            for place, layer in enumerate(self.layers)
            for amount, pixels, each in zip(amounts, seen, told, strict=True)
        ]

    def _target(self, original: Moved, label: str | None) -> tuple[int, str]:
        """The class that is followed, and what was asked; the untransformed image's most probable one for want of another."""
        asked, outputs = self.job.spec.invariance.target, len(original.probabilities)
        target = target_of(asked, label, self.job.model.class_names, outputs)
        return (int(original.probabilities.argmax()), "predicted") if target is None else (target, asked)

    def _classes(self, probabilities: Tensor, target: tuple[int, str]) -> dict[str, Any]:
        followed, predicted = target[0], int(probabilities.argmax())
        return {
            "class_index": followed,
            "class_name": self._name(followed),
            "target": target[1],
            "probability": float(probabilities[followed]),
            "predicted_index": predicted,
            "predicted_name": self._name(predicted),
        }

    def _name(self, index: int) -> str | None:
        names = self.job.model.class_names
        return names[index] if index < len(names) else None


def amounts_of(spec: InvarianceSpec, side: int) -> list[Amount]:
    """Every transform by every amount, in the order of the table."""
    return [(each, amount) for each in sorted(set(spec.transforms)) for amount in spec.amounts(each, side)]


def untouched(transform: Transform) -> Amount:
    """The amount of a transform that does nothing."""
    return transform, IDENTITY[transform]


def shown_amounts(amounts: Sequence[Amount]) -> set[Amount]:
    """Of each transform the amounts whose pictures are kept: nothing, both ends, and some between, evenly."""
    shown = set[Amount]()
    for transform in {transform for transform, _ in amounts}:
        mine = [amount for amount in amounts if amount[0] is transform]
        steps = max(1, min(SHOWN, len(mine)) - 1)
        shown |= {mine[round(step / steps * (len(mine) - 1))] for step in range(steps + 1)} | {untouched(transform)}
    return shown
