"""Stored pictures against numbers. Takes rows of `patches`, gives pixels and whether a projection is the one of a whole image."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from workers.core.display import undisplay


def picture(column: Mapping[str, Any]) -> "np.ndarray[Any, Any]":
    """The pixels of an image column."""
    with Image.open(io.BytesIO(column["bytes"])) as opened:
        return np.array(opened)


def require_projection(row: Mapping[str, Any], wanted: Tensor, rounding: float = 1e-4) -> None:
    """Require that a row's projection is a part of one of the whole image, and that nothing lies outside that part.

    Within the 8 bits of its display: half a step of p, where the value is p^2, plus float32's rounding.

    Args:
        row: of `patches`, with a lossless image format.
        wanted: (3, height, width).
        rounding: of float32, relative to the largest value.
    """
    height, width = wanted.shape[1:]
    top, left = max(row["box_top"], 0), max(row["box_left"], 0)
    inside = wanted[:, top : min(row["box_bottom"], height), left : min(row["box_right"], width)].numpy()
    assert float(wanted.abs().sum()) == pytest.approx(np.abs(inside).sum(), rel=1e-5)  # the field holds all of it
    scale = row["projection_scale"]
    assert scale == pytest.approx(float(np.abs(inside).max()), rel=rounding)
    step = np.sqrt(np.abs(inside) / scale) / 127.5 + 1 / 255**2
    assert (np.abs(undisplay(picture(row["projection"]), scale) - inside) <= scale * (step + rounding)).all()
