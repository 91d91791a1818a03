"""The sheet of the randomisation check. Takes a published run, gives one picture: curves of each layer, projections by stage."""

from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from service.query import reading
from service.query.catalog import PublishedRun
from service.query.findings import Finding, findings
from service.query.sanity import METHODS, METRICS, Curves, curves
from service.query.sanity_units import Unit, alike, spread
from service.sheets import canvas
from workers.host.log import one_line
from workers.store.tables.sanity import SANITY

WHITE, INK, GROUND = (255, 255, 255), (20, 20, 20), (128, 128, 128)
COLOURS = {"deconvnet": "#0072b2", "guided_backprop": "#d55e00", "gradient": "#009e73"}  # told apart by all eyes
TILE_PX, LABEL_PX, MARGIN_PX = 112, 13, 16
LARGEST_UNITS = 8
DPI = 100
TITLES = {
    "cascading": "random weights from the unit's own layer down to the one named",
    "independent": "random weights in the layer named alone",
}
KEY = (
    "lines: medians and quartiles over units and random networks; dotted, the floor: other channels at the same place, trained\n"
    "below each picture: rank correlation of signed values · SSIM"
)


def sanity(run: PublishedRun) -> Image.Image:
    """Adebayo et al. 2018, Figures 2 and 4: similarity by stage, and a row of pictures per unit and method."""
    rows = findings(run)
    drawn = _plots(run.run, curves(row.values for row in rows))
    shown = spread(rows, LARGEST_UNITS)
    wide = max(drawn.width, *(_width(unit) for unit in shown))
    tops = [drawn.height + sum(_height(unit) for unit in shown[:n]) for n in range(len(shown) + 1)]
    page = Image.new("RGB", (wide, tops[-1] + MARGIN_PX), WHITE)
    page.paste(drawn, (0, 0))
    for unit, top in zip(shown, tops, strict=False):
        _draw(page, top, run, unit)
    return page


def _plots(name: str, every: Sequence[Curves]) -> Image.Image:
    from matplotlib.figure import Figure

    figure = Figure((12.6, 1.1 + 2.5 * len(every)), DPI, layout="constrained")
    figure.suptitle(
        f"{name}: similarity to the trained network's projection, {TITLES[every[0].modes[0]]}\n{KEY}", fontsize=9
    )
    grid = figure.subplots(len(every), len(METRICS), squeeze=False, sharey=True)
    for row, about in zip(grid, reversed(every), strict=True):
        for axes, (metric, told) in zip(row, METRICS.items(), strict=True):
            axes.set_title(f"{about.layer}, {about.units} units\n{told}", fontsize=8)
            _plot(axes, about, metric)
    grid[0, 0].legend(fontsize=7, frameon=False)
    return canvas.plotted(figure)


def _plot(axes: Any, about: Curves, metric: str) -> None:  # noqa: ANN401 - matplotlib's axes
    mode = about.modes[0]
    for method, told in METHODS.items():
        points = [(n, p) for n, p in enumerate(about.points[metric, mode, method]) if p.median is not None]
        at = [n for n, _ in points]
        axes.plot(at, [p.median for _, p in points], color=COLOURS[method], label=told, marker="o", markersize=3)
        axes.fill_between(
            at, [p.low for _, p in points], [p.high for _, p in points], color=COLOURS[method], alpha=0.15
        )
        floor = about.floors[metric, method].median
        if floor is not None:
            axes.axhline(floor, color=COLOURS[method], linestyle=":", linewidth=1)
    axes.set_xticks(range(len(about.stages) + 1), ["trained", *about.stages], fontsize=7, rotation=20, ha="right")
    axes.tick_params(axis="y", labelsize=7)
    axes.grid(alpha=0.25)


def _draw(page: Image.Image, top: int, run: PublishedRun, unit: Unit) -> None:
    """A unit: its patch and columns of stages, a row per method."""
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(LABEL_PX)
    pen.text((MARGIN_PX, top), one_line(unit.title), INK, font)
    head = top + LABEL_PX + 8
    for column, name in enumerate(["patch", "trained", *unit.stages]):
        pen.text((_left(column), head), canvas.fitting(name, TILE_PX, font), INK, font)
    for line, (method, cells) in enumerate(unit.lines.items()):
        at = head + LABEL_PX + 6 + line * (TILE_PX + LABEL_PX + 6)
        if not line:
            _tile(page, (_left(0), at), run, unit.patch, "patch")
        pen.text((_left(0), at + TILE_PX + 1), method.replace("_", " "), INK, font)
        for column, cell in enumerate(cells, 1):
            _tile(page, (_left(column), at), run, cell, "projection")
            pen.text((_left(column), at + TILE_PX + 1), alike(cell.values) if cell else "none", INK, font)


def _tile(page: Image.Image, at: tuple[int, int], run: PublishedRun, cell: Finding | None, column: str) -> None:
    """A picture as large as a tile, on mid-grey; nearest pixels where it is small."""
    ground = Image.new("RGB", (TILE_PX, TILE_PX), GROUND)
    if cell is not None and column in cell.pictures:
        drawn = canvas.opened(reading.picture(run, SANITY, column, cell.number))
        scale = TILE_PX / max(drawn.size)
        how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
        drawn = drawn.resize((max(1, round(drawn.width * scale)), max(1, round(drawn.height * scale))), how)
        ground.paste(drawn, ((TILE_PX - drawn.width) // 2, (TILE_PX - drawn.height) // 2))
    page.paste(ground, at)


def _left(column: int) -> int:
    return MARGIN_PX + column * (TILE_PX + 6)


def _width(unit: Unit) -> int:
    return _left(len(unit.stages) + 2) + MARGIN_PX


def _height(unit: Unit) -> int:
    return 2 * (LABEL_PX + 8) + len(unit.lines) * (TILE_PX + LABEL_PX + 6) + MARGIN_PX
