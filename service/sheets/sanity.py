"""The sheet of a sanity run. Takes a published run, gives one picture: similarity curves by layer, and projections by stage."""

from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from service.query import reading
from service.query.catalog import PublishedRun
from service.query.findings import Finding, findings
from service.query.sanity import METHODS, METRICS, Curves, curves
from service.query.sanity_units import CheckedUnit, alike, spread
from service.sheets import canvas
from workers.host.log import one_line
from workers.store.tables.sanity import SANITY

WHITE, INK, GROUND = (255, 255, 255), (20, 20, 20), (128, 128, 128)
COLOURS = {
    "deconvnet": "#0072b2",
    "guided_backprop": "#d55e00",
    "gradient": "#009e73",
}  # distinct to colour-blind readers
TILE_PX, LABEL_PX, MARGIN_PX = 112, 13, 16
LARGEST_UNITS = 8
DPI = 100
TITLES = {
    "cascading": "random weights from the unit's layer down to the named layer",
    "independent": "random weights in the named layer only",
}
KEY = (
    "lines: medians and quartiles over units and random networks; "
    "dotted: floor (other channels of the trained network, at the same location)\n"
    "below each picture: rank correlation of signed values · SSIM"
)


def draw(run: PublishedRun) -> Image.Image:
    """Adebayo et al. 2018, Figures 2 and 4: curves of similarity by stage, and a row of pictures per unit and method."""
    rows = findings(run)
    charts = _draw_charts(run.run, curves(row.values for row in rows))
    units = spread(rows, LARGEST_UNITS)
    width = max(charts.width, *(_width(unit) for unit in units))
    tops = [charts.height + sum(_height(unit) for unit in units[:n]) for n in range(len(units) + 1)]
    page = Image.new("RGB", (width, tops[-1] + MARGIN_PX), WHITE)
    page.paste(charts, (0, 0))
    for unit, top in zip(units, tops, strict=False):
        _draw_unit(page, top, run, unit)
    return page


def _draw_charts(name: str, layers: Sequence[Curves]) -> Image.Image:
    """A row of charts per layer, upper layers first; a column per measure of similarity."""
    from matplotlib.figure import Figure

    figure = Figure((12.6, 1.1 + 2.5 * len(layers)), DPI, layout="constrained")
    figure.suptitle(
        f"{name}: similarity to the trained network's projection, {TITLES[layers[0].modes[0]]}\n{KEY}", fontsize=9
    )
    grid = figure.subplots(len(layers), len(METRICS), squeeze=False, sharey=True)
    for row, layer in zip(grid, reversed(layers), strict=True):
        for axes, (metric, title) in zip(row, METRICS.items(), strict=True):
            axes.set_title(f"{layer.layer}, {layer.units} units\n{title}", fontsize=8)
            _draw_curves(axes, layer, metric)
    grid[0, 0].legend(fontsize=7, frameon=False)
    return canvas.rasterize(figure)


def _draw_curves(axes: Any, layer: Curves, metric: str) -> None:  # noqa: ANN401 - matplotlib's axes
    mode = layer.modes[0]
    for method, label in METHODS.items():
        points = [(n, p) for n, p in enumerate(layer.points[metric, mode, method]) if p.median is not None]
        at = [n for n, _ in points]
        axes.plot(at, [p.median for _, p in points], color=COLOURS[method], label=label, marker="o", markersize=3)
        axes.fill_between(
            at, [p.low for _, p in points], [p.high for _, p in points], color=COLOURS[method], alpha=0.15
        )
        floor = layer.floors[metric, method].median
        if floor is not None:
            axes.axhline(floor, color=COLOURS[method], linestyle=":", linewidth=1)
    axes.set_xticks(range(len(layer.stages) + 1), ["trained", *layer.stages], fontsize=7, rotation=20, ha="right")
    axes.tick_params(axis="y", labelsize=7)
    axes.grid(alpha=0.25)


def _draw_unit(page: Image.Image, top: int, run: PublishedRun, unit: CheckedUnit) -> None:
    """A unit's patch and projections: a row per method, a column per stage."""
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(LABEL_PX)
    pen.text((MARGIN_PX, top), one_line(unit.title), INK, font)
    head = top + LABEL_PX + 8
    for column, name in enumerate(["patch", "trained", *unit.stages]):
        pen.text((_left(column), head), canvas.shorten(name, TILE_PX, font), INK, font)
    for line, (method, cells) in enumerate(unit.lines.items()):
        at = head + LABEL_PX + 6 + line * (TILE_PX + LABEL_PX + 6)
        if not line:
            _draw_tile(page, (_left(0), at), run, unit.patch, "patch")
        pen.text((_left(0), at + TILE_PX + 1), method.replace("_", " "), INK, font)
        for column, cell in enumerate(cells, 1):
            _draw_tile(page, (_left(column), at), run, cell, "projection")
            pen.text((_left(column), at + TILE_PX + 1), alike(cell.values) if cell else "none", INK, font)


def _draw_tile(page: Image.Image, at: tuple[int, int], run: PublishedRun, cell: Finding | None, column: str) -> None:
    """A picture scaled to a tile, on mid-grey; enlarged without interpolation."""
    ground = Image.new("RGB", (TILE_PX, TILE_PX), GROUND)
    if cell is not None and column in cell.pictures:
        picture = canvas.decode(reading.picture(run, SANITY, column, cell.number))
        scale = TILE_PX / max(picture.size)
        filter_ = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
        picture = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), filter_)
        ground.paste(picture, ((TILE_PX - picture.width) // 2, (TILE_PX - picture.height) // 2))
    page.paste(ground, at)


def _left(column: int) -> int:
    return MARGIN_PX + column * (TILE_PX + 6)


def _width(unit: CheckedUnit) -> int:
    return _left(len(unit.stages) + 2) + MARGIN_PX


def _height(unit: CheckedUnit) -> int:
    return 2 * (LABEL_PX + 8) + len(unit.lines) * (TILE_PX + LABEL_PX + 6) + MARGIN_PX
