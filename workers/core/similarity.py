"""How alike two projections are. Takes maps (3, height, width), gives rank correlations and structural similarity.

As Adebayo et al. 2018 (section 3.3) compare saliency maps: Spearman's rank correlation of the values and of their absolute
values, and the structural similarity (Wang et al. 2004) of the absolute maps. None of the three depends on the scale of
either map, so neither does it matter how large the signal was that a projection began with.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from workers.core.rank_correlation import correlation, ranked

Array = np.ndarray[Any, Any]

WINDOW_PX = 7  # side of the structural similarity's window; its values are weighed alike
K1, K2 = 0.01, 0.03  # Wang et al. 2004


@dataclass(frozen=True)
class Likeness:
    """How alike two projections are; each is 1 for equal ones, and None where it is not defined.

    Attributes:
        rank_correlation: of the signed values; None if all values of a map are equal.
        rank_correlation_abs: of their absolute values; likewise.
        ssim: of the absolute maps; None if one is 0 everywhere, or lower or narrower than the window.
    """

    rank_correlation: float | None
    rank_correlation_abs: float | None
    ssim: float | None


@dataclass(frozen=True, eq=False)
class Projected:
    """A projection, float (3, height, width), and what is compared of it, each computed once."""

    signal: Array

    @cached_property
    def ranked(self) -> Array | None:
        """Ranks of the signed values about their mean; None if all are equal."""
        return ranked(self.signal)

    @cached_property
    def ranked_abs(self) -> Array | None:
        """Ranks of the absolute values about their mean; None if all are equal."""
        return ranked(np.abs(self.signal))

    @cached_property
    def magnitude(self) -> Array | None:
        """Absolute values, summed over colours, the largest of them 1: (height, width); None if all are 0."""
        summed = np.abs(self.signal).sum(axis=0, dtype=np.float64)
        largest = summed.max(initial=0.0)
        return summed / largest if largest > 0 else None

    @property
    def blank(self) -> bool:
        """Whether it is 0 everywhere."""
        return not self.signal.any()

    def likeness(self, other: "Projected") -> Likeness:
        """How alike this projection and another one of the same pixels are."""
        return Likeness(
            correlation(self.ranked, other.ranked),
            correlation(self.ranked_abs, other.ranked_abs),
            _structural(self.magnitude, other.magnitude),
        )


def structural_similarity(one: Array, other: Array) -> float:
    """The mean structural similarity of two maps (height, width) in 0 to 1, over all windows that lie inside.

    Wang et al. 2004, equation 13, with a flat window of 7 x 7 and unbiased covariances: what scikit-image computes by default.
    """
    mean_one, mean_other = _windowed(one), _windowed(other)
    unbiased = WINDOW_PX**2 / (WINDOW_PX**2 - 1)
    variance_one = unbiased * (_windowed(one * one) - mean_one * mean_one)
    variance_other = unbiased * (_windowed(other * other) - mean_other * mean_other)
    covariance = unbiased * (_windowed(one * other) - mean_one * mean_other)
    luminance = (2 * mean_one * mean_other + K1**2) / (mean_one * mean_one + mean_other * mean_other + K1**2)
    structure = (2 * covariance + K2**2) / (variance_one + variance_other + K2**2)
    return float((luminance * structure).mean())


def _structural(one: Array | None, other: Array | None) -> float | None:
    if one is None or other is None or min(one.shape) < WINDOW_PX:
        return None
    return structural_similarity(one, other)


def _windowed(map_: Array) -> Array:
    """Means over all windows inside a map."""
    height, width = (extent - WINDOW_PX + 1 for extent in map_.shape)
    rows: Array = np.add.reduce([map_[start : start + height] for start in range(WINDOW_PX)])
    return np.asarray(np.add.reduce([rows[:, start : start + width] for start in range(WINDOW_PX)]) / WINDOW_PX**2)
