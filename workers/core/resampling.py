"""Operations whose output is larger than their input, and their inverses. Takes feature maps, gives feature maps; see `steps`."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from workers.core.receptive_field import Span
from workers.core.slicing import carry
from workers.core.steps import Descent, Pair, Step


@dataclass(frozen=True, eq=False)
class TransposedConvolution(Step):
    """A transposed convolution, which adds up a kernel's copies; downward, the convolution without the bias."""

    weight: Tensor  # (inputs, outputs / groups, rows, columns)
    bias: Tensor | None
    stride: Pair
    padding: Pair
    extra: Pair  # rows and columns that torch adds at the end
    dilation: Pair
    groups: int
    kind = "transposed convolution"
    fills = True
    spreads = True
    local = False

    def forward(self, *inputs: Tensor) -> Tensor:
        return functional.conv_transpose2d(
            inputs[0], self.weight, self.bias, self.stride, self.padding, self.extra, self.groups, self.dilation
        )

    def below(self, span: Span, axis: int) -> Span:
        stride, padding = self.stride[axis], self.padding[axis]
        reach = self._reach(axis)
        return span.through_upsampling(
            stride, lambda at: -((reach - 1 - at - padding) // stride), lambda at: (at + padding) // stride
        )

    def _reach(self, axis: int) -> int:
        return (self.weight.shape[2 + axis] - 1) * self.dilation[axis] + 1

    def down(self, signal: Tensor, descent: Descent) -> tuple[Tensor, ...]:
        aligned = descent.aligned(signal, self.stride, self.padding, (self._reach(0), self._reach(1)))
        return (functional.conv2d(aligned, self.weight, None, self.stride, 0, self.dilation, self.groups),)


@dataclass(frozen=True, eq=False)
class PixelShuffle(Step):
    """Groups of factor x factor channels as squares of pixels (Shi et al. 2016)."""

    factor: int
    kind = "pixel shuffle"
    fills = True
    spreads = True
    local = False

    def forward(self, *inputs: Tensor) -> Tensor:
        return functional.pixel_shuffle(inputs[0], self.factor)

    def below(self, span: Span, axis: int) -> Span:
        return span.through_upsampling(self.factor, lambda at: at // self.factor, lambda at: at // self.factor)

    def down(self, signal: Tensor, descent: Descent) -> tuple[Tensor, ...]:
        pair = (self.factor, self.factor)
        return (functional.pixel_unshuffle(descent.aligned(signal, pair, (0, 0), pair), self.factor),)


@dataclass(frozen=True, eq=False)
class PixelUnshuffle(Step):
    """Squares of factor x factor pixels as groups of channels."""

    factor: int
    kind = "pixel unshuffle"
    spreads = True

    def forward(self, *inputs: Tensor) -> Tensor:
        return functional.pixel_unshuffle(inputs[0], self.factor)

    def reach(self, axis: int) -> tuple[int, int, int]:
        return self.factor, 0, self.factor

    def down(self, signal: Tensor, descent: Descent) -> tuple[Tensor, ...]:
        return (functional.pixel_shuffle(signal, self.factor),)


@dataclass(frozen=True, eq=False)
class Resize(Step):
    """Interpolation to another size, as torch's operation computes it. By whole factors it is local, otherwise not.

    Attributes:
        mode: torch's operation, `upsample_nearest2d` or `upsample_bilinear2d` or the like.
        extent: height and width of the output.
        below_extent: height and width of the input.
        align_corners: whether the centres of the corners stay; None if the mode has no such choice.
        scales: factors that torch is given; None if it computes them from the sizes.
    """

    mode: str
    extent: Pair
    below_extent: Pair
    align_corners: bool | None
    scales: tuple[float, ...] | None
    kind = "resize"
    fills = True
    local = False
    by_channel = True

    @property
    def whole(self) -> bool:  # type: ignore[override]
        """Whether the factors are not whole, so that the pattern of what an output reads never repeats."""
        sizes = list(zip(self.extent, self.below_extent, strict=True))
        scales = self.scales or tuple(out / below for out, below in sizes)
        by_scale = any(scale * below != out for scale, (out, below) in zip(scales, sizes, strict=True))
        return bool(self.align_corners) or by_scale or any(out % below for out, below in sizes)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self._resize(inputs[0], self.extent)

    def _resize(self, map_: Tensor, extent: Pair) -> Tensor:
        size = None if self.scales else list(extent)
        choice = [] if self.align_corners is None else [self.align_corners]
        operation: Any = getattr(torch.ops.aten, self.mode).vec
        resized: Tensor = operation(map_, size, *choice, list(self.scales) if self.scales else None)
        return resized

    def below(self, span: Span, axis: int) -> Span:
        factor, taps = self.extent[axis] // self.below_extent[axis], self._taps()
        if "nearest" in self.mode or factor == 1:
            return span.through_upsampling(factor, lambda at: at // factor, lambda at: at // factor)
        # Output o lies at (o + 1/2) / factor - 1/2 of the input, between two inputs.
        return span.through_upsampling(
            factor,
            lambda at: (2 * at + 1 - factor) // (2 * factor) - taps + 1,
            lambda at: (2 * at + 1 - factor) // (2 * factor) + taps,
        )

    def _taps(self) -> int:
        """The inputs on either side of an output."""
        return 2 if "bicubic" in self.mode else 1

    def down(self, signal: Tensor, descent: Descent) -> tuple[Tensor, ...]:
        shares = [self.shares(axis) for axis in (0, 1)]
        if not self.whole:
            return (carry(signal, descent, shares),)
        rows, columns = (part.to(signal) for part in shares)
        return (torch.einsum("nchw,hi,wj->ncij", descent.whole(signal), rows, columns),)

    def shares(self, axis: int) -> Tensor:
        """The share of each input in each output along one axis, (outputs, inputs)."""
        line = torch.eye(self.below_extent[axis], dtype=torch.float64)
        if axis == 0:
            return self._resize(line[:, None, :, None].expand(-1, -1, -1, self.below_extent[1]), self.extent)[
                :, 0, :, 0
            ].T
        return self._resize(line[:, None, None, :].expand(-1, -1, self.below_extent[0], -1), self.extent)[:, 0, 0].T
