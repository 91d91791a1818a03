"""The similarity of two projections. Takes maps (colours, height, width), gives rank correlations and structural similarity.

The measures are those of Adebayo et al. 2018 (section 3.3) for saliency maps: Spearman's rank correlation of the values and
of their absolute values, and the structural similarity (Wang et al. 2004) of the absolute maps. None of them depends on the
scale of a map, and so on the value that a projection started with.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from workers.core.rank_correlation import correlation, rank

Array = np.ndarray[Any, Any]

WINDOW_PX = 7  # side of the structural similarity's window, in which all values have the same weight
K1, K2 = 0.01, 0.03  # Wang et al. 2004


@dataclass(frozen=True)
class Similarity:
    """The similarity of two projections. Each measure is 1 for equal projections, and None if undefined.

    Attributes:
        rank_correlation: rank correlation of the signed values; None if all values of a map are equal.
        rank_correlation_abs: rank correlation of the absolute values; None if all of a map are equal.
        ssim: structural similarity of the absolute maps; None if one is 0 everywhere, or smaller than the window.
    """

    rank_correlation: float | None
    rank_correlation_abs: float | None
    ssim: float | None


@dataclass(frozen=True, eq=False)
class Projection:
    """A projection, float (colours, height, width), and the quantities to compare it by, each computed once."""

    signal: Array

    @cached_property
    def ranks(self) -> Array | None:
        """The ranks of the signed values minus their mean; None if all values are equal."""
        return rank(self.signal)

    @cached_property
    def ranks_abs(self) -> Array | None:
        """The ranks of the absolute values minus their mean; None if all values are equal."""
        return rank(np.abs(self.signal))

    @cached_property
    def magnitude(self) -> Array | None:
        """The absolute values, summed over colours and scaled to a maximum of 1, (height, width); None if all are 0."""
        summed = np.abs(self.signal).sum(axis=0, dtype=np.float64)
        largest = summed.max(initial=0.0)
        return summed / largest if largest > 0 else None

    @property
    def blank(self) -> bool:
        """Whether all values are 0."""
        return not self.signal.any()

    def similarity_to(self, other: "Projection") -> Similarity:
        """The similarity to another projection on the same pixels."""
        return Similarity(
            correlation(self.ranks, other.ranks),
            correlation(self.ranks_abs, other.ranks_abs),
            _structural(self.magnitude, other.magnitude),
        )


def structural_similarity(one: Array, other: Array) -> float:
    """The mean structural similarity of two maps (height, width) in 0 to 1, over all windows inside the maps.

    Wang et al. 2004, equation 13, with a flat window of 7 x 7 and unbiased covariances, as scikit-image computes by default.
    """
    mean_one, mean_other = _window_means(one), _window_means(other)
    unbiased = WINDOW_PX**2 / (WINDOW_PX**2 - 1)
    variance_one = unbiased * (_window_means(one * one) - mean_one * mean_one)
    variance_other = unbiased * (_window_means(other * other) - mean_other * mean_other)
    covariance = unbiased * (_window_means(one * other) - mean_one * mean_other)
    luminance = (2 * mean_one * mean_other + K1**2) / (mean_one * mean_one + mean_other * mean_other + K1**2)
    structure = (2 * covariance + K2**2) / (variance_one + variance_other + K2**2)
    return float((luminance * structure).mean())


def _structural(one: Array | None, other: Array | None) -> float | None:
    if one is None or other is None or min(one.shape) < WINDOW_PX:
        return None
    return structural_similarity(one, other)


def _window_means(map_: Array) -> Array:
    """The means over all windows inside a map."""
    height, width = (extent - WINDOW_PX + 1 for extent in map_.shape)
    rows: Array = np.add.reduce([map_[start : start + height] for start in range(WINDOW_PX)])
    return np.asarray(np.add.reduce([rows[:, start : start + width] for start in range(WINDOW_PX)]) / WINDOW_PX**2)
