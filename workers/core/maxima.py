"""Maxima of maps. Takes a network and images, gives the largest activation of every channel of some layers.

For a classifier, whose output is one number for each class, they also give these outputs, and so its predictions.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

from workers.core.network import Layer, Network
from workers.spec.scan import LEAST_MAP

CACHE_BYTES = 16 << 20  # of a map: one core's share of a usual last-level cache


@dataclass(frozen=True, eq=False)
class Maxima:
    """The largest activations of some layers of a network.

    Attributes:
        network: the network. Its maps are only read while it runs, so that a ReLU may overwrite its input.
        layers: the layers, in the order of the graph.
        at_once: number of images that go through the network together, up to `head`.
        predicts: whether the columns of the network's output come after those of the layers, unless it is one of them.
        inner: whether units at the border of a map are left out; see `inside`.
        head: node from which on all images run together; None if there is none. See `find_head`.
    """

    network: Network
    layers: Sequence[Layer]
    at_once: int
    predicts: bool = False
    inner: bool = False
    head: int | None = None

    @cached_property
    def columns(self) -> dict[int, slice]:
        """By node, the columns of its channels."""
        channels = {layer.node: layer.channels for layer in self.layers}
        if self.predicts:
            channels.setdefault(self.network.output, self.network.nodes[self.network.output].shape[0])
        stops = list(accumulate(channels.values()))
        return {node: slice(stop - channels[node], stop) for node, stop in zip(channels, stops, strict=True)}

    @property
    def scores(self) -> slice:
        """The columns of the layers."""
        return slice(0, sum(layer.channels for layer in self.layers))

    @property
    def outputs(self) -> slice | None:
        """The columns of the network's output; None if they are not wanted."""
        return self.columns[self.network.output] if self.predicts else None

    def of(self, images: Tensor) -> Tensor:
        """The largest activation of every channel in every image.

        Args:
            images: (n, channels, height, width), model-input scale.

        Returns:
            (n, columns), float32, on the images' device.
        """
        with torch.inference_mode():
            parts = [self.run(part) for part in torch.split(images, self.at_once)]
            return self.finish(torch.cat(parts), images.dtype)

    def run(self, images: Tensor) -> Tensor:
        """What `finish` needs of at most `at_once` images: the maxima up to the head, and the head's own map."""
        return torch.cat(list(self._maxima(images, self._body).values()), dim=1)

    def finish(self, scores: Tensor, dtype: torch.dtype) -> Tensor:
        """The maxima of all images, from what `run` gave for them, and the network's floating-point format."""
        if self.head is None or self.head not in self._body:
            return scores
        channels = self.network.nodes[self.head].shape[0]
        body, maps = scores[:, :-channels], scores[:, -channels:].to(dtype, copy=True)
        above = [node for node in self.columns if node >= self.head]
        return torch.cat([body, *self._maxima(maps[:, :, None, None], above, self.head).values()], dim=1)

    @cached_property
    def _body(self) -> tuple[int, ...]:
        """The wanted nodes below the head and, if there are others, the head: its map is the last of what `run` gives."""
        if self.head is None or max(self.columns) < self.head:
            return tuple(self.columns)
        return (*(node for node in self.columns if node < self.head), self.head)

    def _maxima(self, images: Tensor, wanted: Sequence[int], start: int = 0) -> dict[int, Tensor]:
        """The largest activation of every channel of the wanted nodes, each (n, channels), float32, in the nodes' order."""
        maxima: dict[int, Tensor] = {}

        def visit(node: int, _: tuple[Tensor, ...], map_: Tensor) -> None:
            maxima[node] = (inside(map_) if self.inner else map_).amax(dim=(2, 3)).float()

        self.network.forward(images, wanted, visit, overwrite=True, start=start)
        return {node: maxima[node] for node in wanted}


def find_head(network: Network) -> int | None:
    """The first node from which on all maps have one unit per channel and nothing before it is read; None if there is none.

    There, fully connected layers begin. Their weights are larger than the maps, so they should be read once for many images.
    """
    head, least = None, len(network.nodes)
    for number in range(len(network.nodes) - 1, 0, -1):
        node = network.nodes[number]
        if node.shape[1:] != (1, 1):
            break
        if number <= least:
            head = number
        least = min(least, *node.inputs)
    return head if head is not None and head < network.output else None


def inside(map_: Tensor) -> Tensor:
    """A map (..., height, width) without its outermost rows and columns; all of it if it has fewer than 3 of either."""
    return map_[..., 1:-1, 1:-1] if has_inside(map_) else map_


def has_inside(map_: Tensor) -> bool:
    """Whether a map (..., height, width) has units away from its border."""
    return min(map_.shape[-2:]) >= LEAST_MAP


def is_classifier(network: Network, classes: int) -> bool:
    """Whether a network's output is one number for each of so many classes."""
    return classes > 0 and network.nodes[network.output].shape == (classes, 1, 1)


def predictions(network: Network, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """The most probable class of each image, and its probability.

    Args:
        network: a classifier.
        outputs: its outputs, (n, classes), float32.

    Returns:
        Class numbers, int64, and probabilities, float32, both (n,). Of equal outputs, the first one counts.
    """
    first = (outputs == outputs.amax(dim=1, keepdim=True)).int().argmax(dim=1)
    return first, network.probabilities(outputs).gather(1, first[:, None])[:, 0]


def images_in_cache(network: Network, nodes: Collection[int]) -> int:
    """The number of images, a power of two, whose largest map fits a CPU's cache: more of them run slower, not faster."""
    last = max(nodes)
    sizes = [
        channels * height * width for channels, height, width in (node.shape for node in network.nodes[: last + 1])
    ]
    fitting = CACHE_BYTES // (torch.float32.itemsize * max(sizes))
    return 1 << max(0, fitting.bit_length() - 1)
