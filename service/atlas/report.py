"""A run as one file to mail. Takes a published run, gives a page of HTML that holds its style and every picture in itself."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from service.atlas import render
from service.atlas.atlas import Atlas
from service.atlas.instruments.registry import INSTRUMENTS
from service.atlas.pages import parts, sanity
from service.atlas.pages.parts import SAYS
from service.atlas.pages.rows import Columns
from service.atlas.pages.sanity import LayerCurves, UnitTable
from service.atlas.pages.values import LayerState, RunCard, Value
from service.atlas.pictures import Picture, Pictures
from service.query.catalog import PublishedRun
from service.query.findings import TABLE_OF, Finding, findings
from service.query.layers import Channel, Choice, LayerTables
from service.query.sanity import METHODS
from service.query.sanity_units import spread
from service.sheets.boards import BOARDS

WALL_PX = 204
LARGEST_UNITS = 12  # of a randomisation check


@dataclass(frozen=True)
class ShownChannel(Channel):
    """A channel with its pictures in itself."""

    projection: str
    patch: str


class ShownLayer(LayerState):
    """A layer, and some of its channels."""

    shown: tuple[ShownChannel, ...]


class ShownRow(Columns):
    """A row of an instrument's table with its pictures in itself."""

    pictures: dict[str, str]


class Report(Value):
    """All that the page shows; `more` rows are left out, and `curves`, `units` and `methods` are of a randomisation check."""

    title: str
    run: RunCard
    rejects_by_reason: dict[str, int]
    says: tuple[str, ...]
    style: str
    layers: tuple[ShownLayer, ...]
    found: tuple[ShownRow, ...]
    more: int
    figure: str | None
    curves: tuple[LayerCurves, ...]
    units: tuple[UnitTable, ...]
    methods: dict[str, str]


def report(atlas: Atlas, run: PublishedRun, channels: int) -> str:
    """The page.

    Args:
        atlas: the atlas of the run's root.
        run: the run.
        channels: channels shown of each layer of a scan, the living ones that most of one label drive; by number where
            the corpus has no labels.
    """
    instrument = INSTRUMENTS.get(run.job)
    shows_rows, shows_units = (
        bool(instrument and instrument.report_pictures),
        bool(instrument and instrument.report_units),
    )
    rows = findings(run) if shows_rows or shows_units else ()  # a figure reads its own rows
    shown = rows[: instrument.report_rows] if instrument and shows_rows else ()
    pictures, checked = Pictures(atlas), rows if shows_units else ()
    page = Report(
        title=run.run,
        run=parts.of_run(run),
        rejects_by_reason=dict(run.rejects_by_reason),
        says=(instrument.note,) if instrument else (SAYS["patch"], SAYS["projection"]),
        style=render.style(),
        layers=tuple(_layers(atlas, run, channels)) if not instrument else (),
        found=tuple(_found(pictures, shown)),
        more=_rows(run) - len(shown),
        figure=_inside(_figure(run)) if instrument and instrument.report_figure else None,
        curves=sanity.all_curves(checked),
        units=_units(pictures, checked) if checked else (),
        methods=dict(METHODS),
    )
    return render.page("report.html", page=page)


def _rows(run: PublishedRun) -> int:
    """Rows of an instrument's table, as the run's manifest has it; 0 for a scan, which has none."""
    return sum(part.rows for part in run.tables[TABLE_OF[run.job].name]) if run.job in TABLE_OF else 0


def _figure(run: PublishedRun) -> Picture:
    """A run whose rows say most together, as one figure."""
    buffer = io.BytesIO()
    BOARDS[run.job](run).save(buffer, "PNG")
    return Picture(buffer.getvalue(), "image/png")


def _layers(atlas: Atlas, run: PublishedRun, count: int) -> Iterator[ShownLayer]:
    pictures = Pictures(atlas)
    for about in run.layers:
        shown = tuple(
            ShownChannel(
                **vars(each),
                projection=_inside(pictures.drawn_wall(run, about.name, each.channel, "projection", WALL_PX)),
                patch=_inside(pictures.drawn_wall(run, about.name, each.channel, "patch", WALL_PX)),
            )
            for each in _first(atlas.layer(run, about.name), count)
        )
        yield ShownLayer(**vars(parts.of_state(atlas, run, about)), shown=shown)


def _first(tables: LayerTables, count: int) -> tuple[Channel, ...]:
    return tables.chosen(Choice("purity", dead=False))[:count] or tables.channels[:count]


def _found(pictures: Pictures, rows: Sequence[Finding]) -> Iterator[ShownRow]:
    for row in rows:
        yield ShownRow(**row.values, pictures=dict(_pictures(pictures, row)))


def _units(pictures: Pictures, rows: Sequence[Finding]) -> tuple[UnitTable, ...]:
    """Some units of a randomisation check."""

    def inside(row: Finding, column: str) -> str:
        return _inside(pictures.of_row(row.run, row.number, column))

    return tuple(sanity.of_unit(unit, inside) for unit in spread(rows, LARGEST_UNITS))


def _pictures(pictures: Pictures, row: Finding) -> Iterator[tuple[str, str]]:
    for name in INSTRUMENTS[row.run.job].report_pictures:
        if name in row.pictures:
            yield name, _inside(pictures.of_row(row.run, row.number, name))


def _inside(picture: Picture) -> str:
    """A picture as a URL that holds it."""
    return f"data:{picture.media};base64,{base64.b64encode(picture.data).decode()}"
