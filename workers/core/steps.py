"""The operations of a network, upward and downward. Takes feature maps (n, channels, height, width), gives feature maps.

Upward is the forward pass. Downward is the transpose that the deconvnet applies (Zeiler & Fergus 2014, section 2.1), on a
window of the map. It takes the signal on output positions [o, o + w) and gives the signal on the input positions that
these read, [o * stride - padding, ...). The result may extend beyond the map; the caller drops the part outside.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from workers.core.receptive_field import Span

Pair = tuple[int, int]
Extent = tuple[int, int]


class Step:
    """One operation.

    Attributes:
        kind: its name for users.
        whole: whether every output sees the whole map.
        exact: whether the paper defines its downward step.
        outside: value at positions outside the map.
    """

    kind: ClassVar[str]
    whole: ClassVar[bool] = False
    exact: ClassVar[bool] = True
    outside: ClassVar[float] = 0.0

    def forward(self, *inputs: Tensor) -> Tensor:
        """The output map of the input maps."""
        raise NotImplementedError

    def reach(self, axis: int) -> tuple[int, int, int]:
        """Stride, padding before the map, and number of positions that one output sees, along axis 0 (rows) or 1 (columns)."""
        del axis
        return 1, 0, 1

    def below(self, span: Span, axis: int) -> Span:
        """The span of input positions that a span of output positions sees."""
        return span.through(*self.reach(axis))

    def window(self, *inputs: Tensor) -> Tensor:
        """Forward without padding, on windows with all inputs of their outputs and `outside` at positions outside the map."""
        return self.forward(*inputs)

    def down(self, signal: Tensor) -> tuple[Tensor, ...]:
        """Carry a signal from output positions to input positions, one tensor per input."""
        return (signal,)


@dataclass(frozen=True, eq=False)
class Input(Step):
    """The network's input."""

    kind = "input"


@dataclass(frozen=True, eq=False)
class Same(Step):
    """The identity: dropout in evaluation mode, a change of memory layout, and the like."""

    kind: str  # type: ignore[misc]

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

    def forward(self, *inputs: Tensor) -> Tensor:
        return functional.conv2d(
            inputs[0], self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )

    def reach(self, axis: int) -> tuple[int, int, int]:
        taps = self.weight.shape[2 + axis]
        return self.stride[axis], self.padding[axis], (taps - 1) * self.dilation[axis] + 1

    def window(self, *inputs: Tensor) -> Tensor:
        return functional.conv2d(inputs[0], self.weight, self.bias, self.stride, 0, self.dilation, self.groups)

    def down(self, signal: Tensor) -> tuple[Tensor, ...]:
        return (functional.conv_transpose2d(signal, self.weight, None, self.stride, 0, 0, self.groups, self.dilation),)


@dataclass(frozen=True, eq=False)
class Scale(Step):
    """A constant factor and offset per channel: y = factor x + offset."""

    factor: Tensor
    offset: Tensor
    kind: str = "batch norm"  # type: ignore[misc]

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.addcmul(_per_channel(self.offset), inputs[0], _per_channel(self.factor))

    def down(self, signal: Tensor) -> tuple[Tensor, ...]:
        return (signal * _per_channel(self.factor),)


@dataclass(frozen=True, eq=False)
class BatchNorm(Step):
    """Batch normalisation in evaluation mode, computed as the model computes it."""

    mean: Tensor
    variance: Tensor
    weight: Tensor | None
    bias: Tensor | None
    epsilon: float
    kind = "batch norm"

    def forward(self, *inputs: Tensor) -> Tensor:
        return functional.batch_norm(
            inputs[0], self.mean, self.variance, self.weight, self.bias, False, 0.0, self.epsilon
        )

    def down(self, signal: Tensor) -> tuple[Tensor, ...]:
        factor = torch.rsqrt(self.variance + self.epsilon)
        return (signal * _per_channel(factor if self.weight is None else factor * self.weight),)


@dataclass(frozen=True, eq=False)
class Rectifier(Step):
    """A rectifier; downward, the signal itself is rectified, whatever the sign was in the forward pass."""

    name: str  # with its parameters, as part of the fingerprint
    function: Callable[[Tensor], Tensor]
    exact: bool  # type: ignore[misc] # the paper only has the rectified linear unit; smooth ones are our extension
    kind = "rectifier"

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(inputs[0])


@dataclass(frozen=True, eq=False)
class LocalResponseNorm(Step):
    """Contrast normalisation across maps; downward, the signal is unchanged, as in the paper."""

    size: int
    alpha: float
    beta: float
    k: float
    kind = "response norm"

    def forward(self, *inputs: Tensor) -> Tensor:
        return functional.local_response_norm(inputs[0], self.size, self.alpha, self.beta, self.k)


class Whole(Step):
    """An operation in which every output sees the whole map."""

    whole = True

    def down_whole(self, signal: Tensor, below: tuple[int, int, int]) -> Tensor:
        """Carry a signal from the whole output map to the whole input map, of shape `below` (channels, height, width)."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Flatten(Whole):
    """A reshape of (n, channels, height, width) to (n, channels * height * width, 1, 1)."""

    kind = "flatten"

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0].flatten(1)[:, :, None, None]

    def down_whole(self, signal: Tensor, below: tuple[int, int, int]) -> Tensor:
        return signal.reshape(-1, *below)


@dataclass(frozen=True, eq=False)
class Linear(Step):
    """A fully connected layer, on maps of one unit."""

    weight: Tensor
    bias: Tensor | None
    kind = "linear"

    def forward(self, *inputs: Tensor) -> Tensor:
        return functional.linear(inputs[0].flatten(1), self.weight, self.bias)[:, :, None, None]

    def down(self, signal: Tensor) -> tuple[Tensor, ...]:
        return ((signal.flatten(1) @ self.weight)[:, :, None, None],)


@dataclass(frozen=True, eq=False)
class Add(Step):
    """The sum of maps; downward, each input gets the signal."""

    count: int
    kind = "add"

    def forward(self, *inputs: Tensor) -> Tensor:
        return sum(inputs[1:], start=inputs[0])

    def down(self, signal: Tensor) -> tuple[Tensor, ...]:
        return (signal,) * self.count


@dataclass(frozen=True, eq=False)
class Concatenate(Step):
    """The concatenation of maps along the channels; downward, each input gets its own channels."""

    channels: tuple[int, ...]
    kind = "concatenate"

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.cat(inputs, dim=1)

    def down(self, signal: Tensor) -> tuple[Tensor, ...]:
        return torch.split(signal, list(self.channels), dim=1)


@dataclass(frozen=True, eq=False)
class Channel(Step):
    """One channel of a map, as a map of one channel."""

    index: int
    of: int
    kind = "channel"

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0][:, self.index : self.index + 1]

    def down(self, signal: Tensor) -> tuple[Tensor, ...]:
        return (functional.pad(signal, (0, 0, 0, 0, self.index, self.of - self.index - 1)),)


def _per_channel(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1)
