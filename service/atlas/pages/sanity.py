"""Pages about the randomisation check. Takes rows of its table, gives plain values: curves as figures, units stage by stage."""

from collections.abc import Callable, Sequence
from typing import Any

from service.atlas import links
from service.atlas.pages.parts import begun
from service.query.catalog import PublishedRun
from service.query.findings import Finding
from service.query.sanity import METHODS, METRICS, Curves, Point, curves
from service.query.sanity_units import Unit, alike, units

SHOWN = 12  # units on a page
WIDTH, HEIGHT = 320.0, 100.0  # of the figure of some curves
LABEL = 15  # letters of a stage's name below a figure
LOWEST = -1.0  # of any similarity
GRID = 0.25


def of_run(found: PublishedRun, rows: Sequence[Finding], start: int) -> dict[str, Any]:
    """The curves of each layer, the top one first, and some units."""
    every = units(rows)
    start = begun(start, len(every), SHOWN)
    shown = every[start : start + SHOWN]
    return {
        "total": len(every),
        "first": start + 1,
        "last": start + len(shown),
        "previous": links.run(found, max(0, start - SHOWN)) if start else None,
        "next": links.run(found, start + SHOWN) if start + SHOWN < len(every) else None,
        "layers": all_curves(rows),
        "units": [of_unit(each) for each in shown],
        "methods": METHODS,
        "cascade": any(unit.cascade for unit in every),
    }


def all_curves(rows: Sequence[Finding]) -> list[dict[str, Any]]:
    """The curves of each layer, the top one first."""
    return [of_curves(each) for each in reversed(curves(row.values for row in rows))]


def of_row(rows: Sequence[Finding], number: int) -> dict[str, Any]:
    """The unit that a row belongs to, its curves, and its neighbours."""
    every = units(rows)
    at = next(n for n, unit in enumerate(every) if any(row.number == number for row in unit.every))
    unit, run = every[at], rows[0].run
    [about] = curves(row.values for row in unit.every)
    return {
        "title": unit.title,
        "unit": of_unit(unit),
        "layers": [of_curves(about)],
        "rows": [row.values for row in unit.every],
        "methods": METHODS,
        "previous": links.row(run, every[at - 1].every[0].number) if at else None,
        "next": links.row(run, every[at + 1].every[0].number) if at + 1 < len(every) else None,
    }


def linked(row: Finding, column: str) -> str:
    """Where a picture of a row is."""
    return links.picture(row.run, row.number, column)


def of_unit(unit: Unit, picture: Callable[[Finding, str], str] = linked) -> dict[str, Any]:
    """A unit as a table: a line per method, a cell per stage. `picture` gives what stands for a row's picture."""
    patch, run = unit.patch, unit.every[0].run
    return {
        "title": unit.title,
        "href": links.row(run, unit.every[0].number),
        "image_href": links.image(run, unit.first["image_id"]),
        "patch": picture(patch, "patch") if patch else None,
        "stages": ["trained", *unit.stages],
        "lines": {method: [_cell(row, picture) for row in cells] for method, cells in unit.lines.items()},
    }


def of_curves(about: Curves) -> dict[str, Any]:
    """A layer's curves as points of figures: one for each mode and metric."""
    return {
        "name": about.layer,
        "stages": ["trained", *about.stages],
        "labels": ["trained", *(name if len(name) <= LABEL else f"…{name[1 - LABEL :]}" for name in about.stages)],
        "units": about.units,
        "seeds": list(about.seeds),
        "blank": about.blank,
        "tall": round(130 + 3.6 * min(LABEL, max(map(len, ["trained", *about.stages])))),
        "figures": [_figure(about, mode, metric) for mode in about.modes for metric in METRICS],
    }


def _figure(about: Curves, mode: str, metric: str) -> dict[str, Any]:
    by_method = {method: about.points[metric, mode, method] for method in METHODS}
    floors = {method: about.floors[metric, method].median for method in METHODS}
    lows = [p.low for points in by_method.values() for p in points if p.low is not None]
    lowest = max(LOWEST, GRID * (min([0.0, *lows, *(f for f in floors.values() if f is not None)]) // GRID))
    high = {name: (1 - value) / (1 - lowest) * HEIGHT for name, value in floors.items() if value is not None}
    ticks = [1 - 0.5 * n for n in range(int((1 - lowest) / 0.5) + 1)]
    return {
        "mode": mode,
        "metric": METRICS[metric],
        "ticks": [{"value": tick, "y": round((1 - tick) / (1 - lowest) * HEIGHT, 1)} for tick in ticks],
        "at": [round(x, 1) for x in _at(len(about.stages) + 1)],
        "lines": {method: _line(points, lowest) for method, points in by_method.items()},
        "bands": {method: _band(points, lowest) for method, points in by_method.items()},
        "floors": {method: round(y, 1) for method, y in high.items()},
        "values": {method: [p.median for p in points] for method, points in by_method.items()},
        "floor_values": floors,
    }


def _at(count: int) -> list[float]:
    return [WIDTH * n / max(1, count - 1) for n in range(count)]


def _line(points: Sequence[Point], lowest: float) -> str:
    return _points([p.median for p in points], lowest)


def _band(points: Sequence[Point], lowest: float) -> str:
    """The outline between the quartiles, to the right and back."""
    there, back = _points([p.high for p in points], lowest), _points([p.low for p in points], lowest)
    return " ".join([*there.split(), *reversed(back.split())])


def _points(values: Sequence[float | None], lowest: float) -> str:
    pairs = zip(_at(len(values)), values, strict=True)
    return " ".join(f"{x:.1f},{(1 - max(lowest, v)) / (1 - lowest) * HEIGHT:.1f}" for x, v in pairs if v is not None)


def _cell(row: Finding | None, picture: Callable[[Finding, str], str]) -> dict[str, Any] | None:
    if row is None:
        return None
    shown = picture(row, "projection") if "projection" in row.pictures else None
    told = {name: row.values[name] for name in ("status", "rank_correlation", "ssim")}
    return told | {"says": alike(row.values), "picture": shown}
