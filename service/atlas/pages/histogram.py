"""A channel's histogram as a figure. Takes bins of scores, gives bars of 320 x 100."""

import math
from collections.abc import Sequence

from service.atlas.pages.values import Value

BARS = 40
ZERO_WIDTH = 14


class Bin(Value):
    """How many images have a score from `low` to `high`."""

    low: float
    high: float
    images: int


class Bar(Value):
    """A bar of the figure; `zero` marks the bar of scores that are exactly 0."""

    x: int | float
    y: float
    width: int | float
    height: float
    low: float
    high: float
    images: int
    zero: bool


class HistogramFigure(Value):
    """The bars; `tallest` is the largest count, and `lowest` is the score at `from_x`, where the axis begins."""

    bars: tuple[Bar, ...]
    lowest: float
    tallest: int
    from_x: int


def figure(histogram: Sequence[tuple[float, float, int]]) -> HistogramFigure:
    """The histogram in equal steps of the score; heights are square roots of counts.

    If any scores are exactly 0, they have a bar of their own on the left.
    """
    zeros = sum(count for low, high, count in histogram if low == high == 0)
    rest = [(low, high, count) for low, high, count in histogram if (low, high) != (0, 0)]
    left = ZERO_WIDTH if zeros else 0
    lowest, highest = (rest[0][0], rest[-1][1]) if rest else (0.0, 0.0)
    width, counts = (highest - lowest) / BARS or 1.0, [0] * BARS
    for low, high, count in rest:
        counts[min(BARS - 1, int(((low + high) / 2 - lowest) / width))] += count
    step, tallest = (320 - left) / BARS, max(zeros, *counts)
    bars = [
        _bar((left + number * step, step - 1), (lowest + number * width, lowest + (number + 1) * width), count, tallest)
        for number, count in enumerate(counts)
        if count
    ]
    if zeros:
        bars.insert(0, _bar((0, left - 4), (0.0, 0.0), zeros, tallest))
    return HistogramFigure(bars=tuple(bars), lowest=lowest, tallest=tallest, from_x=left)


def _bar(place: tuple[float, float], bounds: tuple[float, float], images: int, tallest: int) -> Bar:
    """A bar from its left edge and width, the bounds of its scores, and its number of images."""
    (x, width), (low, high), height = place, bounds, 96 * math.sqrt(images / tallest)
    return Bar(
        x=round(x, 2),
        y=round(100 - height, 2),
        width=round(width, 2),
        height=round(height, 2),
        low=low,
        high=high,
        images=images,
        zero=low == high == 0,
    )
