"""The panels of Zeiler & Fergus 2014, Figure 7, as pictures. Takes maps and pixels, gives PNG bytes; axes are in pixels."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from workers.pictures.colours import (
    HIGH_IS_RED,
    OTHER_CLASS,
    SHOWN_CLASSES,
    class_colours,
    class_picture,
    describe_others,
)

Array = np.ndarray[Any, Any]

DPI = 100
PANEL_INCHES = (3.8, 3.4)
WHERE = "centre of the square, px"


@dataclass(frozen=True)
class Grid:
    """Where a square stood.

    Attributes:
        input: height and width of the model's input, pixels.
        size: of the square, pixels.
        stride: pixels between neighbouring positions.
        rows: positions from top to bottom.
        columns: positions from left to right.
    """

    input: tuple[int, int]
    size: int
    stride: int
    rows: int
    columns: int

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of the map in pixels; each position is a cell about the square's centre."""
        first = (self.size - self.stride) / 2
        return first, first + self.columns * self.stride, first + self.rows * self.stride, first


def image_panel(pixels: Array, occluded: Array, grid: Grid) -> bytes:
    """The input (height, width, 3) with the square of `occluded` at its middle position, framed."""
    top, left = (positions // 2 * grid.stride for positions in (grid.rows, grid.columns))
    shown = pixels.copy()
    box = slice(top, top + grid.size), slice(left, left + grid.size)
    shown[box] = occluded[box]
    figure, axes = _figure(f"input, square of {grid.size} px every {grid.stride} px")
    axes.imshow(shown, extent=(0, grid.input[1], grid.input[0], 0), interpolation="nearest")
    axes.add_patch(Rectangle((left, top), grid.size, grid.size, fill=False, edgecolor="black", linewidth=0.8))
    axes.set_xlabel("x, px", fontsize=8)
    axes.set_ylabel("y, px", fontsize=8)
    return _png(figure)


def map_panel(values: Array, grid: Grid, title: str, unit: str) -> bytes:
    """A quantity (rows, columns) by position of the square; colours go from its least value to its largest."""
    figure, axes = _figure(title)
    shown = axes.imshow(values, extent=grid.extent, cmap=HIGH_IS_RED, interpolation="nearest")
    bar = figure.colorbar(shown, ax=axes, fraction=0.046, pad=0.04)
    bar.set_label(unit, fontsize=8)
    bar.ax.tick_params(labelsize=7)
    _place(axes, grid)
    return _png(figure)


def class_panel(classes: Array, names: Sequence[tuple[int, str]], grid: Grid, title: str) -> bytes:
    """The most probable class (rows, columns) by position; `names` in the order of their share, the first ones get colours."""
    colours = class_colours([index for index, _ in names])
    handles = [Patch(color=colours[index], label=_short(name)) for index, name in names[:SHOWN_CLASSES]]
    if len(names) > SHOWN_CLASSES:
        handles.append(Patch(color=OTHER_CLASS, label=describe_others(len(names) - SHOWN_CLASSES)))
    figure, axes = _figure(title)
    axes.imshow(class_picture(classes, colours), extent=grid.extent, interpolation="nearest")
    _place(axes, grid)
    figure.legend(handles=handles, loc="outside right center", fontsize=7, frameon=False, handlelength=1, borderpad=0)
    return _png(figure)


def projection_panel(pictures: Sequence[Array], title: str) -> bytes:
    """This image's projection in a black frame, then those of another run's top images: 8-bit displays; or none at all."""
    figure = Figure(PANEL_INCHES, DPI, layout="constrained")
    figure.suptitle(title, fontsize=9)
    side = 1 if len(pictures) <= 1 else 3
    cells = figure.subplots(side, side, squeeze=False).ravel()
    for number, axes in enumerate(cells):
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_frame_on(number == 0)
        if number < len(pictures):
            axes.imshow(pictures[number], interpolation="antialiased")
    for spine in cells[0].spines.values():
        spine.set(color="black", linewidth=2)
    return _png(figure)


def _figure(title: str) -> tuple[Figure, Axes]:
    figure = Figure(PANEL_INCHES, DPI, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7)
    return figure, axes


def _place(axes: Axes, grid: Grid) -> None:
    axes.set_xlim(0, grid.input[1])
    axes.set_ylim(grid.input[0], 0)
    axes.set_xlabel(f"x of the {WHERE}", fontsize=8)
    axes.set_ylabel(f"y of the {WHERE}", fontsize=8)


def _short(name: str) -> str:
    return name if len(name) <= 18 else name[:17] + "…"


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
