"""How far two floating-point formats agree. Takes scores of the same images in both, gives differing top sets and differences."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

TOP = 9


def differing_sets(exact: Array, rounded: Array) -> int:
    """The number of channels whose TOP best images differ; ties go to the smaller image index.

    Args:
        exact: scores (images, channels) in float32.
        rounded: the same in the other format.
    """
    return int((_best(exact) != _best(rounded)).any(axis=0).sum())


def relative_difference(exact: Array, rounded: Array) -> float:
    """The largest difference, relative to the largest magnitude in float32; 0 for maps that are 0 everywhere."""
    scale = float(np.abs(exact).max(initial=0.0))
    return float(np.abs(rounded - exact).max(initial=0.0)) / scale if scale > 0 else 0.0


def _best(scores: Array) -> Array:
    """The best images of each channel, in ascending order, (TOP or fewer, channels)."""
    best = np.argsort(-scores, axis=0, kind="stable")[:TOP]
    return np.sort(best, axis=0)
