"""Whether hiding a part changes features alike in all images. Takes features with and without, gives signs and their distance.

Zeiler & Fergus 2014, section 4.3 and Table 1. With x the features of an image and x' those of the image with a part hidden,
the change is e = x - x', and Delta is the mean over pairs of images of the Hamming distance of sign(e_i) and sign(e_j), as a
share of the units (the paper writes a sum; its figures are of such a size that they are shares). A sign is -1, 0 or 1, and two
are unequal where they are not the same number: 0 is unequal to both others. A unit that no image changes counts as equal, so
that Delta is small where little changes; `delta_changed` leaves such units out, pair by pair.

The paper compares with random places, in each image another. Where a part lies at the same place in all images, that place alone
makes their changes alike; so random places that all images share stand beside.
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


class Kind(StrEnum):
    """What is hidden: the part; a box of its size at random places, in each image another; or in all images together."""

    PART = "part"
    RANDOM = "random"
    TOGETHER = "together"


ZERO = 1e-6  # of the largest feature: a change below that is rounding, whose sign says nothing

Bits = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Signs:
    """The signs of changes of a layer's units, packed.

    Attributes:
        positive: a bit for each unit that falls when the part is hidden, uint8 (units / 8 rounded up,).
        negative: a bit for each unit that rises, likewise.
        units: how many there are.
    """

    positive: Bits
    negative: Bits
    units: int

    @classmethod
    def unpacked(cls, positive: bytes, negative: bytes, units: int) -> Self:
        """Signs as they were stored."""
        return cls(np.frombuffer(positive, np.uint8), np.frombuffer(negative, np.uint8), units)


@dataclass(frozen=True)
class Agreement:
    """How much alike the changes of several images are.

    Attributes:
        images: how many.
        pairs: of them.
        delta: mean over pairs of the share of units whose signs are unequal; None without a pair.
        std: standard deviation of these shares over pairs (of a sample); None below two pairs.
        standard_error: of delta, by leaving out each image in turn: pairs share images; None below three images.
        changed_share: share of units that change, mean over images; None without an image.
        delta_changed: as delta, as a share of the units that change in one image of the pair or in both; None if none does.
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


def agreement(found: Sequence[Signs]) -> Agreement:
    """How much alike some images' changes of a layer are. Sums are of whole numbers or exactly rounded: no order matters."""
    if not found:
        return NOTHING
    count, units = len(found), found[0].units
    unequal, changed = _counts(found)
    first, second = np.triu_indices(count, 1)
    pairs, distances, either = len(first), unequal[first, second], changed[first, second]
    shares = [int(distance) / units for distance in distances]
    among = [int(d) / int(e) for d, e in zip(distances, either, strict=True) if e]
    return Agreement(
        images=count,
        pairs=pairs,
        delta=int(distances.sum()) / (pairs * units) if pairs else None,
        std=deviation(shares),
        standard_error=_jackknife(unequal, units),
        changed_share=int(np.trace(changed)) / (count * units),
        delta_changed=_mean(among),
    )


def over_draws(drawn: Sequence[Agreement]) -> Agreement:
    """Several draws of random places as one: means over draws, and how much delta differs between them."""
    if not drawn:
        return NOTHING
    spread = deviation([each.delta for each in drawn if each.delta is not None])
    return Agreement(
        images=drawn[0].images,
        pairs=drawn[0].pairs,
        delta=_mean([each.delta for each in drawn]),
        std=spread,
        standard_error=None if spread is None else spread / math.sqrt(len(drawn)),
        changed_share=_mean([each.changed_share for each in drawn]),
        delta_changed=_mean([each.delta_changed for each in drawn]),
    )


def deviation(values: Sequence[float]) -> float | None:
    """Standard deviation of a sample; None below two values."""
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def hidden(pixels: Tensor, box: Box, filled: Tensor) -> Tensor:
    """An image (3, height, width) with a box of it replaced by that of another."""
    shown = pixels.to(filled.dtype, copy=True)
    place = ..., slice(box.top, box.bottom), slice(box.left, box.right)
    shown[place] = filled[place]
    return shown


def elsewhere(box: Box, side: int, chance: torch.Generator) -> Box:
    """A box of the same size at a random place of an input of this side; the same chance puts boxes of any size alike."""
    down, right = torch.rand(2, generator=chance, dtype=torch.float64).tolist()
    top, left = int(down * (side - box.height + 1)), int(right * (side - box.width + 1))
    return Box(top, left, top + box.height, left + box.width)


def papers_layers(network: Network) -> list[str]:
    """The layers that stand for the paper's 5 and 7: the last rectified convolution, and the last rectified layer."""
    convolved = [layer.name for layer in network.layers if layer.auto]
    return list(dict.fromkeys([*convolved[-1:], *rectified_layers(network)[-1:]]))


def _counts(found: Sequence[Signs]) -> tuple[Bits, Bits]:
    """For each pair of images the units whose signs are unequal, and those that change in one or both, int64 (n, n)."""
    positive, negative = (np.stack([getattr(each, name) for each in found]) for name in ("positive", "negative"))
    changes = positive | negative
    unequal = [_ones((positive ^ plus) | (negative ^ minus)) for plus, minus in zip(positive, negative, strict=True)]
    return np.stack(unequal), np.stack([_ones(changes | change) for change in changes])


def _ones(bits: Bits) -> Bits:
    return np.asarray(np.bitwise_count(bits).sum(axis=1, dtype=np.int64))


def _jackknife(unequal: Bits, units: int) -> float | None:
    """Standard error of delta: how it differs when each image in turn is left out."""
    count = len(unequal)
    if count < 3:
        return None
    total, pairs = int(unequal.sum()) // 2, (count - 1) * (count - 2) // 2
    without = [(total - int(row)) / (pairs * units) for row in unequal.sum(axis=1)]
    mean = math.fsum(without) / count
    return math.sqrt((count - 1) / count * math.fsum((each - mean) ** 2 for each in without))
