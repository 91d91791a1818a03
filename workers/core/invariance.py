"""How far features move when an image does. Takes a network and images, gives distances of features and probabilities.

Zeiler & Fergus 2014, Figure 5: the Euclidean distance of a layer's features to those of the untransformed image. Each image
runs alone: in a batch the last bits of features depend on the place, and the distance of an image to itself would not be 0.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.core.network import Network
from workers.core.steps import Rectifier


@dataclass(frozen=True, eq=False)
class Moved:
    """What a network says of one transformed image.

    Attributes:
        distances: of each layer's features to the untransformed image's, Euclidean.
        relative: the same over the norm of the untransformed image's features; None where that is 0.
        probabilities: of all classes, (classes,).
    """

    distances: tuple[float, ...]
    relative: tuple[float | None, ...]
    probabilities: Tensor


def moved(network: Network, original: Tensor, images: Iterable[Tensor], numbers: Sequence[int]) -> Iterator[Moved]:
    """Compare transformed images with the original, one by one.

    Args:
        network: its last node gives one score per class.
        original: (1, 3, height, width), model-input scale.
        images: likewise.
        numbers: nodes whose features are compared.
    """
    before, _ = look(network, original, numbers)
    norms = [float(features.norm()) for features in before]
    for image in images:
        after, probabilities = look(network, image, numbers)
        distances = tuple(float((a - b).norm()) for a, b in zip(after, before, strict=True))
        relative = tuple(d / norm if norm else None for d, norm in zip(distances, norms, strict=True))
        yield Moved(distances, relative, probabilities)


def look(network: Network, image: Tensor, numbers: Sequence[int]) -> tuple[list[Tensor], Tensor]:
    """Features of some nodes, float64 (units,) each, and the probabilities of all classes (classes,).

    Args:
        network: its last node gives one score per class.
        image: (1, 3, height, width), model-input scale.
        numbers: the nodes.
    """
    *found, scores = features(network, image, [*numbers, len(network.nodes) - 1])
    return found, scores.softmax(0)


def features(network: Network, image: Tensor, numbers: Sequence[int]) -> list[Tensor]:
    """Features of some nodes, float64 (units,) each, of one image (1, 3, height, width) in model-input scale."""
    found: dict[int, Tensor] = {}

    def keep(number: int, _: tuple[Tensor, ...], map_: Tensor) -> None:
        found[number] = map_[0].flatten().double()

    with torch.inference_mode():
        network.forward(image, numbers, keep)
    return [found[number] for number in numbers]


def rectified_layers(network: Network) -> list[str]:
    """The names of the rectified layers, in the order of the graph."""
    return [layer.name for layer in network.layers if isinstance(network.nodes[layer.node].step, Rectifier)]


def usual_layers(network: Network) -> list[str]:
    """The layers that stand for the paper's 1 and 7: the first and the last rectified one; and the output."""
    rectified = rectified_layers(network)
    return list(dict.fromkeys([*rectified[:1], *rectified[-1:], network.layers[-1].name]))
