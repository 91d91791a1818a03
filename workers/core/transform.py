"""Translation, scaling and rotation of images. Takes pixels and an amount, gives pixels of the same size.

Zeiler & Fergus 2014, Figure 5. Translations by whole pixels copy them. Scaling and rotation are bilinear, in float64, about
the centre. When an image shrinks, each pixel is a triangle-weighted mean of all pixels that fall on it, as in Pillow's and
torch's antialiased bilinear resizing. Whole numbers are reproduced exactly where pixels fall on pixels: at scale 1 and at
multiples of 90 degrees.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from workers.spec.invariance import Border, Transform

GREY = 127.5


def transform_image(pixels: Tensor, transform: Transform, amount: float, border: Border) -> Tensor:
    """Apply a transform to an image.

    Args:
        pixels: (channels, height, width) in 0 to 255.
        transform: the transform.
        amount: pixels down or to the right, a factor, or degrees counter-clockwise.
        border: content beyond the image's border.

    Returns:
        float32 (channels, height, width).
    """
    if transform is Transform.SCALE:
        return scale(pixels, amount, border)
    if transform is Transform.ROTATE:
        return rotate(pixels, amount, border)
    down, right = (int(amount), 0) if transform is Transform.TRANSLATE_Y else (0, int(amount))
    return translate(pixels, down, right, border)


def translate(pixels: Tensor, down: int, right: int, border: Border) -> Tensor:
    """Shift (channels, height, width) by whole pixels: pixel (y, x) becomes the one at (y - down, x - right)."""
    height, width = pixels.shape[1:]
    return _sample(pixels.float(), torch.arange(height) - down, torch.arange(width) - right, border)


def scale(pixels: Tensor, factor: float, border: Border) -> Tensor:
    """Enlarge or shrink (channels, height, width) about the centre."""
    rows, columns = (_weights(extent, factor, border) for extent in pixels.shape[1:])
    grey_share = 1 - rows.sum(1)[:, None] * columns.sum(1)  # (height, width): share of the border's grey in each pixel
    return (rows @ pixels.double() @ columns.T + GREY * grey_share).float()


def rotate(pixels: Tensor, degrees: float, border: Border) -> Tensor:
    """Rotate (channels, height, width) counter-clockwise about the centre.

    In square images, quarter turns copy pixels, and only the rest of the angle is sampled. Other images are sampled.
    """
    channels, height, width = pixels.shape
    margins = [math.ceil((math.hypot(height, width) - side) / 2) + 1 for side in (height, width)]  # for the corners
    down, right = (torch.arange(-margin, side + margin) for margin, side in zip(margins, (height, width), strict=True))
    extended = _sample(pixels.double(), down, right, border)  # (channels, height + 2 margins, width + 2 margins)
    quarters = round(degrees / 90) if height == width else 0
    rest, extended = math.radians(degrees - 90 * quarters), torch.rot90(extended, quarters, (1, 2))
    if rest == 0:
        inside = [slice(margin, -margin) for margin in margins]
        return extended[:, inside[0], inside[1]].float()
    cos, sin, ratio = math.cos(rest), math.sin(rest), height / width  # coordinates are shares of height and width
    to_source = [[cos, -sin * ratio, 0.0], [sin / ratio, cos, 0.0]]  # from (x, y)
    matrix = torch.tensor([to_source], dtype=torch.float64)
    grid = functional.affine_grid(matrix, [1, channels, height, width], align_corners=False)
    grid = grid * torch.tensor([width / len(right), height / len(down)], dtype=torch.float64)
    return functional.grid_sample(extended[None], grid, mode="bilinear", align_corners=False)[0].float()


def _sample(pixels: Tensor, rows: Tensor, columns: Tensor, border: Border) -> Tensor:
    """The pixels at some rows and columns of an image that is continued beyond its border: (channels, rows, columns)."""
    row, on_row = _map_positions(rows, pixels.shape[1], border)
    column, on_column = _map_positions(columns, pixels.shape[2], border)
    inside = on_row[:, None] & on_column
    return torch.where(inside, pixels[:, row[:, None], column], GREY)


def _map_positions(positions: Tensor, extent: int, border: Border) -> tuple[Tensor, Tensor]:
    """The positions in the image that positions along an axis map to, and a mask of those that are not grey."""
    if border is Border.WRAP:
        return positions % extent, torch.ones_like(positions, dtype=torch.bool)
    if border is Border.REFLECT:  # without repeating the last pixel
        period = max(1, 2 * (extent - 1))
        phase = positions % period
        return torch.minimum(phase, period - phase).clamp_max(extent - 1), torch.ones_like(phase, dtype=torch.bool)
    inside = (positions >= 0) & (positions < extent)
    return positions.clamp(0, extent - 1), inside | (border is Border.EDGE)


def _weights(extent: int, factor: float, border: Border) -> Tensor:
    """The weight of each source pixel in each pixel along an axis, float64 (extent, extent); the rest to 1 is grey."""
    middle, reach = extent / 2, max(1.0, 1 / factor)
    centres = (torch.arange(extent, dtype=torch.float64) + 0.5 - middle) / factor + middle - 0.5
    positions = torch.arange(math.floor(float(centres[0]) - reach), math.ceil(float(centres[-1]) + reach) + 1)
    triangles = (1 - (positions - centres[:, None]).abs() / reach).clamp_min(0)  # (extent, positions)
    place, inside = _map_positions(positions, extent, border)
    shares = triangles / triangles.sum(1, keepdim=True) * inside
    return torch.zeros(extent, extent, dtype=torch.float64).index_add_(1, place, shares)
