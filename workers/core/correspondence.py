"""Whether hiding a part changes features alike in all images. Takes features with and without it, gives signs and distances.

Zeiler & Fergus 2014, section 4.3 and Table 1. With x the features of an image and x' those of the image with a part hidden,
the change is e = x - x'. Delta is the mean over pairs of images of the Hamming distance of sign(e_i) and sign(e_j), as a
share of the units. (The paper writes a sum, but the size of its figures shows that they are shares.) A sign is -1, 0 or 1;
0 differs from both others. Units that change in no image count as equal, so Delta is small where little changes;
`delta_changed` leaves such units out, pair by pair.

The paper compares with a random place in each image. If a part is at the same place in all images, that place alone makes the
changes alike. We therefore also compare with random places that are the same in all images.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from workers.core.invariance import rectified_layers
from workers.core.network import Network
from workers.core.receptive_field import Box


class Placement(StrEnum):
    """What is hidden: the part, a box of its size at a random place per image, or at the same random place in all images."""

    PART = "part"
    RANDOM = "random"
    TOGETHER = "together"


ZERO = 1e-6  # share of the largest feature; smaller changes are rounding errors, whose signs mean nothing

Bits = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Signs:
    """The signs of the changes of a layer's units, as packed bits.

    Attributes:
        positive: bits of the units that fall when the part is hidden, uint8 (units / 8 rounded up,).
        negative: bits of the units that rise, in the same form.
        units: number of units.
    """

    positive: Bits
    negative: Bits
    units: int

    @classmethod
    def from_bytes(cls, positive: bytes, negative: bytes, units: int) -> Self:
        """Signs from their stored form."""
        return cls(np.frombuffer(positive, np.uint8), np.frombuffer(negative, np.uint8), units)


@dataclass(frozen=True)
class Agreement:
    """The agreement between the changes of several images.

    Attributes:
        images: number of images.
        pairs: number of pairs of images.
        delta: mean over pairs of the share of units with unequal signs; None without pairs.
        std: sample standard deviation of these shares over pairs; None for fewer than two pairs.
        standard_error: standard error of delta, by the jackknife over images, as pairs share images; None below three images.
        changed_share: mean over images of the share of units that change; None without images.
        delta_changed: like delta, as a share of the units that change in at least one image of the pair; None if none does.
    """

    images: int
    pairs: int
    delta: float | None
    std: float | None
    standard_error: float | None
    changed_share: float | None
    delta_changed: float | None


NOTHING = Agreement(0, 0, None, None, None, None, None)


def signs(before: Tensor, after: Tensor) -> Signs:
    """The signs of before - after, (units,) each."""
    rounding = ZERO * float(torch.maximum(before.abs().max(), after.abs().max()))
    change = (before - after).cpu().numpy()
    return Signs(np.packbits(change > rounding), np.packbits(change < -rounding), len(change))


def agreement(changes: Sequence[Signs]) -> Agreement:
    """The agreement between images' changes of a layer; independent of their order, as sums are exact or exactly rounded."""
    if not changes:
        return NOTHING
    count, units = len(changes), changes[0].units
    unequal, changed = _counts(changes)
    first, second = np.triu_indices(count, 1)
    pairs, distances, either = len(first), unequal[first, second], changed[first, second]
    shares = [int(distance) / units for distance in distances]
    shares_of_changed = [int(d) / int(e) for d, e in zip(distances, either, strict=True) if e]
    return Agreement(
        images=count,
        pairs=pairs,
        delta=int(distances.sum()) / (pairs * units) if pairs else None,
        std=deviation(shares),
        standard_error=_jackknife(unequal, units),
        changed_share=int(np.trace(changed)) / (count * units),
        delta_changed=_mean(shares_of_changed),
    )


def average(draws: Sequence[Agreement]) -> Agreement:
    """The mean agreement over draws of random places; `std` is the standard deviation of delta between draws."""
    if not draws:
        return NOTHING
    std = deviation([draw.delta for draw in draws if draw.delta is not None])
    return Agreement(
        images=draws[0].images,
        pairs=draws[0].pairs,
        delta=_mean([draw.delta for draw in draws]),
        std=std,
        standard_error=None if std is None else std / math.sqrt(len(draws)),
        changed_share=_mean([draw.changed_share for draw in draws]),
        delta_changed=_mean([draw.delta_changed for draw in draws]),
    )


def deviation(values: Sequence[float]) -> float | None:
    """The standard deviation of a sample; None for fewer than two values."""
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def hide(pixels: Tensor, box: Box, filled: Tensor) -> Tensor:
    """An image (colours, height, width) with a box replaced by the same box of another image."""
    covered = pixels.to(filled.dtype, copy=True)
    place = ..., slice(box.top, box.bottom), slice(box.left, box.right)
    covered[place] = filled[place]
    return covered


def random_box(box: Box, size: tuple[int, int], generator: torch.Generator) -> Box:
    """A box of the same size at a random place in an input of the given height and width.

    Generators in the same state give similar places for all sizes.
    """
    down, right = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    top, left = int(down * (size[0] - box.height + 1)), int(right * (size[1] - box.width + 1))
    return Box(top, left, top + box.height, left + box.width)


def default_layers(network: Network) -> list[str]:
    """The last rectified convolution and the last rectified layer, for the paper's layers 5 and 7."""
    convolved = [layer.name for layer in network.layers if layer.auto]
    return list(dict.fromkeys([*convolved[-1:], *rectified_layers(network)[-1:]]))


def _counts(changes: Sequence[Signs]) -> tuple[Bits, Bits]:
    """For each pair of images, the number of units with unequal signs and of those that change in either, int64 (n, n)."""
    positive, negative = (np.stack([getattr(signs, name) for signs in changes]) for name in ("positive", "negative"))
    changed = positive | negative
    pairs = zip(positive, negative, strict=True)
    unequal = [_count_bits((positive ^ plus) | (negative ^ minus)) for plus, minus in pairs]
    return np.stack(unequal), np.stack([_count_bits(changed | bits) for bits in changed])


def _count_bits(bits: Bits) -> Bits:
    return np.asarray(np.bitwise_count(bits).sum(axis=1, dtype=np.int64))


def _jackknife(unequal: Bits, units: int) -> float | None:
    """The standard error of delta, from its values when each image in turn is left out."""
    count = len(unequal)
    if count < 3:
        return None
    total, pairs = int(unequal.sum()) // 2, (count - 1) * (count - 2) // 2
    without = [(total - int(row)) / (pairs * units) for row in unequal.sum(axis=1)]
    mean = math.fsum(without) / count
    return math.sqrt((count - 1) / count * math.fsum((delta - mean) ** 2 for delta in without))
