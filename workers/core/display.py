"""Displays of projections and pixels. Takes (3, height, width), gives uint8 (height, width, 3), and projections back.

A projection's display is symmetric about mid-grey and companded by the signed square root, so that weak parts are visible and
nothing is clipped. With p = pixel / 127.5 - 1, the value is sign(p) p^2 scale, where scale is the largest absolute value.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]


def display(projection: Array) -> tuple[Array, float]:
    """The display of a projection.

    Args:
        projection: float (3, height, width), model-input scale.

    Returns:
        uint8 (height, width, 3), and the scale: 0 for a projection that is 0 everywhere.
    """
    scale = float(np.abs(projection).max(initial=0.0))
    relative = projection / scale if scale > 0 else np.zeros_like(projection)
    companded = np.sign(relative) * np.sqrt(np.abs(relative))
    return np.rint((companded + 1) * 127.5).astype(np.uint8).transpose(1, 2, 0), scale


def undisplay(pixels: Array, scale: float) -> Array:
    """The projection (3, height, width) of a display, to within the precision of 8 bits."""
    p = pixels.astype(np.float32).transpose(2, 0, 1) / 127.5 - 1
    return np.asarray(np.sign(p) * p * p * scale)


def eight_bit(pixels: Tensor) -> Array:
    """Pixels (3, height, width), clipped to 0 to 255 and rounded to uint8 (height, width, 3)."""
    rounded = pixels.clamp(0, 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(rounded)
