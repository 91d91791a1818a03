"""What is shown. Takes (channels, height, width): signals, or pixels; gives uint8 (height, width, 3), and signals back.

One channel is shown as grey, and so is the first of two; of more than three, the first three are shown as red, green and blue.
A projection's picture is symmetric about mid-grey and companded by the signed square root, so that weak parts are seen and
nothing is clipped: with p = pixel / 127.5 - 1 the value is sign(p) p^2 scale, where scale is the largest absolute value.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # pictures are read back where there is no torch
    from torch import Tensor

Array = np.ndarray[Any, Any]


def display(projection: Array) -> tuple[Array, float]:
    """The picture of a projection.

    Args:
        projection: float (channels, height, width), model-input scale.

    Returns:
        uint8 (height, width, 3), and the scale of all channels: 0 for a projection that is 0 everywhere.
    """
    scale = float(np.abs(projection).max(initial=0.0))
    relative = projection / scale if scale > 0 else np.zeros_like(projection)
    companded = np.sign(relative) * np.sqrt(np.abs(relative))
    return colours(np.rint((companded + 1) * 127.5).astype(np.uint8).transpose(1, 2, 0)), scale


def undisplay(pixels: Array, scale: float) -> Array:
    """The projection (3, height, width) of a picture, to within the 8 bits."""
    p = pixels.astype(np.float32).transpose(2, 0, 1) / 127.5 - 1
    return np.asarray(np.sign(p) * p * p * scale)


def eight_bit(pixels: "Tensor") -> Array:
    """Pixels (channels, height, width) rounded to uint8 (height, width, 3); values outside 0 to 255 are clipped."""
    shown = pixels.clamp(0, 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(colours(shown))


def decoded(pixels: Array) -> Array:
    """Pixels of a file (height, width, channels), of 8 or 16 bits, as uint8 (height, width, 3)."""
    return colours(pixels if pixels.dtype == np.uint8 else ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8))


def colours(channels: Array) -> Array:
    """Any number of channels (height, width, channels) as three, last axis."""
    return channels[..., :3] if channels.shape[-1] >= 3 else np.repeat(channels[..., :1], 3, axis=-1)
