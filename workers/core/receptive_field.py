"""The input pixels that can change a unit. Takes a layer's geometry and a location, gives half-open boxes of pixels."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """Pixels [top, bottom) x [left, right); may leave the image."""

    top: int
    left: int
    bottom: int
    right: int

    def cut(self, height: int, width: int) -> "Box":
        """The part inside an image of this size."""
        return Box(max(self.top, 0), max(self.left, 0), min(self.bottom, height), min(self.right, width))

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left


@dataclass(frozen=True)
class Span:
    """Where units lie along one axis: unit i sees positions [i * step + start, i * step + start + size).

    A step of 0 says that every unit sees the same positions, as behind a global operation.
    """

    step: int
    start: int
    size: int

    def through(self, stride: int, before: int, reach: int) -> "Span":
        """The positions one operation further down, whose unit i takes inputs [i * stride - before, + reach)."""
        return Span(self.step * stride, self.start * stride - before, (self.size - 1) * stride + reach)

    def hull(self, other: "Span") -> "Span":
        """The smallest span that holds both; they must have the same step."""
        start = min(self.start, other.start)
        return Span(self.step, start, max(self.start + self.size, other.start + other.size) - start)

    def at(self, unit: int) -> tuple[int, int]:
        """First position and the one behind the last."""
        first = unit * self.step + self.start
        return first, first + self.size


@dataclass(frozen=True)
class Field:
    """The receptive field of every unit of a layer, in model-input pixels."""

    rows: Span
    columns: Span

    @property
    def height(self) -> int:
        """Rows that a unit sees."""
        return self.rows.size

    @property
    def width(self) -> int:
        """Columns that a unit sees."""
        return self.columns.size

    @property
    def stride_y(self) -> int | None:
        """Pixels between neighbouring rows of units; None where each unit sees the whole image."""
        return self.rows.step or None

    @property
    def stride_x(self) -> int | None:
        """Pixels between neighbouring columns of units; None where each unit sees the whole image."""
        return self.columns.step or None

    def box(self, y: int, x: int) -> Box:
        """The receptive field of the unit at (y, x); may leave the image."""
        top, bottom = self.rows.at(y)
        left, right = self.columns.at(x)
        return Box(top, left, bottom, right)
