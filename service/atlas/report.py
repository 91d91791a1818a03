"""A run as one self-contained HTML file. Takes a published run, gives a page with its style and pictures embedded."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from service.atlas import render
from service.atlas.atlas import Atlas
from service.atlas.channel_pictures import ChannelPictures
from service.atlas.encoded import Picture
from service.atlas.instruments.instrument import Instrument
from service.atlas.instruments.registry import INSTRUMENTS
from service.atlas.pages import parts, sanity
from service.atlas.pages.parts import SAYS
from service.atlas.pages.rows import Columns, shown_values
from service.atlas.pages.sanity import LayerCurves, UnitTable
from service.atlas.pages.values import LayerState, RunCard, Value
from service.atlas.pictures import Pictures
from service.query.catalog import PublishedRun
from service.query.findings import TABLE_OF, Finding, findings
from service.query.layers import Channel, Choice, LayerTables
from service.query.sanity import METHODS
from service.query.sanity_units import spread
from service.sheets.boards import BOARDS

WALL_PX = 204
LARGEST_UNITS = 12  # units of a randomisation check


@dataclass(frozen=True)
class ShownChannel(Channel):
    """A channel with its pictures embedded."""

    projection: str
    patch: str


@dataclass(frozen=True, kw_only=True)
class ShownLayer(LayerState):
    """A layer with some of its channels."""

    shown: tuple[ShownChannel, ...]


class ShownRow(Columns):
    """A row of an instrument's table with its pictures embedded."""

    pictures: dict[str, str]


class Report(Value):
    """The values of the page: `more` counts rows left out; `curves`, `units` and `methods` belong to a randomisation check."""

    title: str
    run: RunCard
    rejects_by_reason: dict[str, int]
    says: tuple[str, ...]
    style: str
    layers: tuple[ShownLayer, ...] = ()
    found: tuple[ShownRow, ...] = ()
    more: int = 0
    figure: str | None = None
    curves: tuple[LayerCurves, ...] = ()
    units: tuple[UnitTable, ...] = ()
    methods: dict[str, str]


def report(atlas: Atlas, run: PublishedRun, channels: int) -> str:
    """Write the page.

    Args:
        atlas: the atlas of the run's root.
        run: the run.
        channels: number of channels shown per layer of a scan: the most selective living ones.
    """
    run = replace(run, hides_paths=True)
    instrument = INSTRUMENTS.get(run.job)
    fields = (
        _scan_fields(atlas, run, channels)
        if instrument is None
        else _instrument_fields(Pictures(atlas), run, instrument)
    )
    page = Report(
        title=run.run,
        run=parts.of_run(run),
        rejects_by_reason=dict(run.rejects_by_reason),
        style=render.style(),
        methods=dict(METHODS),
        **fields,
    )
    return render.page("report.html", page=page)


def _scan_fields(atlas: Atlas, run: PublishedRun, channels: int) -> dict[str, Any]:
    """What the report of a scan shows: its layers, the last one first."""
    layers = tuple(_layers(ChannelPictures(atlas), run, channels))
    meanings = dict.fromkeys(meaning for layer in layers for meaning in layer.marks.values())
    alike = parts.says_alike(atlas, run, [layer.name for layer in run.layers if parts.has_projections(run, layer)])
    return {"says": (SAYS["patch"], SAYS["projection"], *alike, *meanings), "layers": layers}


def _instrument_fields(pictures: Pictures, run: PublishedRun, instrument: Instrument) -> dict[str, Any]:
    """What the report of an instrument shows: its rows, its figure, or the curves and units of a randomisation check."""
    rows = findings(run) if instrument.report_pictures or instrument.report_units else ()  # a figure reads its own rows
    shown = rows[: instrument.report_rows] if instrument.report_pictures else ()
    checked = rows if instrument.report_units else ()
    return {
        "says": (instrument.note,),
        "found": tuple(_embed_row(pictures, row, instrument.report_pictures) for row in shown),
        "more": sum(part.rows for part in run.tables[TABLE_OF[run.job].name]) - len(shown),
        "figure": _embed(_draw(run)) if instrument.report_figure else None,
        "curves": sanity.all_curves(checked),
        "units": _units(pictures, checked) if checked else (),
    }


def _draw(run: PublishedRun) -> Picture:
    """The sheet of a run."""
    buffer = io.BytesIO()
    BOARDS[run.job](run).save(buffer, "PNG")
    return Picture(buffer.getvalue(), "image/png")


def _layers(pictures: ChannelPictures, run: PublishedRun, count: int) -> Iterator[ShownLayer]:
    for layer in reversed(run.layers):
        channels = tuple(
            ShownChannel(
                **vars(channel),
                projection=_embed(pictures.drawn_wall(run, layer.name, channel.channel, "projection", WALL_PX)),
                patch=_embed(pictures.drawn_wall(run, layer.name, channel.channel, "patch", WALL_PX)),
            )
            for channel in _choose_channels(pictures.atlas.layer(run, layer.name), count)
        )
        yield ShownLayer(**vars(parts.of_state(pictures.atlas, run, layer)), shown=channels)


def _choose_channels(layer: LayerTables, count: int) -> tuple[Channel, ...]:
    return layer.chosen(Choice("selectivity", dead=False))[:count] or layer.channels[:count]


def _units(pictures: Pictures, rows: Sequence[Finding]) -> tuple[UnitTable, ...]:
    """Some units of a randomisation check."""

    def embed(row: Finding, column: str) -> str:
        return _embed(pictures.of_row(row.run, row.number, column))

    return tuple(sanity.of_unit(unit, embed) for unit in spread(rows, LARGEST_UNITS))


def _embed_row(pictures: Pictures, row: Finding, columns: Sequence[str]) -> ShownRow:
    present = [column for column in columns if column in row.pictures]
    embedded = {column: _embed(pictures.of_row(row.run, row.number, column)) for column in present}
    return ShownRow(**shown_values(row), pictures=embedded)


def _embed(picture: Picture) -> str:
    """A picture as a data URL."""
    return f"data:{picture.media};base64,{base64.b64encode(picture.data).decode()}"
