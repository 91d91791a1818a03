"""Images moved, enlarged and turned about their centre. Takes pixels and an amount, gives pixels of the same size.

Zeiler & Fergus 2014, Figure 5. Translation by whole pixels copies them. Scale and rotation are bilinear, in float64, and
where an image shrinks each pixel is a triangle-weighted mean of all that falls on it, as Pillow's and torch's antialiased
bilinear resizing has it. Pixels that are whole numbers come out exactly wherever a pixel falls on a pixel: at scale 1 and at
multiples of 90 degrees.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from workers.spec.invariance import Border, Transform

GREY = 127.5


def transformed(pixels: Tensor, transform: Transform, amount: float, border: Border) -> Tensor:
    """An image by so much.

    Args:
        pixels: (channels, side, side) in 0 to 255.
        transform: what is done.
        amount: pixels down or to the right, a factor, or degrees counter-clockwise.
        border: what is seen beyond the border.

    Returns:
        float32 (channels, side, side).
    """
    if transform is Transform.SCALE:
        return scaled(pixels, amount, border)
    if transform is Transform.ROTATE:
        return rotated(pixels, amount, border)
    down, right = (int(amount), 0) if transform is Transform.TRANSLATE_Y else (0, int(amount))
    return translated(pixels, down, right, border)


def translated(pixels: Tensor, down: int, right: int, border: Border) -> Tensor:
    """(channels, height, width) moved by whole pixels: pixel (y, x) shows what was at (y - down, x - right)."""
    height, width = pixels.shape[1:]
    return _seen(pixels.float(), torch.arange(height) - down, torch.arange(width) - right, border)


def scaled(pixels: Tensor, factor: float, border: Border) -> Tensor:
    """(channels, height, width) enlarged, or made smaller, about the centre."""
    rows, columns = (_weights(extent, factor, border) for extent in pixels.shape[1:])
    beyond = 1 - rows.sum(1)[:, None] * columns.sum(1)  # (height, width): what the border's grey has of each pixel
    return (rows @ pixels.double() @ columns.T + GREY * beyond).float()


def rotated(pixels: Tensor, degrees: float, border: Border) -> Tensor:
    """(channels, side, side) turned counter-clockwise about the centre: quarters by copying, the rest by sampling."""
    channels, side, _ = pixels.shape
    margin = math.ceil((math.sqrt(2) - 1) / 2 * side) + 1  # a corner of the turned image sees as far
    around = torch.arange(-margin, side + margin)
    ground = _seen(pixels.double(), around, around, border)  # (channels, side + 2 margin, side + 2 margin)
    quarters = round(degrees / 90)
    rest, ground = math.radians(degrees - 90 * quarters), torch.rot90(ground, quarters, (1, 2))
    if rest == 0:
        return ground[:, margin:-margin, margin:-margin].float()
    cos, sin = math.cos(rest), math.sin(rest)
    turn = torch.tensor([[[cos, -sin, 0.0], [sin, cos, 0.0]]], dtype=torch.float64)  # from (x, y) to where it is seen
    grid = functional.affine_grid(turn, [1, channels, side, side], align_corners=False) * (side / len(around))
    return functional.grid_sample(ground[None], grid, mode="bilinear", align_corners=False)[0].float()


def _seen(pixels: Tensor, rows: Tensor, columns: Tensor, border: Border) -> Tensor:
    """What is at some rows and columns of an image that goes on beyond its border: (channels, rows, columns)."""
    row, on_row = _places(rows, pixels.shape[1], border)
    column, on_column = _places(columns, pixels.shape[2], border)
    inside = on_row[:, None] & on_column
    return torch.where(inside, pixels[:, row[:, None], column], GREY)


def _places(positions: Tensor, extent: int, border: Border) -> tuple[Tensor, Tensor]:
    """Where positions along an axis are found in the image, and which of them show it; those on it are where they are."""
    if border is Border.WRAP:
        return positions % extent, torch.ones_like(positions, dtype=torch.bool)
    if border is Border.REFLECT:  # without the last pixel twice
        period = max(1, 2 * (extent - 1))
        there = positions % period
        return torch.minimum(there, period - there).clamp_max(extent - 1), torch.ones_like(there, dtype=torch.bool)
    inside = (positions >= 0) & (positions < extent)
    return positions.clamp(0, extent - 1), inside | (border is Border.EDGE)


def _weights(extent: int, factor: float, border: Border) -> Tensor:
    """What each pixel along an axis has of each pixel of the image, float64 (extent, extent); the rest of 1 is grey."""
    middle, reach = extent / 2, max(1.0, 1 / factor)
    centres = (torch.arange(extent, dtype=torch.float64) + 0.5 - middle) / factor + middle - 0.5
    positions = torch.arange(math.floor(float(centres[0]) - reach), math.ceil(float(centres[-1]) + reach) + 1)
    triangles = (1 - (positions - centres[:, None]).abs() / reach).clamp_min(0)  # (extent, positions)
    place, inside = _places(positions, extent, border)
    shares = triangles / triangles.sum(1, keepdim=True) * inside
    return torch.zeros(extent, extent, dtype=torch.float64).index_add_(1, place, shares)
