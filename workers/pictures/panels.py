"""The panels of Zeiler & Fergus 2014, Figure 7. Takes maps and pixels, gives PNG bytes; axes are in pixels."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

Array = np.ndarray[Any, Any]
Colour = tuple[float, float, float]

DPI = 100
PANEL_INCHES = (3.8, 3.4)
HIGH_IS_RED = "coolwarm"  # blue to red as in the paper's Figure 7, but perceptually even
SHOWN_CLASSES = 8
OTHER_CLASS = (0.5, 0.5, 0.5)
WHERE = "centre of the square, px"


@dataclass(frozen=True)
class Grid:
    """The positions of a square.

    Attributes:
        side: side of the model's input, pixels.
        size: side of the square, pixels.
        stride: distance between neighbouring positions, pixels.
        rows: number of positions from top to bottom.
        columns: number of positions from left to right.
    """

    side: int
    size: int
    stride: int
    rows: int
    columns: int

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of the map, pixels; each position is a cell around the square's centre."""
        first = (self.size - self.stride) / 2
        return first, first + self.columns * self.stride, first + self.rows * self.stride, first


def image_panel(pixels: Array, occluded: Array, grid: Grid) -> bytes:
    """The input (side, side, 3), with the square from `occluded` at the middle position, framed."""
    top, left = (positions // 2 * grid.stride for positions in (grid.rows, grid.columns))
    picture = pixels.copy()
    box = slice(top, top + grid.size), slice(left, left + grid.size)
    picture[box] = occluded[box]
    figure, axes = _figure(f"input, square of {grid.size} px every {grid.stride} px")
    axes.imshow(picture, extent=(0, grid.side, grid.side, 0), interpolation="nearest")
    axes.add_patch(Rectangle((left, top), grid.size, grid.size, fill=False, edgecolor="black", linewidth=0.8))
    axes.set_xlabel("x, px", fontsize=8)
    axes.set_ylabel("y, px", fontsize=8)
    return _png(figure)


def map_panel(values: Array, grid: Grid, title: str, unit: str) -> bytes:
    """A quantity (rows, columns) by position of the square; colours range from its smallest value to its largest."""
    figure, axes = _figure(title)
    picture = axes.imshow(values, extent=grid.extent, cmap=HIGH_IS_RED, interpolation="nearest")
    bar = figure.colorbar(picture, ax=axes, fraction=0.046, pad=0.04)
    bar.set_label(unit, fontsize=8)
    bar.ax.tick_params(labelsize=7)
    _set_axes(axes, grid)
    return _png(figure)


def class_panel(classes: Array, names: Sequence[tuple[int, str]], grid: Grid, title: str) -> bytes:
    """The most probable class (rows, columns) by position; `names` is sorted by share, and the first ones get colours."""
    colours = class_colours([index for index, _ in names])
    handles = [Patch(color=colours[index], label=_shorten(name)) for index, name in names[:SHOWN_CLASSES]]
    if len(names) > SHOWN_CLASSES:
        handles.append(Patch(color=OTHER_CLASS, label=f"{len(names) - SHOWN_CLASSES} others"))
    figure, axes = _figure(title)
    axes.imshow(class_picture(classes, colours), extent=grid.extent, interpolation="nearest")
    _set_axes(axes, grid)
    figure.legend(handles=handles, loc="outside right center", fontsize=7, frameon=False, handlelength=1, borderpad=0)
    return _png(figure)


def class_colours(classes: Sequence[int]) -> Mapping[int, Colour]:
    """A colour for each of the first classes, which are sorted by share; all others share OTHER_CLASS."""
    palette = colormaps["tab10"]
    return {index: palette(number)[:3] for number, index in enumerate(classes[:SHOWN_CLASSES])}


def class_picture(classes: Array, colours: Mapping[int, Colour]) -> Array:
    """Classes (rows, columns) as colours (rows, columns, 3) in 0 to 1."""
    return np.array([[colours.get(int(index), OTHER_CLASS) for index in row] for row in classes])


def map_picture(values: Array) -> Array:
    """A quantity (rows, columns) in the colours of `map_panel`, (rows, columns, 3) in 0 to 1."""
    low, high = float(values.min()), float(values.max())
    return np.asarray(colormaps[HIGH_IS_RED]((values - low) / ((high - low) or 1.0))[..., :3])


def projection_panel(own: Array, others: Sequence[Array], title: str) -> bytes:
    """The image's own projection in a black frame, then those of another run's top images; all are 8-bit displays."""
    figure = Figure(PANEL_INCHES, DPI, layout="constrained")
    figure.suptitle(title, fontsize=9)
    side = 1 if not others else 3
    cells = figure.subplots(side, side, squeeze=False).ravel()
    for number, axes in enumerate(cells):
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_frame_on(number == 0)
        pictures = [own, *others]
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


def _set_axes(axes: Axes, grid: Grid) -> None:
    axes.set_xlim(0, grid.side)
    axes.set_ylim(grid.side, 0)
    axes.set_xlabel(f"x of the {WHERE}", fontsize=8)
    axes.set_ylabel(f"y of the {WHERE}", fontsize=8)


def _shorten(name: str) -> str:
    return name if len(name) <= 18 else name[:17] + "…"


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
