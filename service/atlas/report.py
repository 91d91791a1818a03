"""A run as one file to mail. Takes a published run, gives a page of HTML that holds its style and every picture in itself."""

import base64
import io
from collections.abc import Iterator, Sequence
from typing import Any

from service.atlas import render
from service.atlas.atlas import Atlas
from service.atlas.pages import parts, sanity
from service.atlas.pages.parts import SAYS
from service.atlas.pictures import Picture, Pictures
from service.query.catalog import PublishedRun
from service.query.findings import PANELS, TABLE_OF, Finding, findings
from service.query.layers import Choice, LayerTables
from service.query.sanity import METHODS
from service.query.sanity_units import spread
from service.sheets.boards import BOARDS

WALL_PX = 204
LARGEST_UNITS = 12  # of a randomisation check
LARGEST_ROWS = 40  # of another instrument's run but for filters, whose rows are small
IN_THE_REPORT = {
    "occlude": PANELS,
    "invert": ("original", "inversion"),
    "filters": ("kernel",),
}
DRAWN = {kind: BOARDS[kind] for kind in ("evolve", "invariance", "correspondence")}


def report(atlas: Atlas, run: PublishedRun, channels: int) -> str:
    """The page.

    Args:
        atlas: the atlas of the run's root.
        run: the run.
        channels: channels shown of each layer of a scan, the living ones that most of one label drive; by number where
            the corpus has no labels.
    """
    found = findings(run) if run.job in {*IN_THE_REPORT, "sanity"} else ()  # a figure reads its own rows
    shown = found if run.job == "filters" else found[:LARGEST_ROWS] if run.job in IN_THE_REPORT else ()
    page = {
        "run": parts.of_run(run),
        "title": run.run,
        "rejects_by_reason": run.rejects_by_reason,
        "says": [SAYS["patch"], SAYS["projection"]] if run.job == "scan" else [SAYS[run.job]],
        "style": render.style(),
        "layers": list(_layers(atlas, run, channels)) if run.job == "scan" else [],
        "found": list(_found(Pictures(atlas), shown)),
        "more": _rows(run) - len(shown),
        "figure": _inside(_figure(run)) if run.job in DRAWN else None,
        **(_checked(Pictures(atlas), found) if run.job == "sanity" else {}),
    }
    return render.page("report.html", page=page)


def _rows(run: PublishedRun) -> int:
    """Rows of an instrument's table, as the run's manifest has it; 0 for a scan, which has none."""
    return sum(part.rows for part in run.tables[TABLE_OF[run.job].name]) if run.job in TABLE_OF else 0


def _figure(run: PublishedRun) -> Picture:
    """A run whose rows say most together, as one figure."""
    buffer = io.BytesIO()
    DRAWN[run.job](run).save(buffer, "PNG")
    return Picture(buffer.getvalue(), "image/png")


def _layers(atlas: Atlas, run: PublishedRun, count: int) -> Iterator[dict[str, Any]]:
    pictures = Pictures(atlas)
    for about in run.layers:
        tables = atlas.layer(run, about.name)
        shown = [
            vars(each)
            | {
                kind: _inside(pictures.drawn_wall(run, about.name, each.channel, kind, WALL_PX))
                for kind in ("projection", "patch")
            }
            for each in _first(tables, count)
        ]
        yield parts.of_layer(run, about) | parts.of_state(atlas, run, about) | {"shown": shown}


def _first(tables: LayerTables, count: int) -> tuple[Any, ...]:
    return tables.chosen(Choice("purity", dead=False))[:count] or tables.channels[:count]


def _found(pictures: Pictures, rows: Sequence[Finding]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield row.values | {"pictures": dict(_pictures(pictures, row))}


def _checked(pictures: Pictures, rows: Sequence[Finding]) -> dict[str, Any]:
    """The randomisation check: all curves, some units."""

    def inside(row: Finding, column: str) -> str:
        return _inside(pictures.of_row(row.run, row.number, column))

    units = [sanity.of_unit(unit, inside) for unit in spread(rows, LARGEST_UNITS)]
    return {"curves": sanity.all_curves(rows), "units": units, "methods": METHODS}


def _pictures(pictures: Pictures, row: Finding) -> Iterator[tuple[str, str]]:
    for name in IN_THE_REPORT[row.run.job]:
        if name in row.pictures:
            yield name, _inside(pictures.of_row(row.run, row.number, name))


def _inside(picture: Picture) -> str:
    """A picture as a URL that holds it."""
    return f"data:{picture.media};base64,{base64.b64encode(picture.data).decode()}"
