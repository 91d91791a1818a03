"""Spearman's rank correlation. Takes two arrays, gives their correlation; numpy only."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def spearman(one: Array, other: Array) -> float | None:
    """Spearman's rank correlation. Equal values get their mean rank. None if all values of an array are equal."""
    return correlation(rank(one), rank(other))


def rank(values: Array) -> Array | None:
    """The ranks minus their mean, where equal values get their mean rank; None if all values are equal."""
    flat = values.ravel()
    order = np.argsort(flat)
    ascending = flat[order]
    is_start = np.append(True, ascending[1:] != ascending[:-1])  # of a run of equal values
    starts = np.nonzero(is_start)[0]
    if len(starts) < 2:
        return None
    middles = starts + (np.diff(starts, append=len(flat)) - 1) / 2
    ranks = np.empty(len(flat))
    ranks[order] = middles[np.cumsum(is_start) - 1]
    return ranks - (len(flat) - 1) / 2


def correlation(one: Array | None, other: Array | None) -> float | None:
    """Spearman's correlation: Pearson's correlation of centred ranks; None if either is."""
    if one is None or other is None:
        return None
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))
