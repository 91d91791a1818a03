"""Receptive fields: the input pixels that can change a unit. Takes a layer's geometry and a location, gives half-open boxes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd, lcm


@dataclass(frozen=True)
class Box:
    """Pixels [top, bottom) x [left, right); may extend beyond the image."""

    top: int
    left: int
    bottom: int
    right: int

    def cut(self, height: int, width: int) -> "Box":
        """The part inside an image of a size; empty, at its border, if the box lies outside."""
        top, left = min(max(self.top, 0), height), min(max(self.left, 0), width)
        return Box(top, left, max(min(self.bottom, height), top), max(min(self.right, width), left))

    @property
    def is_empty(self) -> bool:
        """Whether it has no pixels."""
        return self.bottom <= self.top or self.right <= self.left

    @property
    def height(self) -> int:
        """The number of rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """The number of columns."""
        return self.right - self.left


@dataclass(frozen=True)
class Span:
    """The positions that units see along one axis: unit i sees [i * step + start, i * step + start + size).

    A step of 0 means that all units see the same positions, as after a global operation.

    Below an upsampling, neighbouring units advance by a fraction of a position. Then `step` is what `period` units advance
    together, and unit i sees [i // period * step + start + offsets[i % period], ...); the offsets of the others are in
    proportion. A few units see less than `size` positions; it is the largest number.
    """

    step: int
    start: int
    size: int
    offsets: tuple[int, ...] = (0,)

    @property
    def period(self) -> int:
        """The number of units after which the pattern repeats."""
        return len(self.offsets)

    @property
    def stride(self) -> Fraction:
        """The distance between neighbouring units, in positions."""
        return Fraction(self.step, self.period)

    def through(self, stride: int, before: int, reach: int) -> "Span":
        """The span one operation further down, whose unit i reads `reach` inputs from i * stride - before on."""
        offsets = tuple(offset * stride for offset in self.offsets)
        return Span(self.step * stride, self.start * stride - before, (self.size - 1) * stride + reach, offsets)

    def through_upsampling(self, factor: int, first: Callable[[int], int], last: Callable[[int], int]) -> "Span":
        """The span below an upsampling by a whole factor.

        Args:
            factor: outputs per input.
            first: the first input that an output reads, before it is cut to the map; grows by 1 every `factor` outputs.
            last: the last input that an output reads, likewise.
        """
        rounds = factor // gcd(self.step, factor) if self.step else 1
        units = range(rounds * self.period)
        starts = [first(self.at(unit)[0]) for unit in units]
        stops = [last(self.at(unit)[1] - 1) + 1 for unit in units]
        return Span(self.step * rounds // factor, 0, 1)._over(starts, stops)

    def into(self, below: "Span") -> "Span":
        """What a unit sees through the positions of this span, if each of them sees what `below` says.

        0 if either has a step of 0: then every unit sees the same.
        """
        if not self.step or not below.step:
            return Span(0, 0, 0)
        if self.period == below.period == 1:
            return Span(
                self.step * below.step, self.start * below.step + below.start, (self.size - 1) * below.step + below.size
            )
        rounds = below.period // gcd(self.step, below.period)
        seen = [self.at(unit) for unit in range(rounds * self.period)]
        starts, stops = [below.at(first)[0] for first, _ in seen], [below.at(stop - 1)[1] for _, stop in seen]
        return Span(self.step * rounds // below.period * below.step, 0, 1)._over(starts, stops)

    def hull(self, other: "Span") -> "Span":
        """The smallest span that contains both; they must have the same stride."""
        if self.offsets == other.offsets and self.step == other.step:
            start = min(self.start, other.start)
            return replace(self, start=start, size=max(self.start + self.size, other.start + other.size) - start)
        units = range(lcm(self.period, other.period))
        starts = [min(self.at(unit)[0], other.at(unit)[0]) for unit in units]
        stops = [max(self.at(unit)[1], other.at(unit)[1]) for unit in units]
        return Span(int(self.stride * len(units)), 0, 1)._over(starts, stops)

    def wider(self, before: int, after: int) -> "Span":
        """The span with more positions at both ends."""
        return replace(self, start=self.start - before, size=self.size + before + after)

    def at(self, unit: int) -> tuple[int, int]:
        """The first position that a unit sees, and the one after the last."""
        first = unit // self.period * self.step + self.start + self.offsets[unit % self.period]
        return first, first + self.size

    def _over(self, starts: Sequence[int], stops: Sequence[int]) -> "Span":
        """A span with this step whose first units see these positions; with the shortest period."""
        size = max(stop - start for start, stop in zip(starts, stops, strict=True))
        start, step, offsets = starts[0], self.step, [each - starts[0] for each in starts]
        for period in range(1, len(offsets)):
            shorter = Fraction(step * period, len(offsets))
            repeated = [n // period * shorter + offsets[n % period] for n in range(len(offsets))]
            if len(offsets) % period == 0 and shorter.denominator == 1 and repeated == offsets:
                return Span(int(shorter), start, size, tuple(offsets[:period]))
        return Span(step, start, size, tuple(offsets))


@dataclass(frozen=True)
class Field:
    """The receptive fields of a layer's units, in model-input pixels."""

    rows: Span
    columns: Span

    @property
    def height(self) -> int:
        """The number of rows that a unit sees."""
        return self.rows.size

    @property
    def width(self) -> int:
        """The number of columns that a unit sees."""
        return self.columns.size

    @property
    def stride_y(self) -> int | float | None:
        """The distance between neighbouring rows of units, pixels; None if each unit sees the whole image."""
        return _number(self.rows.stride)

    @property
    def stride_x(self) -> int | float | None:
        """The distance between neighbouring columns of units, pixels; None if each unit sees the whole image."""
        return _number(self.columns.stride)

    def box(self, y: int, x: int) -> Box:
        """The receptive field of the unit at (y, x); may extend beyond the image."""
        top, bottom = self.rows.at(y)
        left, right = self.columns.at(x)
        return Box(top, left, bottom, right)


def _number(stride: Fraction) -> int | float | None:
    """A stride as a whole number where it is one; None for 0."""
    if not stride:
        return None
    return stride.numerator if stride.denominator == 1 else float(stride)
