"""Bins of histograms of scores. Takes numbers of bins, gives their edges and middles; numpy only.

Bins are logarithmic, 1 % wide: bin b > 0 holds scores in [1.01^(b - 4001), 1.01^(b - 4000)), bin -b their negatives, and
bin 0 holds 0. Smaller magnitudes (below 5e-18) are counted in bin 1, larger ones (above 1.9e17) in the last bin.
"""

from typing import Any

import numpy as np

OFFSET = 4001
LAST_BIN = 8000

Array = np.ndarray[Any, Any]


def lower_edges() -> Array:
    """The smallest magnitude in each bin from 1 to the last, float64."""
    edges: Array = 1.01 ** (np.arange(1, LAST_BIN + 1) - float(OFFSET))
    return edges


def bin_values(numbers: Array) -> Array:
    """The geometric middle of every bin, float64."""
    values: Array = np.sign(numbers) * 1.01 ** (np.abs(numbers) - OFFSET + 0.5)
    return values


def edges(number: int) -> tuple[float, float]:
    """The edges of a bin, the smaller first; both are 0 for bin 0."""
    if number == 0:
        return 0.0, 0.0
    ends = [float(np.sign(number) * 1.01 ** (abs(number) - OFFSET + more)) for more in (0, 1)]
    return min(ends), max(ends)
