"""The sheet of a correspondence run. Takes a published run, gives one picture: images with hidden parts, and bars by layer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from service.query.catalog import PublishedRun
from service.query.perturbations import BARS, layer_names
from service.query.reading import read
from service.sheets import canvas
from workers.store.tables.correspondence import CORRESPONDENCE

WIDE_INCHES = 14  # the legend of a wider figure fits on one line
BAR_WIDTH, BAR_STEP = 0.25, 0.27  # of the distance between parts

Rows = Sequence[dict[str, Any]]


def draw(run: PublishedRun) -> Image.Image:
    """Zeiler & Fergus 2014, Figure 6 and Table 1: images with each part hidden, and delta of each part by layer."""
    rows = read(run, CORRESPONDENCE, pc.scalar(True), CORRESPONDENCE.schema.names).to_pylist()
    layers, parts = layer_names(rows), sorted({row["part"] for row in rows})
    strips = [row for row in rows if row["picture"] and row["kind"] != "together"]
    width, heights = max(8.0, 1.1 * len(parts) * len(layers)), [*[1.0] * len(strips), 3.2]  # inches
    figure = Figure((width, sum(heights) + 0.25 * len(strips) + 1), 100, layout="constrained")
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    for number, row in enumerate(strips):
        _draw_strip(figure.add_subplot(grid[number]), row)
    charts = grid[len(strips)].subgridspec(1, len(layers)).subplots(sharey=True, squeeze=False)[0]
    for axes, layer in zip(charts, layers, strict=True):
        _draw_bars(axes, [row for row in rows if row["layer"] == layer], parts)
        axes.set_title(layer, fontsize=10)
    charts[0].set_ylabel("share of units whose\nsigns of change differ", fontsize=9)
    handles, labels = charts[0].get_legend_handles_labels()
    columns = 3 if width > WIDE_INCHES else 1
    figure.legend(handles, labels, loc="outside lower center", fontsize=8, frameon=False, ncols=columns)
    return canvas.rasterize(figure)


def _draw_strip(axes: Axes, row: dict[str, Any]) -> None:
    """Images with a box hidden, side by side."""
    axes.imshow(np.asarray(canvas.decode(row["picture"]["bytes"])))
    axes.set_axis_off()
    axes.set_anchor("W")
    title = row["part"] if row["kind"] == "part" else f"boxes as for {row['part']}, at random places"
    axes.set_title(canvas.escape(title), fontsize=9, loc="left", pad=2)


def _draw_bars(axes: Axes, rows: Rows, parts: Sequence[str]) -> None:
    """Delta of each part and kind, with its error."""
    known = [row for row in rows if row["delta"] is not None]
    kinds = [kind for kind in BARS if any(row["kind"] == kind for row in known)]
    if not known:
        empty = "fewer than two images: parts were left out"
        axes.text(0.5, 0.5, empty, transform=axes.transAxes, ha="center", va="center")
    for number, kind in enumerate(kinds):
        colour, label, error = BARS[kind]
        bars = [row for row in known if row["kind"] == kind]
        at = [parts.index(row["part"]) + (number - (len(kinds) - 1) / 2) * BAR_STEP for row in bars]
        errors, deltas = [row[error] or 0.0 for row in bars], [row["delta"] for row in bars]
        whiskers = {"elinewidth": 1, "capsize": 2}
        axes.bar(at, deltas, BAR_WIDTH, yerr=errors, color=colour, label=label, error_kw=whiskers)
    _label_parts(axes, parts)


def _label_parts(axes: Axes, parts: Sequence[str]) -> None:
    axes.set_xlim(-0.6, len(parts) - 0.4)
    rotation = 20 if len(parts) > 3 else 0
    axes.set_xticks(range(len(parts)), [canvas.escape(part) for part in parts], fontsize=8, rotation=rotation)
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
