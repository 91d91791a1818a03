"""The sheets of the instruments. Takes a published run of one, gives one picture."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow.dataset as ds
from PIL import Image, ImageDraw, ImageFont

from service.query.catalog import PublishedRun
from service.query.findings import PANELS
from service.sheets import canvas, figures, filmstrip, sanity
from workers.errors import DamagedRun
from workers.host.log import one_line

WHITE, INK = (255, 255, 255), (20, 20, 20)
LABEL_PX, MARGIN_PX = 16, 16
LARGEST_ROWS = 40
KERNELS_WIDE = 12
GROUND = 128
ERROR_LINE = "error: squared distance of features over their squared norm"
INVERSION_LINE = f"what each layer still knows of an image; {ERROR_LINE}"


def occlusions(run: PublishedRun) -> Image.Image:
    """Zeiler & Fergus 2014, Figure 7: one row per image, its five panels."""
    rows = _rows(run, "occlusions")[:LARGEST_ROWS]
    strips = [[canvas.opened(row[name]["bytes"]) for name in PANELS] for row in rows]
    wide, tall = max(map(_width, strips)), max(panel.height for strip in strips for panel in strip)
    band = tall + LABEL_PX + 8
    page = Image.new("RGB", (wide + 2 * MARGIN_PX, len(rows) * band + 2 * MARGIN_PX), WHITE)
    font = ImageFont.load_default(LABEL_PX)
    for number, (row, strip) in enumerate(zip(rows, strips, strict=True)):
        top, left = MARGIN_PX + number * band, MARGIN_PX
        ImageDraw.Draw(page).text((left, top), _caption(row), INK, font)
        for panel in strip:
            page.paste(panel, (left, top + LABEL_PX + 8))
            left += panel.width
    return page


def filters(run: PublishedRun) -> Image.Image:
    """Zeiler & Fergus 2014, Figure 6: the first kernels of each network, and below them their frequencies."""
    from matplotlib.figure import Figure

    rows = _rows(run, "filters")
    models = sorted({row["model_index"] for row in rows})
    lines = max(-(-sum(row["model_index"] == model for row in rows) // KERNELS_WIDE) for model in models)
    tall = max(1.2, lines * 6.0 / KERNELS_WIDE) + 0.9  # inches: square kernels, and three lines of title
    figure = Figure((6.4 * len(models), tall + 2.4), 100, layout="constrained")
    grids = figure.subplots(2, len(models), squeeze=False, height_ratios=(tall, 2.4))
    for column, model in enumerate(models):
        mine = [row for row in rows if row["model_index"] == model]
        _kernels(grids[0, column], mine)
        _frequencies(grids[1, column], mine)
    return canvas.plotted(figure)


def inversions(run: PublishedRun) -> Image.Image:
    """Mahendran & Vedaldi 2015, Figures 6 and 7: a row per image, the original and then each layer; restarts below each other."""
    rows = _rows(run, "inversions")
    layers = dict(sorted({(row["layer_index"], row["layer"]) for row in rows}))
    every = sorted({(row["image_index"], row["restart"]) for row in rows})
    lines, more = every[:LARGEST_ROWS], len(every) - LARGEST_ROWS
    side = canvas.opened(rows[0]["original"]["bytes"]).width
    wide, tall = side + 4, side + LABEL_PX + 6
    size = (2 * MARGIN_PX + (len(layers) + 1) * wide, 2 * MARGIN_PX + len(lines) * tall + 2 * LABEL_PX + 12)
    page, font = Image.new("RGB", size, WHITE), ImageFont.load_default(12)
    draw, head = ImageDraw.Draw(page), MARGIN_PX + LABEL_PX + 4
    draw.text((MARGIN_PX, MARGIN_PX), _title(run.run, more, size[0] - 2 * MARGIN_PX, font), INK, font)
    for column, title in enumerate(["original", *layers.values()]):
        draw.text((MARGIN_PX + column * wide, head), canvas.fitting(title, side, font), INK, font)
    alone = all(row["restart"] == 0 for row in rows)
    columns, tops = list(layers), {line: head + LABEL_PX + 6 + n * tall for n, line in enumerate(lines)}
    for row in rows:
        top = tops.get((row["image_index"], row["restart"]))
        if top is not None:
            left = MARGIN_PX + (columns.index(row["layer_index"]) + 1) * wide
            _tile(page, (left, top), row["inversion"], _told(row, alone=alone), side)
            if row["restart"] == 0 and row["layer_index"] == columns[0]:
                _tile(page, (MARGIN_PX, top), row["original"], row["image_id"], side)
    return page


def _title(run: str, more: int, width: int, font: Any) -> str:  # noqa: ANN401 - Pillow's fonts
    """What a sheet of inversions shows, as much of it as fits."""
    cut = f" · {more} more rows in the table" if more > 0 else ""
    wanted = (f"{run}: {INVERSION_LINE}{cut}", f"{run}: {ERROR_LINE}{cut}", f"{run}: inversions{cut}", f"{run}{cut}")
    return next((line for line in wanted if font.getlength(line) <= width), canvas.fitting(run, width, font))


def _tile(page: Image.Image, at: tuple[int, int], picture: Mapping[str, Any] | None, told: str, side: int) -> None:
    """A picture, or grey where there is none, and a line below it."""
    font = ImageFont.load_default(12)
    page.paste(canvas.opened(picture["bytes"]) if picture else Image.new("RGB", (side, side), (GROUND,) * 3), at)
    ImageDraw.Draw(page).text((at[0], at[1] + side + 2), canvas.fitting(told, side, font), INK, font)


def _told(row: Mapping[str, Any], *, alone: bool) -> str:
    if row["status"] == "blank":
        return "blank: all features are 0"
    number = "" if alone else f" · restart {row['restart']}"
    error = "none" if row["error"] is None else f"{row['error']:.3g}"
    return f"error {error}{number}" + ("" if row["status"] == "ok" else f" · {row['status']}")


BOARDS: Mapping[str, Callable[[PublishedRun], Image.Image]] = {
    "occlude": occlusions,
    "invert": inversions,
    "sanity": sanity.sanity,
    "filters": filters,
    "evolve": filmstrip.board,
    **figures.FIGURES,
}


def _kernels(axes: Any, rows: list[dict[str, Any]]) -> None:  # noqa: ANN401 - matplotlib's axes
    first, dead = rows[0], sum(row["dead"] for row in rows)
    height, width = first["height"], first["width"]
    down = -(-len(rows) // KERNELS_WIDE)
    wall = np.full((down * (height + 1) + 1, KERNELS_WIDE * (width + 1) + 1, 3), GROUND, np.uint8)
    for number, row in enumerate(rows):
        top, left = number // KERNELS_WIDE * (height + 1) + 1, number % KERNELS_WIDE * (width + 1) + 1
        wall[top : top + height, left : left + width] = np.asarray(canvas.opened(row["kernel"]["bytes"]))
    axes.imshow(wall, interpolation="nearest")
    axes.set_anchor("N")
    axes.set_axis_off()
    copies = sum(row["duplicate_of"] is not None for row in rows)
    stride = first["stride_y"] if first["stride_y"] == first["stride_x"] else (first["stride_y"], first["stride_x"])
    axes.set_title(
        f"{first['model'].partition('?')[0]}\n{first['layer']}: {len(rows)} kernels of {height} x {width}, stride {stride}\n"
        f"aliasing {first['layer_aliasing_share']:.0%} of the energy, {dead} dead, {copies} duplicates; each scaled by itself",
        fontsize=10,
    )


def _frequencies(axes: Any, rows: list[dict[str, Any]]) -> None:  # noqa: ANN401 - matplotlib's axes
    known = [row["peak_frequency"] for row in rows if row["peak_frequency"] is not None]
    axes.hist(known, bins=np.linspace(0, 0.5 * 2**0.5, 29), color="#4c72b0")
    carried = 0.5 / rows[0]["stride_y"]
    axes.axvline(carried, color="#c44e52", linewidth=1.5, label=f"stride {rows[0]['stride_y']} carries {carried:g}")
    axes.set_xlabel("peak frequency, cycles per pixel")
    axes.set_ylabel("kernels")
    axes.legend(frameon=False, fontsize=8)


def _caption(row: Mapping[str, Any]) -> str:
    names = {key: row[f"{key}_name"] or f"class {row[f'{key}_index']}" for key in ("class", "predicted")}
    followed = f"{names['class']} at {row['probability']:.0%}"
    return one_line(f"{row['image_id']} · {followed}; most probable: {names['predicted']}")


def _rows(run: PublishedRun, table: str) -> list[dict[str, Any]]:
    files = [run.root.path(part.path) for part in run.tables[table]]
    try:
        found = ds.dataset(files, filesystem=run.root.filesystem, format="parquet").to_table().to_pylist()
    except FileNotFoundError as error:
        raise DamagedRun(f"run {run.run!r}: a file of its table {table!r} is missing: {error}") from error
    return [dict(row) for row in found]


def _width(strip: list[Image.Image]) -> int:
    return sum(panel.width for panel in strip)
