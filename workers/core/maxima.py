"""Maxima of maps. Takes a network and images, gives the largest activation of every channel of some layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from workers.core.network import Layer, Network

CACHE_BYTES = 16 << 20  # of a map: one core's share of a usual last-level cache


@dataclass(frozen=True, eq=False)
class Maxima:
    """The largest activations of some layers of a network.

    Attributes:
        network: the network. Its maps are only read while it runs, so that a ReLU may overwrite its input.
        layers: the layers, in the order of the graph.
        at_once: number of images that go through the network together.
    """

    network: Network
    layers: Sequence[Layer]
    at_once: int

    @cached_property
    def columns(self) -> dict[int, slice]:
        """By node, the columns of its channels."""
        columns, start = {}, 0
        for layer in self.layers:
            columns[layer.node] = slice(start, start + layer.channels)
            start += layer.channels
        return columns

    def of(self, images: Tensor) -> Tensor:
        """The largest activation of every channel in every image.

        Args:
            images: (n, channels, height, width), model-input scale.

        Returns:
            (n, channels of all layers), float32, on the images' device.
        """
        with torch.inference_mode():
            return torch.cat([self.run(part) for part in torch.split(images, self.at_once)])

    def run(self, images: Tensor) -> Tensor:
        """As `of`, for at most `at_once` images."""
        maxima: list[Tensor] = []

        def visit(_: int, __: tuple[Tensor, ...], map_: Tensor) -> None:
            maxima.append(map_.amax(dim=(2, 3)).float())

        self.network.forward(images, self.columns, visit, overwrite=True)
        return torch.cat(maxima, dim=1)


def images_in_cache(network: Network, layers: Sequence[Layer]) -> int:
    """The number of images, a power of two, whose largest map fits a CPU's cache: more of them run slower, not faster."""
    last = max(layer.node for layer in layers)
    sizes = [
        channels * height * width for channels, height, width in (node.shape for node in network.nodes[: last + 1])
    ]
    fitting = CACHE_BYTES // (torch.float32.itemsize * max(sizes))
    return 1 << max(0, fitting.bit_length() - 1)
