"""Changes of features when an image is transformed. Takes a network and images, gives distances and probabilities.

Zeiler & Fergus 2014, Figure 5: the Euclidean distance of a layer's features to those of the untransformed image. Each image
is run alone. In a batch the last bits of features depend on the position, so an image's distance to itself would not be 0.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.core.network import Network
from workers.core.rectifiers import Pointwise


@dataclass(frozen=True, eq=False)
class FeatureComparison:
    """One transformed image, compared with the original.

    Attributes:
        distances: Euclidean distance between the features of both images, per layer.
        relative: the distance divided by the norm of the original's features; None if the norm is 0.
        probabilities: probabilities of all classes for the transformed image, (classes,).
    """

    distances: tuple[float, ...]
    relative: tuple[float | None, ...]
    probabilities: Tensor


def compare(
    network: Network, original: Tensor, images: Iterable[Tensor], numbers: Sequence[int]
) -> Iterator[FeatureComparison]:
    """Compare transformed images with the original, one by one.

    Args:
        network: its last node gives one score per class.
        original: (1, colours, height, width), model-input scale.
        images: transformed images of the same shape and scale.
        numbers: nodes whose features are compared.
    """
    before, _ = features_and_probabilities(network, original, numbers)
    norms = [float(features.norm()) for features in before]
    for image in images:
        after, probabilities = features_and_probabilities(network, image, numbers)
        distances = tuple(float((a - b).norm()) for a, b in zip(after, before, strict=True))
        relative = tuple(d / norm if norm else None for d, norm in zip(distances, norms, strict=True))
        yield FeatureComparison(distances, relative, probabilities)


def features_and_probabilities(network: Network, image: Tensor, numbers: Sequence[int]) -> tuple[list[Tensor], Tensor]:
    """The features of some nodes, float64 (units,) each, and the probabilities of all classes (classes,).

    Args:
        network: its last node gives one score per class.
        image: (1, colours, height, width), model-input scale.
        numbers: the nodes.
    """
    *by_node, scores = features(network, image, [*numbers, network.output])
    return by_node, network.probabilities(scores[None])[0]


def features(network: Network, image: Tensor, numbers: Sequence[int]) -> list[Tensor]:
    """The features of some nodes, float64 (units,) each, for one image (1, colours, height, width), model-input scale."""
    by_node: dict[int, Tensor] = {}

    def keep(number: int, _: tuple[Tensor, ...], map_: Tensor) -> None:
        by_node[number] = map_[0].flatten().double()

    with torch.inference_mode():
        network.forward(image, numbers, keep)
    return [by_node[number] for number in numbers]


def rectified_layers(network: Network) -> list[str]:
    """The names of the rectified layers, in the order of the graph."""
    return [layer.name for layer in network.layers if isinstance(network.nodes[layer.node].step, Pointwise)]


def default_layers(network: Network) -> list[str]:
    """The first and the last rectified layer, for the paper's layers 1 and 7, and the output."""
    rectified = rectified_layers(network)
    return list(dict.fromkeys([*rectified[:1], *rectified[-1:], network.layers[-1].name]))
