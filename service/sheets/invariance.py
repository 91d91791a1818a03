"""The sheet of an invariance run. Takes a published run, gives one picture: images, feature distances and probabilities."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from service.query.catalog import PublishedRun
from service.query.perturbations import COLOURS, ORDER, TITLES, layer_names
from service.query.reading import read
from service.sheets import canvas
from workers.store.tables.invariance import INVARIANCE

LARGEST_IMAGES = 8  # more curves cannot be told apart in one chart
TILE_PX, TILE_GAP_PX = 96, 4

Rows = Sequence[dict[str, Any]]


def draw(run: PublishedRun) -> Image.Image:
    """Zeiler & Fergus 2014, Figure 5: a column per transform with its images, and charts by layer and of the class."""
    rows = read(run, INVARIANCE, pc.scalar(True), INVARIANCE.schema.names).to_pylist()
    every_image = list(dict.fromkeys(row["image_id"] for row in rows))
    images = every_image[:LARGEST_IMAGES]
    rows = [row for row in rows if row["image_id"] in images]
    layers, transforms = layer_names(rows), sorted({row["transform"] for row in rows}, key=ORDER.index)
    heights = [0.75 * len(images), *[2.4] * (len(layers) + 1)]  # inches
    figure = Figure((4.4 * len(transforms), sum(heights) + 0.25 * len(images)), 100, layout="constrained")
    grid = figure.subplots(len(heights), len(transforms), squeeze=False, height_ratios=heights)
    for column, transform in zip(grid.T, transforms, strict=True):
        _draw_column(column, [row for row in rows if row["transform"] == transform], images, layers)
    _equalize_heights(grid[1:-1])
    _draw_legend(figure, rows, images, len(every_image) - len(images))
    return canvas.rasterize(figure)


def _draw_column(column: Sequence[Axes], rows: Rows, images: Sequence[str], layers: Sequence[str]) -> None:
    """One transform: pictures, a chart per layer, and one of the class."""
    _draw_pictures(column[0], rows, images)
    for axes, layer in zip(column[1:], [*layers, layers[0]], strict=True):
        is_class = axes is column[-1]
        curves = [row for row in rows if row["layer"] == layer]
        _draw_curves(axes, curves, images, "probability" if is_class else "relative_distance")
        axes.set_title("probability of the class" if is_class else f"{layer}: relative feature distance", fontsize=10)
    column[-1].set_xlabel(TITLES[rows[0]["transform"]])


def _draw_pictures(axes: Axes, rows: Rows, images: Sequence[str]) -> None:
    """Transformed images that the table holds: a row per image, a column per amount."""
    pictured = [row for row in rows if row["picture"]]
    amounts = sorted({row["amount"] for row in pictured})
    wall = np.full((len(images) * TILE_PX, len(amounts) * TILE_PX, 3), 255, np.uint8)
    side = TILE_PX - TILE_GAP_PX
    for row in pictured:
        top, left = images.index(row["image_id"]) * TILE_PX, amounts.index(row["amount"]) * TILE_PX
        picture = ImageOps.contain(canvas.decode(row["picture"]["bytes"]), (side, side), Image.Resampling.LANCZOS)
        wall[top : top + picture.height, left : left + picture.width] = np.asarray(picture)
    axes.imshow(wall, aspect="equal", interpolation="antialiased")
    axes.set_xticks([(n + 0.5) * TILE_PX for n in range(len(amounts))], [f"{amount:g}" for amount in amounts])
    axes.set_yticks([])
    axes.tick_params(length=0, labelsize=8)
    axes.set_frame_on(False)
    axes.set_title(TITLES[rows[0]["transform"]], fontsize=11)


def _draw_curves(axes: Axes, rows: Rows, images: Sequence[str], name: str) -> None:
    """A column of the table against the amount, a curve per image."""
    for number, image in enumerate(images):
        points = [row for row in rows if row["image_id"] == image]
        values = [np.nan if row[name] is None else row[name] for row in points]
        amounts = [row["amount"] for row in points]
        axes.plot(amounts, values, color=COLOURS[number], linewidth=1.3, marker=".", markersize=4)
    axes.set_ylim(0, 1 if name == "probability" else None)
    axes.set_ylabel(name.replace("_", " "), fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="#dddddd", linewidth=0.6)


def _equalize_heights(grid: Any) -> None:  # noqa: ANN401 - numpy's array of axes
    """Give all charts of distances one scale, so that layers can be compared."""
    top = max(axes.get_ylim()[1] for axes in grid.ravel())
    for axes in grid.ravel():
        axes.set_ylim(0, top)


def _draw_legend(figure: Figure, rows: Rows, images: Sequence[str], more: int) -> None:
    names = {row["image_id"]: row["class_name"] or f"class {row['class_index']}" for row in rows}
    handles = [figure.axes[-1].plot([], [], color=COLOURS[n])[0] for n in range(len(images))]
    labels = [canvas.escape(f"{image}: {names[image]}") for image in images]
    title = f"{more} more image{'' if more == 1 else 's'} in the table" if more else None
    figure.legend(handles, labels, loc="outside lower center", fontsize=8, frameon=False, ncols=2, title=title)
