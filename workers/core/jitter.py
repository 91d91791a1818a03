"""Small random transforms of images. Takes images and a generator, gives them rotated, scaled and shifted.

A rotation is three shears, a shear shifts rows by whole pixels and mixes two shifts; scale and shift are products with two
matrices. No step scatters, so gradients are summed in a fixed order on every device; torch's `grid_sample` on CUDA does not
guarantee that. The first shear cuts some pixels near the corners, which the third one does not bring back.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

LARGEST_ROTATION_DEG = 10.0
LARGEST_SCALING = 0.1
LARGEST_SHIFT = 1 / 20  # of a side


@dataclass(frozen=True)
class Transform:
    """A rotation about the centre, then a scaling, then a shift; outside the image, it is 0.

    Attributes:
        angle: counterclockwise, radians.
        scale: above 1, the image is enlarged.
        shift: down and right, pixels.
    """

    angle: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def draw(cls, generator: torch.Generator, extent: tuple[int, int]) -> Self:
        """A random transform of images of this height and width."""
        angle, scale, *shift = (2 * torch.rand(4, generator=generator, dtype=torch.float64) - 1).tolist()
        down, right = (part * side * LARGEST_SHIFT for part, side in zip(shift, extent, strict=True))
        return cls(math.radians(angle * LARGEST_ROTATION_DEG), 1 + scale * LARGEST_SCALING, (down, right))

    def of(self, images: Tensor) -> Tensor:
        """The transformed images (n, channels, height, width)."""
        height, width = images.shape[2:]
        flat, tall = math.tan(self.angle / 2), -math.sin(self.angle)
        turned = _sheared(_sheared(_sheared(images, flat).mT, tall).mT, flat)
        rows, columns = (
            _resampling(side, self.scale, shift).to(images)
            for side, shift in zip((height, width), self.shift, strict=True)
        )
        return rows @ turned @ columns.mT


def _sheared(images: Tensor, slope: float) -> Tensor:
    """Images whose rows are shifted to the right by `slope` pixels per row below the middle."""
    height = images.shape[2]
    shifts = slope * (torch.arange(height, dtype=torch.float64) - (height - 1) / 2)
    whole = shifts.floor()
    part = (shifts - whole).to(images).view(-1, 1)
    near, far = (_Shift.apply(images, (whole + more).long().to(images.device)) for more in (0, 1))
    mixed: Tensor = (1 - part) * near + part * far
    return mixed


def _resampling(side: int, scale: float, shift: float) -> Tensor:
    """The matrix that scales about the middle and shifts, by linear interpolation: (side after, side before), float64."""
    middle = (side - 1) / 2
    after, before = torch.arange(side, dtype=torch.float64), torch.arange(side, dtype=torch.float64)
    sources = (after - middle - shift) / scale + middle
    return (1 - (sources[:, None] - before[None]).abs()).clamp(min=0)


class _Shift(torch.autograd.Function):
    """Rows (n, channels, height, width) shifted to the right by (height,) whole pixels; its gradient shifts back."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, shifts: Tensor) -> Tensor:  # noqa: ANN401 - torch's context
        ctx.save_for_backward(shifts)
        return _shifted(rows, shifts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        (shifts,) = ctx.saved_tensors
        return _shifted(gradient, -shifts), None


def _shifted(rows: Tensor, shifts: Tensor) -> Tensor:
    width = rows.shape[3]
    sources = torch.arange(width, device=rows.device) - shifts[:, None]
    inside = (sources >= 0) & (sources < width)
    return rows.gather(3, sources.clamp(0, width - 1).expand_as(rows)) * inside
