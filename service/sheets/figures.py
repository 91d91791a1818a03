"""The figures of what perturbed images gave. Takes a published run, gives one picture."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from service.query.catalog import PublishedRun
from service.query.perturbations import BARS, COLOURS, ORDER, TITLES
from service.query.reading import read
from service.sheets import canvas
from workers.store.tables.correspondence import CORRESPONDENCE
from workers.store.tables.invariance import INVARIANCE

LARGEST_IMAGES = 8  # in a figure: more curves than that cannot be told apart
TILE_PX = 96
WIDE_INCHES = 14  # from which on the legend fits in a line


def invariance(run: PublishedRun) -> Image.Image:
    """Zeiler & Fergus 2014, Figure 5: images at some amounts, distances of features by layer, the class's probability."""
    rows = read(run, INVARIANCE, pc.scalar(True), INVARIANCE.schema.names).to_pylist()
    images = list(dict.fromkeys(row["image_id"] for row in rows))
    shown = images[:LARGEST_IMAGES]
    rows = [row for row in rows if row["image_id"] in shown]
    layers = _layers(rows)
    transforms = sorted({row["transform"] for row in rows}, key=ORDER.index)
    heights = [0.75 * len(shown), *[2.4] * (len(layers) + 1)]  # inches
    figure = Figure((4.4 * len(transforms), sum(heights) + 0.25 * len(shown)), 100, layout="constrained")
    grid = figure.subplots(len(heights), len(transforms), squeeze=False, height_ratios=heights)
    for column, transform in zip(grid.T, transforms, strict=True):
        _column(column, [row for row in rows if row["transform"] == transform], shown, layers)
    _same_heights(grid[1:-1])
    _legend(figure, rows, shown, len(images))
    return canvas.plotted(figure)


def _layers(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The layers of some rows, in the order of the graph."""
    return list(dict(sorted({(row["layer_index"], row["layer"]) for row in rows})).values())


def _column(
    column: Sequence[Axes], rows: Sequence[dict[str, Any]], images: Sequence[str], layers: Sequence[str]
) -> None:
    """One transform: pictures, a chart for each layer, and one for the class."""
    _pictures(column[0], rows, images)
    for axes, layer in zip(column[1:], [*layers, layers[0]], strict=True):
        last = axes is column[-1]
        lines = [row for row in rows if row["layer"] == layer]
        _curves(axes, lines, images, "probability" if last else "relative_distance")
        axes.set_title("probability of the class" if last else f"{layer}: distance of features", fontsize=10)
    column[-1].set_xlabel(TITLES[rows[0]["transform"]])


def _pictures(axes: Axes, rows: Sequence[dict[str, Any]], images: Sequence[str]) -> None:
    """The images at the amounts whose pictures were kept: a row for each, a column for each amount."""
    kept = [row for row in rows if row["picture"]]
    amounts = sorted({row["amount"] for row in kept})
    wall = np.full((len(images) * TILE_PX, len(amounts) * TILE_PX, 3), 255, np.uint8)
    for row in kept:
        top, left = images.index(row["image_id"]) * TILE_PX, amounts.index(row["amount"]) * TILE_PX
        shown = canvas.opened(row["picture"]["bytes"])
        small = shown.resize((TILE_PX - 4, TILE_PX - 4), Image.Resampling.LANCZOS)
        wall[top : top + TILE_PX - 4, left : left + TILE_PX - 4] = np.asarray(small)
    axes.imshow(wall, aspect="equal", interpolation="antialiased")
    axes.set_xticks([(n + 0.5) * TILE_PX for n in range(len(amounts))], [f"{amount:g}" for amount in amounts])
    axes.set_yticks([])
    axes.tick_params(length=0, labelsize=8)
    axes.set_frame_on(False)
    axes.set_title(TITLES[rows[0]["transform"]], fontsize=11)


def _curves(axes: Axes, rows: Sequence[dict[str, Any]], images: Sequence[str], name: str) -> None:
    for number, image in enumerate(images):
        mine = [row for row in rows if row["image_id"] == image]
        values = [np.nan if row[name] is None else row[name] for row in mine]
        axes.plot(
            [row["amount"] for row in mine], values, color=COLOURS[number], linewidth=1.3, marker=".", markersize=4
        )
    axes.set_ylim(0, 1 if name == "probability" else None)
    axes.set_ylabel("probability" if name == "probability" else "relative distance", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="#dddddd", linewidth=0.6)


def _same_heights(grid: Any) -> None:  # noqa: ANN401 - numpy's array of axes
    """One scale for all distances, so that layers can be compared."""
    top = max(axes.get_ylim()[1] for axes in grid.ravel())
    for axes in grid.ravel():
        axes.set_ylim(0, top)


def _legend(figure: Figure, rows: Sequence[dict[str, Any]], images: Sequence[str], count: int) -> None:
    names = {row["image_id"]: row["class_name"] or f"class {row['class_index']}" for row in rows}
    handles = [figure.axes[-1].plot([], [], color=COLOURS[n])[0] for n in range(len(images))]
    labels = [canvas.plain(f"{image}: {names[image]}") for image in images]
    title = f"{count - len(images)} more images in the table" if count > len(images) else None
    figure.legend(handles, labels, loc="outside lower center", fontsize=8, frameon=False, ncols=2, title=title)


def correspondence(run: PublishedRun) -> Image.Image:
    """Zeiler & Fergus 2014, Figure 6 and Table 1: images with each part hidden, and how much alike they change by layer."""
    rows = read(run, CORRESPONDENCE, pc.scalar(True), CORRESPONDENCE.schema.names).to_pylist()
    layers, parts = _layers(rows), sorted({row["part"] for row in rows})
    strips = [row for row in rows if row["picture"] and row["kind"] != "together"]
    wide, heights = max(8.0, 1.1 * len(parts) * len(layers)), [*[1.0] * len(strips), 3.2]  # inches
    figure = Figure((wide, sum(heights) + 0.25 * len(strips) + 1), 100, layout="constrained")
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    for number, row in enumerate(strips):
        _hidden(figure.add_subplot(grid[number]), row)
    below = grid[len(strips)].subgridspec(1, len(layers)).subplots(sharey=True, squeeze=False)[0]
    for axes, layer in zip(below, layers, strict=True):
        _bars(axes, [row for row in rows if row["layer"] == layer], parts)
        axes.set_title(layer, fontsize=10)
    below[0].set_ylabel("unequal signs of change,\nshare of units", fontsize=9)
    handles, labels = below[0].get_legend_handles_labels()
    columns = 3 if wide > WIDE_INCHES else 1
    figure.legend(handles, labels, loc="outside lower center", fontsize=8, frameon=False, ncols=columns)
    return canvas.plotted(figure)


def _hidden(axes: Axes, row: dict[str, Any]) -> None:
    """Images with a box hidden, side by side."""
    axes.imshow(np.asarray(canvas.opened(row["picture"]["bytes"])))
    axes.set_axis_off()
    axes.set_anchor("W")
    named = row["part"] if row["kind"] == "part" else f"boxes as for {row['part']}, at random places"
    axes.set_title(canvas.plain(named), fontsize=9, loc="left", pad=2)


def _bars(axes: Axes, rows: Sequence[dict[str, Any]], parts: Sequence[str]) -> None:
    """Delta of each part and kind, with the error that is known of it."""
    known = [row for row in rows if row["delta"] is not None]
    kinds = [kind for kind in BARS if any(row["kind"] == kind for row in known)]
    if not known:
        axes.text(
            0.5, 0.5, "no pair of images: parts were left out", transform=axes.transAxes, ha="center", va="center"
        )
    for place, kind in enumerate(kinds):
        colour, label, error = BARS[kind]
        mine = {row["part"]: row for row in known if row["kind"] == kind}
        at = [parts.index(part) + (place - (len(kinds) - 1) / 2) * 0.27 for part in mine]
        errors = [row[error] or 0.0 for row in mine.values()]
        heights = [row["delta"] for row in mine.values()]
        axes.bar(at, heights, 0.25, yerr=errors, color=colour, label=label, error_kw={"elinewidth": 1, "capsize": 2})
    axes.set_xlim(-0.6, len(parts) - 0.4)
    axes.set_xticks(
        range(len(parts)), [canvas.plain(part) for part in parts], fontsize=8, rotation=20 if len(parts) > 3 else 0
    )
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


FIGURES: Mapping[str, Callable[[PublishedRun], Image.Image]] = {
    "invariance": invariance,
    "correspondence": correspondence,
}
