"""Receptive fields: the input pixels that can change a unit. Takes a layer's geometry and a location, gives half-open boxes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """Pixels [top, bottom) x [left, right); may extend beyond the image."""

    top: int
    left: int
    bottom: int
    right: int

    def cut(self, height: int, width: int) -> "Box":
        """The part inside an image of a size."""
        return Box(max(self.top, 0), max(self.left, 0), min(self.bottom, height), min(self.right, width))

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
    """

    step: int
    start: int
    size: int

    def through(self, stride: int, before: int, reach: int) -> "Span":
        """The span one operation further down, whose unit i reads `reach` inputs from i * stride - before on."""
        return Span(self.step * stride, self.start * stride - before, (self.size - 1) * stride + reach)

    def hull(self, other: "Span") -> "Span":
        """The smallest span that contains both; they must have the same step."""
        start = min(self.start, other.start)
        return Span(self.step, start, max(self.start + self.size, other.start + other.size) - start)

    def at(self, unit: int) -> tuple[int, int]:
        """The first position that a unit sees, and the one after the last."""
        first = unit * self.step + self.start
        return first, first + self.size


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
    def stride_y(self) -> int | None:
        """The distance between neighbouring rows of units, pixels; None if each unit sees the whole image."""
        return self.rows.step or None

    @property
    def stride_x(self) -> int | None:
        """The distance between neighbouring columns of units, pixels; None if each unit sees the whole image."""
        return self.columns.step or None

    def box(self, y: int, x: int) -> Box:
        """The receptive field of the unit at (y, x); may extend beyond the image."""
        top, bottom = self.rows.at(y)
        left, right = self.columns.at(x)
        return Box(top, left, bottom, right)
