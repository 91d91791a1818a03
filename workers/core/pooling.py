"""Pooling, upward and downward. Takes feature maps (n, channels, height, width), gives feature maps; see `steps`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from workers.core.receptive_field import Span
from workers.core.steps import Descent, Extent, Pair, Shape, Step, Whole
from workers.spec.parts import Method


@dataclass(frozen=True, eq=False)
class Pool(Step):
    """The geometry of a pooling layer."""

    size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    ceil: bool
    spreads = True
    by_channel = True

    def reach(self, axis: int) -> tuple[int, int, int]:
        return self.stride[axis], self.padding[axis], (self.size[axis] - 1) * self.dilation[axis] + 1

    def taps(self) -> list[Pair]:
        """The offsets of the window's inputs, row-major."""
        return [
            (dy * self.dilation[0], dx * self.dilation[1]) for dy in range(self.size[0]) for dx in range(self.size[1])
        ]

    def spread(self, signal: Tensor, shares: "list[Tensor] | None") -> Tensor:
        """Add every output's signal to its inputs, weighted by each tap's share (None: with weight 1)."""
        height, width = (self.below(Span(0, 0, signal.shape[2 + axis]), axis).size for axis in (0, 1))
        shape = (*signal.shape[:2], height, width)
        below = torch.empty(shape, dtype=signal.dtype, device=signal.device, memory_format=torch.channels_last).zero_()
        for number, (dy, dx) in enumerate(self.taps()):
            target = _strided_view(below, dy, dx, self.stride, signal.shape[2:])
            target += signal if shares is None else signal * shares[number]
        return below


UINT8_VALUES = 256


@dataclass(frozen=True, eq=False)
class MaxPool(Pool):
    """Max pooling; downward, the signal goes through the switches of the forward pass."""

    kind = "max pooling"
    outside = -torch.inf

    def forward(self, *inputs: Tensor) -> Tensor:
        if inputs[0].is_cuda and inputs[0].requires_grad:
            maxima: Tensor = SwitchedMaxPool.apply(inputs[0], self)
            return maxima
        return self.pool(inputs[0])

    def pool(self, map_: Tensor) -> Tensor:
        """The maxima, computed by torch's own kernel."""
        return functional.max_pool2d(map_, self.size, self.stride, self.padding, self.dilation, self.ceil)

    def window(self, *inputs: Tensor) -> Tensor:
        return functional.max_pool2d(inputs[0], self.size, self.stride, 0, self.dilation)

    def switches(self, map_: Tensor, extent: Extent) -> Tensor:
        """The tap with the maximum of every window; among equal values, the first in row-major order.

        Args:
            map_: the input, (n, channels, height, width).
            extent: height and width of the output.

        Returns:
            uint8 or int16 (n, channels, *extent), indices of `taps()`.
        """
        padded = self._pad(map_, extent)
        best = torch.full_like(padded[:, :, : extent[0], : extent[1]], -torch.inf)
        switches = torch.zeros_like(best, dtype=torch.uint8 if len(self.taps()) <= UINT8_VALUES else torch.int16)
        for number, (dy, dx) in enumerate(self.taps()):
            candidate = _strided_view(padded, dy, dx, self.stride, extent)
            better = candidate > best
            best = torch.where(better, candidate, best)
            switches.masked_fill_(better, number)
        return switches

    def unpool(self, signal: Tensor, switches: Tensor) -> Tensor:
        """Put every signal back at the location of its maximum; signals at the same location are added."""
        if signal.is_cuda:  # there, `scatter_add_` adds in any order
            return self.unpool_by_tap(signal, switches)
        count, channels, height, width = signal.shape
        rows, columns = (self.below(Span(0, 0, size), axis).size for axis, size in enumerate((height, width)))
        taps = torch.tensor([(dy * columns + dx) * channels for dy, dx in self.taps()])
        corners = torch.arange(height)[:, None] * self.stride[0] * columns + torch.arange(width) * self.stride[1]
        places = taps[switches.permute(0, 2, 3, 1).int()]
        places += corners[:, :, None] * channels + torch.arange(channels)
        below = signal.new_zeros(count, rows * columns * channels)
        below.scatter_add_(1, places.flatten(1), signal.permute(0, 2, 3, 1).flatten(1))
        return below.view(count, rows, columns, channels).permute(0, 3, 1, 2)

    def unpool_by_tap(self, signal: Tensor, switches: Tensor) -> Tensor:
        """As `unpool`, tap after tap: slower on a CPU, but in the same order on every device."""
        return self.spread(signal, [switches == number for number in range(len(self.taps()))])

    def keep(self, inputs: Sequence[Tensor], output: Tensor, method: Method) -> Tensor | None:
        return self.switches(inputs[0], (output.shape[2], output.shape[3]))

    def kept_bytes(self, shape: Shape, method: Method) -> int:
        return (1 if len(self.taps()) <= UINT8_VALUES else 2) * shape[0] * shape[1] * shape[2]

    def down(self, signal: Tensor, descent: Descent) -> tuple[Tensor, ...]:
        return (self.unpool(signal, descent.window(descent.kept)),)

    def _pad(self, map_: Tensor, extent: Extent) -> Tensor:
        edges = []
        for axis in (1, 0):
            needed = self.below(Span(0, 0, extent[axis]), axis).size
            before = self.padding[axis]
            edges += [before, max(needed - before - map_.shape[2 + axis], 0)]
        return functional.pad(map_, edges, value=-torch.inf)


class SwitchedMaxPool(torch.autograd.Function):
    """Max pooling whose gradient goes through our switches. Torch's own gradient adds atomically on a GPU, in any order."""

    @staticmethod
    def forward(ctx: Any, map_: Tensor, step: MaxPool) -> Tensor:  # noqa: ANN401 - torch's context
        """The maxima; saves the switches."""
        maxima = step.pool(map_)
        ctx.step, ctx.extent = step, map_.shape[2:]
        ctx.save_for_backward(step.switches(map_, (maxima.shape[2], maxima.shape[3])))
        return maxima

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 - torch's context
        """The gradient of the map, cut or padded to its size: windows may extend beyond the map, or not reach its end."""
        (switches,) = ctx.saved_tensors
        spread = ctx.step.unpool(slopes[0], switches)
        (height, width), (top, left) = ctx.extent, ctx.step.padding
        inside = spread[:, :, top : top + height, left : left + width]
        return functional.pad(inside, (0, width - inside.shape[3], 0, height - inside.shape[2])), None


@dataclass(frozen=True, eq=False)
class AveragePool(Pool):
    """Average pooling; downward, its transpose."""

    count_padding: bool
    divisor: int | None
    kind = "average pooling"
    local = False  # at a border it divides by fewer inputs

    def forward(self, *inputs: Tensor) -> Tensor:
        return functional.avg_pool2d(
            inputs[0], self.size, self.stride, self.padding, self.ceil, self.count_padding, self.divisor
        )

    def down(self, signal: Tensor, descent: Descent) -> tuple[Tensor, ...]:
        divisors = self.divisors(descent.below[0][1:], descent.above[1:]).to(signal)
        return (self.spread(signal / descent.window(divisors[None, None]), None),)

    def divisors(self, below: Extent, extent: Extent) -> Tensor:
        """The divisor of each output, (height, width) of the output; smaller at borders if padding does not count."""
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


@dataclass(frozen=True, eq=False)
class AdaptiveAveragePool(Whole):
    """Averages over a fixed number of windows, such as the mean over the whole map."""

    extent: Extent
    is_mean: bool = False  # whether the model computes it as a mean, which differs in the last bits
    kind = "global pooling"

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.is_mean:
            return inputs[0].mean((2, 3), keepdim=True)
        return functional.adaptive_avg_pool2d(inputs[0], self.extent)

    def down_whole(self, signal: Tensor, below: tuple[int, int, int]) -> Tensor:
        rows, columns = (self._shares(axis, below[1 + axis]).to(signal) for axis in (0, 1))
        return torch.einsum("nchw,hi,wj->ncij", signal, rows, columns)

    def _shares(self, axis: int, below: int) -> Tensor:
        """The share of each input in each output along one axis, (outputs, inputs)."""
        return functional.adaptive_avg_pool1d(torch.eye(below, dtype=torch.float64), self.extent[axis]).T


def _strided_view(map_: Tensor, top: int, left: int, stride: Pair, extent: "torch.Size | Extent") -> Tensor:
    """A view of `extent` positions from (top, left) on, `stride` apart."""
    bottom, right = top + (extent[0] - 1) * stride[0] + 1, left + (extent[1] - 1) * stride[1] + 1
    return map_[:, :, top : bottom : stride[0], left : right : stride[1]]
