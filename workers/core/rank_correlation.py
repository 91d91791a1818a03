"""Whether two columns of numbers are in one order. Takes arrays, gives Spearman's rank correlation; numpy only."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def spearman(one: Array, other: Array) -> float | None:
    """Spearman's rank correlation; equal numbers share the mean of their ranks. None if all numbers of a column are equal."""
    return correlation(ranked(one), ranked(other))


def ranked(values: Array) -> Array | None:
    """Ranks about their mean, equal values sharing the mean of theirs; None if all are equal."""
    flat = values.ravel()
    order = np.argsort(flat)
    ascending = flat[order]
    begins = np.append(True, ascending[1:] != ascending[:-1])  # of runs of equal values
    starts = np.nonzero(begins)[0]
    if len(starts) < 2:
        return None
    middles = starts + (np.diff(starts, append=len(flat)) - 1) / 2
    ranks = np.empty(len(flat))
    ranks[order] = middles[np.cumsum(begins) - 1]
    return ranks - (len(flat) - 1) / 2


def correlation(one: Array | None, other: Array | None) -> float | None:
    """Pearson's correlation of ranks about their mean: Spearman's."""
    if one is None or other is None:
        return None
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))
