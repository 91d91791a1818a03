"""The operations of a network, each upward and downward. Takes feature maps (n, channels, height, width), gives feature maps.

Upward is the forward pass. Downward is the transpose that the deconvnet applies (Zeiler & Fergus 2014, section 2.1),
on a window of the map: it takes the signal on output positions [o, o + w) and gives the signal on the input positions
that these touch, [o * stride - padding, ...), which may leave the map; whoever receives it drops what lies outside.
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
    """One operation. `whole` ones look at the whole map at once; `exact` ones have a downward step in the paper."""

    kind: ClassVar[str]
    whole: ClassVar[bool] = False
    exact: ClassVar[bool] = True

    def forward(self, *inputs: Tensor) -> Tensor:
        """The output map of the input maps."""
        raise NotImplementedError

    def reach(self, axis: int) -> tuple[int, int, int]:
        """Along axis 0 (rows) or 1 (columns): stride, padding before, and input positions that one output sees."""
        del axis
        return 1, 0, 1

    def below(self, span: Span, axis: int) -> Span:
        """The input positions behind a span of output positions."""
        return span.through(*self.reach(axis))

    def down(self, signal: Tensor) -> tuple[Tensor, ...]:
        """Carry a signal from output positions to input positions, one tensor per input."""
        return (signal,)


@dataclass(frozen=True, eq=False)
class Input(Step):
    """The network's input."""

    kind = "input"


@dataclass(frozen=True, eq=False)
class Same(Step):
    """Dropout in evaluation, identity, a change of memory layout: passes what it gets."""

    kind: str  # type: ignore[misc]

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0]


@dataclass(frozen=True, eq=False)
class Convolution(Step):
    """A convolution; downward its transpose, without the bias."""

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

    def down(self, signal: Tensor) -> tuple[Tensor, ...]:
        return (functional.conv_transpose2d(signal, self.weight, None, self.stride, 0, 0, self.groups, self.dilation),)


@dataclass(frozen=True, eq=False)
class Scale(Step):
    """Batch normalisation in evaluation, or a constant factor and offset: y = factor x + offset, per channel."""

    factor: Tensor
    offset: Tensor
    kind: str = "batch norm"  # type: ignore[misc]

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.addcmul(_per_channel(self.offset), inputs[0], _per_channel(self.factor))

    def down(self, signal: Tensor) -> tuple[Tensor, ...]:
        return (signal * _per_channel(self.factor),)


@dataclass(frozen=True, eq=False)
class BatchNorm(Step):
    """Batch normalisation in evaluation, computed upward just as the model computes it."""

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
    """A rectifying activation; downward the signal itself is rectified, whatever the forward sign was."""

    function: Callable[[Tensor], Tensor]
    exact: bool  # type: ignore[misc] # the paper has the rectified linear unit; for smooth ones this is our extension
    kind = "rectifier"

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(inputs[0])


@dataclass(frozen=True, eq=False)
class LocalResponseNorm(Step):
    """Contrast normalisation across maps; the deconvnet passes the signal unchanged, as in the paper."""

    size: int
    alpha: float
    beta: float
    k: float
    kind = "response norm"

    def forward(self, *inputs: Tensor) -> Tensor:
        return functional.local_response_norm(inputs[0], self.size, self.alpha, self.beta, self.k)


@dataclass(frozen=True, eq=False)
class Pool(Step):
    """The geometry of a pooling."""

    size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    ceil: bool

    def reach(self, axis: int) -> tuple[int, int, int]:
        return self.stride[axis], self.padding[axis], (self.size[axis] - 1) * self.dilation[axis] + 1

    def taps(self) -> list[Pair]:
        """Offsets of the window's inputs, row-major."""
        return [
            (dy * self.dilation[0], dx * self.dilation[1]) for dy in range(self.size[0]) for dx in range(self.size[1])
        ]

    def spread(self, signal: Tensor, shares: "list[Tensor] | None") -> Tensor:
        """Add every output's signal onto its inputs, each tap weighted by its share (None: all of it)."""
        height, width = (self.below(Span(0, 0, signal.shape[2 + axis]), axis).size for axis in (0, 1))
        shape = (*signal.shape[:2], height, width)
        below = torch.empty(shape, dtype=signal.dtype, device=signal.device, memory_format=torch.channels_last).zero_()
        for number, (dy, dx) in enumerate(self.taps()):
            target = _strided(below, dy, dx, self.stride, signal.shape[2:])
            target += signal if shares is None else signal * shares[number]
        return below


@dataclass(frozen=True, eq=False)
class MaxPool(Pool):
    """Max pooling; downward the signal goes through the switches of the forward pass."""

    kind = "max pooling"

    def forward(self, *inputs: Tensor) -> Tensor:
        return functional.max_pool2d(inputs[0], self.size, self.stride, self.padding, self.dilation, self.ceil)

    def switches(self, map_: Tensor, extent: Extent) -> Tensor:
        """The tap that holds the maximum of every window; of equal values the first in row-major order.

        Args:
            map_: input (n, channels, height, width).
            extent: height and width of the output.

        Returns:
            uint8 (n, channels, *extent), numbers of `taps()`.
        """
        padded = self._padded(map_, extent)
        best = torch.full_like(padded[:, :, : extent[0], : extent[1]], -torch.inf)
        switches = torch.zeros_like(best, dtype=torch.uint8)
        for number, (dy, dx) in enumerate(self.taps()):
            candidate = _strided(padded, dy, dx, self.stride, extent)
            better = candidate > best
            best = torch.where(better, candidate, best)
            switches.masked_fill_(better, number)
        return switches

    def unpool(self, signal: Tensor, switches: Tensor) -> Tensor:
        """Put every signal back where its maximum came from; signals that share a place add."""
        return self.spread(signal, [switches == number for number in range(len(self.taps()))])

    def _padded(self, map_: Tensor, extent: Extent) -> Tensor:
        edges = []
        for axis in (1, 0):
            needed = self.below(Span(0, 0, extent[axis]), axis).size
            before = self.padding[axis]
            edges += [before, max(needed - before - map_.shape[2 + axis], 0)]
        return functional.pad(map_, edges, value=-torch.inf)


@dataclass(frozen=True, eq=False)
class AveragePool(Pool):
    """Average pooling; downward its transpose."""

    count_padding: bool
    divisor: int | None
    kind = "average pooling"

    def forward(self, *inputs: Tensor) -> Tensor:
        return functional.avg_pool2d(
            inputs[0], self.size, self.stride, self.padding, self.ceil, self.count_padding, self.divisor
        )

    def divisors(self, below: Extent, extent: Extent) -> Tensor:
        """What each output is divided by, (height, width) of the output: fewer inputs at borders that do not count."""
        if self.divisor:
            return torch.full(extent, float(self.divisor))
        counts = []
        for axis in (0, 1):
            start = torch.arange(extent[axis]) * self.stride[axis] - self.padding[axis]
            stop = (start + self.size[axis]).clamp(max=below[axis] + self.padding[axis])
            if not self.count_padding:
                start, stop = start.clamp(min=0), stop.clamp(max=below[axis])
            counts.append((stop - start).to(torch.float64))
        return counts[0][:, None] * counts[1][None, :]


class Whole(Step):
    """An operation whose every output sees the whole map."""

    whole = True

    def down_whole(self, signal: Tensor, below: tuple[int, int, int]) -> Tensor:
        """Carry a signal on the whole output map to the whole input map of shape `below` (channels, height, width)."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class AdaptiveAveragePool(Whole):
    """Averages over a fixed number of windows; also the mean over the whole map."""

    extent: Extent
    kind = "global pooling"

    def forward(self, *inputs: Tensor) -> Tensor:
        return functional.adaptive_avg_pool2d(inputs[0], self.extent)

    def down_whole(self, signal: Tensor, below: tuple[int, int, int]) -> Tensor:
        rows, columns = (self._shares(axis, below[1 + axis]).to(signal) for axis in (0, 1))
        return torch.einsum("nchw,hi,wj->ncij", signal, rows, columns)

    def _shares(self, axis: int, below: int) -> Tensor:
        """(outputs, inputs) along one axis: what share of each input goes into each output."""
        return functional.adaptive_avg_pool1d(torch.eye(below, dtype=torch.float64), self.extent[axis]).T


@dataclass(frozen=True, eq=False)
class Flatten(Whole):
    """(n, channels, height, width) as (n, channels * height * width, 1, 1)."""

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
    """The sum of maps; downward each gets the signal."""

    count: int
    kind = "add"

    def forward(self, *inputs: Tensor) -> Tensor:
        return sum(inputs[1:], start=inputs[0])

    def down(self, signal: Tensor) -> tuple[Tensor, ...]:
        return (signal,) * self.count


@dataclass(frozen=True, eq=False)
class Concatenate(Step):
    """Maps side by side along the channels; downward each gets its own."""

    channels: tuple[int, ...]
    kind = "concatenate"

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.cat(inputs, dim=1)

    def down(self, signal: Tensor) -> tuple[Tensor, ...]:
        return torch.split(signal, list(self.channels), dim=1)


@dataclass(frozen=True, eq=False)
class Channel(Step):
    """One channel of a map, still as a map."""

    index: int
    of: int
    kind = "channel"

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0][:, self.index : self.index + 1]

    def down(self, signal: Tensor) -> tuple[Tensor, ...]:
        return (functional.pad(signal, (0, 0, 0, 0, self.index, self.of - self.index - 1)),)


def _per_channel(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1)


def _strided(map_: Tensor, top: int, left: int, stride: Pair, extent: "torch.Size | Extent") -> Tensor:
    """Every stride-th position from (top, left), `extent` of them."""
    bottom, right = top + (extent[0] - 1) * stride[0] + 1, left + (extent[1] - 1) * stride[1] + 1
    return map_[:, :, top : bottom : stride[0], left : right : stride[1]]
