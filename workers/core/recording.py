"""Run a network on images and keep what the way down needs. Takes images and units or channels, gives a tape.

The forward pass runs once per image, on the whole image.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from workers.core.maxima import has_inside, inside
from workers.core.network import Network
from workers.spec.parts import Method

TAPE_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Units:
    """Some units of one layer, as int64 tensors of equal length.

    Attributes:
        image: position of the image in the batch.
        channel: channel of the unit.
        y: row of the unit.
        x: column of the unit.
    """

    image: Tensor
    channel: Tensor
    y: Tensor
    x: Tensor

    def __len__(self) -> int:
        return len(self.image)

    def part(self, which: slice) -> "Units":
        """Some of the units."""
        return Units(self.image[which], self.channel[which], self.y[which], self.x[which])


@dataclass(frozen=True)
class Channels:
    """Some channels of one layer, in some images, as int64 tensors of equal length. Their strongest units are wanted.

    Attributes:
        image: position of the image in the batch.
        channel: channel of the layer.
        inner: whether only units away from the border of the map are wanted; see `maxima.inside`.
    """

    image: Tensor
    channel: Tensor
    inner: bool = False


@dataclass(frozen=True, eq=False)
class Tape:
    """What forward passes leave for the way down.

    Attributes:
        network: the network that ran.
        method: what is kept follows from it.
        kept: by number of a node, what its step keeps, such as the switches of a max-pooling layer; (images, ...).
        units: by number of a wanted node, its units.
        values: by number of a wanted node, the activations of its units.
    """

    network: Network
    method: Method
    kept: dict[int, Tensor] = field(default_factory=dict)
    units: dict[int, Units] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)


def record(network: Network, images: Tensor, wanted: Mapping[int, Units | Channels], method: Method | None) -> Tape:
    """Run the network on each image and keep what the way down from the wanted units needs.

    Images run one by one, so that neither a unit's activation nor its location depends on the other images of the batch.

    Args:
        network: the network.
        images: (n, channels, height, width), model-input scale.
        wanted: what will be projected, by number of the node: units, or the strongest unit of each of some channels.
        method: how they will be; None if they will not, and only the units and their activations are wanted.
    """
    tape = Tape(network, method or Method.DECONVNET)
    below = _below(network, wanted, method)
    finders = {number: _UnitFinder(units, images.dtype) for number, units in wanted.items()}
    kept: dict[int, list[Tensor]] = {}

    def visit(image: int, number: int, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if number in finders:
            finders[number].take(image, output)
        part = network.nodes[number].step.keep(inputs, output, method) if method else None
        if part is not None:
            kept.setdefault(number, []).append(part)

    with torch.inference_mode():
        for position in range(len(images)):
            network.forward(images[position : position + 1], below, partial(visit, position))
        for number in [*kept]:
            tape.kept[number] = torch.cat(kept.pop(number))
    for number, finder in finders.items():
        tape.units[number], tape.values[number] = finder.units(), finder.values
    return tape


class _UnitFinder:
    """Finds the wanted units of one node, image by image."""

    def __init__(self, wanted: Units | Channels, dtype: torch.dtype) -> None:
        self.wanted = wanted
        self.values = torch.zeros(len(wanted.image), dtype=dtype, device=wanted.image.device)
        self._y, self._x = torch.zeros_like(wanted.image), torch.zeros_like(wanted.image)
        self._of_image: dict[int, list[int]] = {}
        for position, image in enumerate(wanted.image.tolist()):
            self._of_image.setdefault(image, []).append(position)

    def take(self, image: int, map_: Tensor) -> None:
        """Find the units of an image in its map (1, channels, height, width)."""
        if image not in self._of_image:
            return
        which = torch.tensor(self._of_image[image], device=map_.device)
        channel = self.wanted.channel[which]
        if isinstance(self.wanted, Units):
            y, x = self.wanted.y[which], self.wanted.x[which]
        else:
            y, x = locate(map_[0, channel], inner=self.wanted.inner)
        self._y[which], self._x[which] = y, x
        self.values[which] = map_[0, channel, y, x]

    def units(self) -> Units:
        """All units."""
        return Units(self.wanted.image, self.wanted.channel, self._y, self._x)


def locate(maps: Tensor, *, inner: bool = False) -> tuple[Tensor, Tensor]:
    """Rows and columns of the maxima of maps (n, height, width); among equal values, of the first in row-major order.

    With `inner`, those of the maxima away from the border.
    """
    searched = inside(maps) if inner else maps
    place, before = searched.flatten(1).argmax(dim=1), int(inner and has_inside(maps))
    return place // searched.shape[2] + before, place % searched.shape[2] + before


def images_at_once(network: Network, wanted: Iterable[int], method: Method | None) -> int:
    """How many images a tape takes, so that it has about 512 MiB: a function of the network, the nodes and the method."""
    nodes = [network.nodes[number] for number in _below(network, wanted, method)]
    size = sum(node.step.kept_bytes(node.shape, method) for node in nodes) if method else 0
    return max(1, min(32, TAPE_BYTES // max(size, 1)))


def _below(network: Network, wanted: Iterable[int], method: Method | None) -> set[int]:
    """The nodes that the way down from some nodes goes through, and these themselves."""
    return {number for top in wanted for number in (network.cone(top) if method else (top,))}
