"""The sheet of a filters run. Takes a published run, gives one picture: first-layer kernels and their frequencies by network."""

from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from service.query import naming
from service.query.catalog import PublishedRun
from service.query.reading import read
from service.sheets import canvas
from workers.store.tables.filters import FILTERS

KERNELS_WIDE = 12
GROUND = 128
HISTOGRAM_INCHES = 2.4
COLUMN_INCHES = 6.4


def draw(run: PublishedRun) -> Image.Image:
    """Zeiler & Fergus 2014, Figure 6: a column per network with its first-layer kernels, and their frequencies below."""
    from matplotlib.figure import Figure

    rows = read(run, FILTERS, pc.scalar(True), FILTERS.schema.names).to_pylist()
    models = sorted({row["model_index"] for row in rows})
    kernels = [[row for row in rows if row["model_index"] == model] for model in models]
    lines = max(-(-len(column) // KERNELS_WIDE) for column in kernels)
    wall_inches = max(1.2, lines * 6.0 / KERNELS_WIDE) + 0.9  # square kernels, and three lines of title
    size = COLUMN_INCHES * len(models), wall_inches + HISTOGRAM_INCHES
    figure = Figure(size, 100, layout="constrained")
    grid = figure.subplots(2, len(models), squeeze=False, height_ratios=(wall_inches, HISTOGRAM_INCHES))
    for number, column in enumerate(kernels):
        _draw_kernels(grid[0, number], column)
        _draw_frequencies(grid[1, number], column)
    return canvas.rasterize(figure)


def _draw_kernels(axes: Any, rows: list[dict[str, Any]]) -> None:  # noqa: ANN401 - matplotlib's axes
    axes.imshow(_wall(rows), interpolation="nearest")
    axes.set_anchor("N")
    axes.set_axis_off()
    axes.set_title(_title(rows), fontsize=10)


def _wall(rows: list[dict[str, Any]]) -> NDArray[np.uint8]:
    """All kernels in rows of KERNELS_WIDE, with grey lines between them."""
    height, width = rows[0]["height"], rows[0]["width"]
    lines = -(-len(rows) // KERNELS_WIDE)
    wall = np.full((lines * (height + 1) + 1, KERNELS_WIDE * (width + 1) + 1, 3), GROUND, np.uint8)
    for number, row in enumerate(rows):
        top, left = number // KERNELS_WIDE * (height + 1) + 1, number % KERNELS_WIDE * (width + 1) + 1
        wall[top : top + height, left : left + width] = np.asarray(canvas.decode(row["kernel"]["bytes"]))
    return wall


def _title(rows: list[dict[str, Any]]) -> str:
    first, dead = rows[0], sum(row["dead"] for row in rows)
    duplicates = sum(row["duplicate_of"] is not None for row in rows)
    stride = first["stride_y"] if first["stride_y"] == first["stride_x"] else (first["stride_y"], first["stride_x"])
    size = f"{first['height']} x {first['width']}"
    return (
        f"{naming.model_name(first['model'])}\n{first['layer']}: {len(rows)} kernels of {size}, stride {stride}\n"
        f"aliasing {100 * first['layer_aliasing_share']:.0f} % of the energy, "
        f"{dead} dead, {duplicates} duplicate{'' if duplicates == 1 else 's'}; each kernel is scaled separately"
    )


def _draw_frequencies(axes: Any, rows: list[dict[str, Any]]) -> None:  # noqa: ANN401 - matplotlib's axes
    """A histogram of peak frequencies, with a line at the largest one that the stride can represent."""
    known = [row["peak_frequency"] for row in rows if row["peak_frequency"] is not None]
    axes.hist(known, bins=np.linspace(0, 0.5 * 2**0.5, 29), color="#4c72b0")
    limit = 0.5 / rows[0]["stride_y"]
    axes.axvline(limit, color="#c44e52", linewidth=1.5, label=f"limit of stride {rows[0]['stride_y']}: {limit:g}")
    axes.set_xlabel("peak frequency, cycles per pixel")
    axes.set_ylabel("kernels")
    axes.legend(frameon=False, fontsize=8)
