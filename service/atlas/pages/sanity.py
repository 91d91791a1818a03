"""Pages about the randomisation check. Takes rows of its table, gives curves as figures and units stage by stage."""

from collections.abc import Callable, Sequence

from service.atlas import links
from service.atlas.pages.values import Value
from service.query.findings import Finding
from service.query.sanity import METHODS, METRICS, Curves, Point, curves
from service.query.sanity_units import CheckedUnit, alike

WIDTH, HEIGHT = 320.0, 100.0  # of a figure
LABEL = 15  # letters of a stage's name that fit below a figure
LOWEST = -1.0  # smallest possible similarity
GRID = 0.25


class Tick(Value):
    """A value on an axis, and its height in the figure."""

    value: float
    y: float


class Figure(Value):
    """Curves of one mode and metric: each method's line, band and floor as points and heights, and its values."""

    mode: str
    metric: str
    ticks: tuple[Tick, ...]
    at: tuple[float, ...]
    lines: dict[str, str]
    bands: dict[str, str]
    floors: dict[str, float]
    values: dict[str, tuple[float | None, ...]]
    floor_values: dict[str, float | None]


class LayerCurves(Value):
    """A layer's curves; `labels` are its stages, shortened to fit, and `tall` is the height of a figure with its labels."""

    name: str
    stages: tuple[str, ...]
    labels: tuple[str, ...]
    units: int
    seeds: tuple[int, ...]
    blank: int
    tall: int
    figures: tuple[Figure, ...]


class StageCell(Value):
    """A unit's projection at a stage, and its similarity to the trained network's projection."""

    status: str
    rank_correlation: float | None
    ssim: float | None
    says: str
    picture: str | None


class UnitTable(Value):
    """A unit: for each method, its projections stage by stage."""

    title: str
    href: str
    image_href: str
    patch: str | None
    stages: tuple[str, ...]
    lines: dict[str, tuple[StageCell | None, ...]]


def all_curves(rows: Sequence[Finding]) -> tuple[LayerCurves, ...]:
    """The curves of each layer, the top layer first."""
    return tuple(of_curves(layer) for layer in reversed(curves(row.values for row in rows)))


def unit_of_row(every: Sequence[CheckedUnit], number: int) -> int:
    """The index of the unit to which a row belongs."""
    return next(n for n, unit in enumerate(every) if any(row.number == number for row in unit.every))


def curves_of_unit(unit: CheckedUnit) -> LayerCurves:
    """The curves of one unit."""
    [about] = curves(row.values for row in unit.every)
    return of_curves(about)


def linked(row: Finding, column: str) -> str:
    """The address of a picture of a row."""
    return links.picture(row.run, row.number, column)


def of_unit(unit: CheckedUnit, picture: Callable[[Finding, str], str] = linked) -> UnitTable:
    """A unit as a table: a line per method, a cell per stage. `picture` gives the address of a row's picture."""
    patch, run = unit.patch, unit.every[0].run
    return UnitTable(
        title=unit.title,
        href=links.row(run, unit.every[0].number),
        image_href=links.image(run, unit.first["image_id"]),
        patch=picture(patch, "patch") if patch else None,
        stages=("trained", *unit.stages),
        lines={method: tuple(_cell(row, picture) for row in cells) for method, cells in unit.lines.items()},
    )


def of_curves(about: Curves) -> LayerCurves:
    """A layer's curves as the points of figures, one figure for each mode and metric."""
    return LayerCurves(
        name=about.layer,
        stages=("trained", *about.stages),
        labels=("trained", *(name if len(name) <= LABEL else f"…{name[1 - LABEL :]}" for name in about.stages)),
        units=about.units,
        seeds=about.seeds,
        blank=about.blank,
        tall=round(130 + 3.6 * min(LABEL, max(map(len, ["trained", *about.stages])))),
        figures=tuple(_figure(about, mode, metric) for mode in about.modes for metric in METRICS),
    )


def _figure(about: Curves, mode: str, metric: str) -> Figure:
    by_method = {method: about.points[metric, mode, method] for method in METHODS}
    floors = {method: about.floors[metric, method].median for method in METHODS}
    lows = [p.low for points in by_method.values() for p in points if p.low is not None]
    lowest = max(LOWEST, GRID * (min([0.0, *lows, *(f for f in floors.values() if f is not None)]) // GRID))
    high = {name: (1 - value) / (1 - lowest) * HEIGHT for name, value in floors.items() if value is not None}
    ticks = [1 - 0.5 * n for n in range(int((1 - lowest) / 0.5) + 1)]
    return Figure(
        mode=mode,
        metric=METRICS[metric],
        ticks=tuple(Tick(value=tick, y=round((1 - tick) / (1 - lowest) * HEIGHT, 1)) for tick in ticks),
        at=tuple(round(x, 1) for x in _at(len(about.stages) + 1)),
        lines={method: _line(points, lowest) for method, points in by_method.items()},
        bands={method: _band(points, lowest) for method, points in by_method.items()},
        floors={method: round(y, 1) for method, y in high.items()},
        values={method: tuple(p.median for p in points) for method, points in by_method.items()},
        floor_values=floors,
    )


def _at(count: int) -> list[float]:
    return [WIDTH * n / max(1, count - 1) for n in range(count)]


def _line(points: Sequence[Point], lowest: float) -> str:
    return _points([p.median for p in points], lowest)


def _band(points: Sequence[Point], lowest: float) -> str:
    """The outline of the area between the quartiles: its upper edge to the right, its lower edge back."""
    upper, lower = _points([p.high for p in points], lowest), _points([p.low for p in points], lowest)
    return " ".join([*upper.split(), *reversed(lower.split())])


def _points(values: Sequence[float | None], lowest: float) -> str:
    pairs = zip(_at(len(values)), values, strict=True)
    return " ".join(f"{x:.1f},{(1 - max(lowest, v)) / (1 - lowest) * HEIGHT:.1f}" for x, v in pairs if v is not None)


def _cell(row: Finding | None, picture: Callable[[Finding, str], str]) -> StageCell | None:
    if row is None:
        return None
    return StageCell(
        status=row.values["status"],
        rank_correlation=row.values["rank_correlation"],
        ssim=row.values["ssim"],
        says=alike(row.values),
        picture=picture(row, "projection") if "projection" in row.pictures else None,
    )
