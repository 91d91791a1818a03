"""Histograms of scores. Takes a matrix of scores on any device, gives the occupied bins of each channel and their counts."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from workers.core.histogram_bins import LAST_BIN, lower_edges

COUNTED_AT_ONCE = 1_000_000  # channels times bins: the counts stay in a cache
_IN_CACHE = 100_000  # scores
_CELL_BITS = 14  # of 31 bits of a magnitude: a cell is 2^-9 wide, less than a bin, so it meets at most two


def bins(scores: Tensor) -> Tensor:
    """The histogram bin of every score, int32; the scores are finite float32.

    The upper bits of a magnitude are looked up; they give the bin of the smallest such magnitude. One comparison with the next
    edge does the rest.
    """
    tables = _tables(str(scores.device))
    return torch.cat([_bins(part, *tables) for part in torch.split(scores.flatten(), _IN_CACHE)]).view(scores.shape)


def _bins(scores: Tensor, first_bin: Tensor, next_edge: Tensor) -> Tensor:
    magnitude = scores.abs()
    number = first_bin[magnitude.view(torch.int32) >> _CELL_BITS]
    number += magnitude >= next_edge[number]
    return number * scores.sign().int()


def count(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The histogram of every channel.

    Args:
        scores: (images, channels), finite float32, at least one of each.

    Returns:
        The occupied bins, int32, by channel and ascending; the number of scores in each, int64; and for each channel the
        number of its occupied bins, int64.
    """
    numbers = bins(scores)
    occupied = torch.bincount(numbers.flatten() + LAST_BIN, minlength=2 * LAST_BIN + 1).nonzero()[:, 0].int() - LAST_BIN
    place = torch.zeros(2 * LAST_BIN + 1, dtype=torch.int32, device=scores.device)
    place[occupied + LAST_BIN] = torch.arange(len(occupied), dtype=torch.int32, device=scores.device)
    at_once = max(1, COUNTED_AT_ONCE // len(occupied))
    parts = [_count(place[part + LAST_BIN], len(occupied)) for part in torch.split(numbers, at_once, dim=1)]
    places, counts, sizes = (torch.cat(each) for each in zip(*parts, strict=True))
    return occupied[places], counts, sizes


def _count(places: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """The histograms of some channels, whose bins are given by their place among `width` bins."""
    channels = places.shape[1]
    cells = places + torch.arange(0, channels * width, width, dtype=torch.int32, device=places.device)
    counts = torch.bincount(cells.flatten(), minlength=channels * width)
    occupied = counts.nonzero()[:, 0]
    return occupied % width, counts[occupied], counts.view(channels, width).count_nonzero(dim=1)


@cache
def _tables(device: str) -> tuple[Tensor, Tensor]:
    """By the upper bits of a magnitude, the bin of the smallest such magnitude; and by bin, the lower edge of the next one.

    A float32 magnitude reaches a float64 edge if it reaches the smallest float32 number that does.
    """
    exact = lower_edges()
    bits = torch.arange(255 << (23 - _CELL_BITS), dtype=torch.int32) << _CELL_BITS  # of all finite magnitudes
    first_bin = np.searchsorted(exact, bits.view(torch.float32).double().numpy(), side="right").clip(1, LAST_BIN)
    rounded = exact.astype(np.float32)
    rounded = np.where(rounded < exact, np.nextafter(rounded, np.float32(np.inf)), rounded)
    next_edge = np.append(rounded[1:], np.float32(np.inf))  # by bin - 1
    next_edge = np.append(np.float32(np.nan), next_edge)
    return torch.from_numpy(first_bin.astype(np.int32)).to(device), torch.from_numpy(next_edge).to(device)
