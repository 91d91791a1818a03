"""The operations of a network, upward and downward. Takes feature maps (n, channels, height, width), gives feature maps.

Upward is the forward pass. Downward is the transpose that the deconvnet applies (Zeiler & Fergus 2014, section 2.1), on a
window of the map. It takes the signal on output positions [o, o + w) and gives the signal on the input positions that
these read, [o * stride - padding, ...). The result may extend beyond the map; the caller drops the part outside.

A step is a frozen value: its fields are plain values and tensors, so that it can be stored and hashed as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from workers.core.receptive_field import Span
from workers.core.transposed import transposed
from workers.spec.parts import Method

Pair = tuple[int, int]
Extent = tuple[int, int]
Shape = tuple[int, int, int]


class Descent(Protocol):
    """What a step may use on the way down, about the units whose signal it carries."""

    @property
    def method(self) -> Method:
        """How the signal is carried."""

    @property
    def kept(self) -> Tensor:
        """What `keep` kept in the forward pass, for all images."""

    @property
    def below(self) -> Sequence[Shape]:
        """(channels, height, width) of each input map."""

    @property
    def above(self) -> Shape:
        """(channels, height, width) of the output map."""

    def window(self, map_: Tensor) -> Tensor:
        """Cut each unit's output positions from a map of all images; from one of 1 x 1, nothing is cut."""

    def whole(self, signal: Tensor) -> Tensor:
        """Each unit's signal on the whole output map, 0 outside its window."""

    def positions(self, axis: int) -> Tensor:
        """The output positions of each unit's window along an axis, (units, size); they may lie outside the map."""

    def positions_below(self, axis: int) -> Tensor:
        """The same for the window of the input."""

    def aligned(self, signal: Tensor, factor: Pair, before: Pair, reach: Pair) -> Tensor:
        """The signal on output positions [i * factor - before, ... + reach) for all input positions i of the window."""


class Step:
    """One operation.

    Attributes:
        kind: its name for users.
        whole: whether every output sees the whole map.
        local: whether a window of the output can be computed from a window of the input by `window`.
        spreads: whether a signal can get past the end of the input map on the way down.
        fills: whether the downward step gives the signal on the whole window of the input.
        exact: whether the paper defines its downward step.
        gated: whether the signal is multiplied by numbers that follow from the image and are held constant.
        outside: value at positions outside the map.
        obstacle: why a signal cannot be carried down through it; empty if it can.
        by_channel: whether output channel i reads only channel i of each input that carries the signal.
    """

    kind: ClassVar[str]
    whole: ClassVar[bool] = False
    local: ClassVar[bool] = True
    spreads: ClassVar[bool] = False
    fills: ClassVar[bool] = False
    exact: ClassVar[bool] = True
    gated: ClassVar[bool] = False
    outside: ClassVar[float] = 0.0
    obstacle: ClassVar[str] = ""
    by_channel: ClassVar[bool] = False

    def forward(self, *inputs: Tensor) -> Tensor:
        """The output map of the input maps."""
        raise NotImplementedError

    def carries(self, number: int) -> bool:
        """Whether the signal goes on into input `number`."""
        del number
        return True

    def sees_whole(self, number: int) -> bool:
        """Whether every output sees the whole map of input `number`."""
        del number
        return self.whole

    def source_channels(self, number: int, channels: int) -> Sequence[int] | None:
        """For each of the output's channels, the channel of input `number` that it reads, -1 if none; None if several."""
        del number
        return range(channels) if self.by_channel else None

    def reach(self, axis: int) -> tuple[int, int, int]:
        """Stride, padding before the map, and number of positions that one output sees, along axis 0 (rows) or 1 (columns)."""
        del axis
        return 1, 0, 1

    def below(self, span: Span, axis: int) -> Span:
        """The span of input positions that a span of output positions sees, as if maps had no borders."""
        return span.through(*self.reach(axis))

    def window(self, *inputs: Tensor) -> Tensor:
        """Forward without padding, on windows with all inputs of their outputs and `outside` at positions outside the map."""
        return self.forward(*inputs)

    def keep(self, inputs: Sequence[Tensor], output: Tensor, method: Method) -> Tensor | None:
        """What the way down needs of a forward pass; None if nothing. What the gradient needs is enough for all methods."""
        return None

    def kept_bytes(self, shape: Shape, method: Method) -> int:
        """The size of what `keep` keeps for one image, given the shape of the output."""
        del shape, method
        return 0

    def down(self, signal: Tensor, descent: Descent) -> tuple[Tensor, ...]:
        """Carry a signal from output positions to input positions, one tensor per input; only those that carry it count."""
        del descent
        return (signal,)


@dataclass(frozen=True, eq=False)
class Input(Step):
    """The network's input."""

    kind = "input"


@dataclass(frozen=True, eq=False)
class Same(Step):
    """The identity: dropout in evaluation mode, a change of memory layout, and the like."""

    kind: str  # type: ignore[misc]
    by_channel = True

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0]


@dataclass(frozen=True, eq=False)
class Convolution(Step):
    """A convolution; downward, its transpose without the bias."""

    weight: Tensor
    bias: Tensor | None
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    kind = "convolution"
    spreads = True

    @property
    def by_channel(self) -> bool:  # type: ignore[override]
        """Whether it is depthwise, with one output channel per input channel."""
        return self.weight.shape[1] == 1 and self.groups == self.weight.shape[0]

    def forward(self, *inputs: Tensor) -> Tensor:
        return functional.conv2d(
            inputs[0], self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )

    def reach(self, axis: int) -> tuple[int, int, int]:
        taps = self.weight.shape[2 + axis]
        return self.stride[axis], self.padding[axis], (taps - 1) * self.dilation[axis] + 1

    def window(self, *inputs: Tensor) -> Tensor:
        return functional.conv2d(inputs[0], self.weight, self.bias, self.stride, 0, self.dilation, self.groups)

    def down(self, signal: Tensor, descent: Descent) -> tuple[Tensor, ...]:
        return (transposed(signal, self.weight, self.stride, self.dilation, self.groups),)


@dataclass(frozen=True, eq=False)
class Scale(Step):
    """A constant factor and offset per channel: y = factor x + offset; or x / factor, if it divides."""

    factor: Tensor
    offset: Tensor
    kind: str = "scale"  # type: ignore[misc]
    divides: bool = False
    by_channel = True

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.divides:
            return inputs[0] / per_channel(self.factor)
        return torch.addcmul(per_channel(self.offset), inputs[0], per_channel(self.factor))

    def down(self, signal: Tensor, descent: Descent) -> tuple[Tensor, ...]:
        factor = per_channel(self.factor)
        return (signal / factor if self.divides else signal * factor,)


@dataclass(frozen=True, eq=False)
class Offset(Step):
    """The sum of a map and a constant map, such as an embedding of positions."""

    values: Tensor  # (channels or 1, height or 1, width or 1)
    kind = "offset"
    local = False
    by_channel = True

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0] + self.values


@dataclass(frozen=True, eq=False)
class BatchNorm(Step):
    """Batch normalisation in evaluation mode, computed as the model computes it."""

    mean: Tensor
    variance: Tensor
    weight: Tensor | None
    bias: Tensor | None
    epsilon: float
    kind = "batch norm"
    by_channel = True

    def forward(self, *inputs: Tensor) -> Tensor:
        return functional.batch_norm(
            inputs[0], self.mean, self.variance, self.weight, self.bias, False, 0.0, self.epsilon
        )

    def down(self, signal: Tensor, descent: Descent) -> tuple[Tensor, ...]:
        factor = torch.rsqrt(self.variance + self.epsilon)
        return (signal * per_channel(factor if self.weight is None else factor * self.weight),)


class Whole(Step):
    """An operation in which every output sees the whole map."""

    whole = True
    local = False

    def down_whole(self, signal: Tensor, below: Shape) -> Tensor:
        """Carry a signal from the whole output map to the whole input map, of shape `below` (channels, height, width)."""
        raise NotImplementedError

    def down(self, signal: Tensor, descent: Descent) -> tuple[Tensor, ...]:
        return (self.down_whole(descent.whole(signal), descent.below[0]),)


@dataclass(frozen=True, eq=False)
class Flatten(Whole):
    """A reshape of (n, channels, height, width) to (n, channels * height * width, 1, 1), along axes in some order."""

    order: tuple[int, int, int] = (0, 1, 2)
    kind = "flatten"

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0].permute(0, *(axis + 1 for axis in self.order)).flatten(1)[:, :, None, None]

    def down_whole(self, signal: Tensor, below: Shape) -> Tensor:
        moved = signal.reshape(-1, *(below[axis] for axis in self.order))
        return moved.permute(0, *(self.order.index(axis) + 1 for axis in range(3)))


@dataclass(frozen=True, eq=False)
class Linear(Step):
    """A fully connected layer over the channels, at each location by itself."""

    weight: Tensor
    bias: Tensor | None
    kind = "linear"

    def forward(self, *inputs: Tensor) -> Tensor:
        return _by_location(inputs[0], self.weight, self.bias)

    def down(self, signal: Tensor, descent: Descent) -> tuple[Tensor, ...]:
        return (_by_location(signal, self.weight.T, None),)


def _by_location(map_: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if map_.shape[2:] == (1, 1):
        return functional.linear(map_.flatten(1), weight, bias)[:, :, None, None]
    return functional.linear(map_.movedim(1, -1), weight, bias).movedim(-1, 1)


def per_channel(values: Tensor) -> Tensor:
    """Numbers of channels, in the shape that multiplies a map: (1, channels, 1, 1)."""
    return values.view(1, -1, 1, 1)
