"""Projections as 8-bit pictures and back. Takes signed signals (3, height, width), gives uint8 (height, width, 3).

Symmetric about mid-grey and companded by the signed square root, so that weak parts are seen and nothing is clipped:
with p = pixel / 127.5 - 1 the value is sign(p) p^2 scale, where scale is the largest absolute value.
"""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def display(projection: Array) -> tuple[Array, float]:
    """The picture of a projection.

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
    """The projection (3, height, width) of a picture, to within the 8 bits."""
    p = pixels.astype(np.float32).transpose(2, 0, 1) / 127.5 - 1
    return np.asarray(np.sign(p) * p * p * scale)
