"""Pages of synthesis. Takes runs and rows of their table, gives the values that pages show."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated, Literal

from pydantic import JsonValue

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.instruments.instrument import Instrument
from service.atlas.instruments.page import FindingPage, FoundPage, page_fields, polyline, row_fields
from service.atlas.pages.parts import SAYS, of_run
from service.atlas.pages.rows import Of, Row, row_of
from service.atlas.pages.values import Link, RunCard, Value
from service.query.catalog import PublishedRun
from service.query.findings import Finding
from service.query.syntheses import is_comparable, read_found
from workers.kinds import Kind
from workers.store.tables.synthesise import SYNTHESES

NOTE = SAYS["synthesis"]
MOST = 240  # channels on a page
SCANS_SHOWN = 12
CURVE_POINTS = 320


class SynthesesPage(FoundPage):
    """Synthetic images, layer by layer."""

    kind: Literal["syntheses"] = "syntheses"
    found: tuple[Annotated[Row, Of(SYNTHESES)], ...]
    layers: tuple[Link, ...]


class ScanOfChannel(Value):
    """The channel in a scan of the same network: its page and its top patches."""

    run: RunCard
    href: str
    picture: str


class SynthesisPage(FindingPage):
    """A synthetic image; its curve is points of a figure, from `bottom` to `top`, of which one is 0 if the other has its sign."""

    kind: Literal["synthesis"] = "synthesis"
    found: Annotated[Row, Of(SYNTHESES, whole=True)]
    settings: dict[str, JsonValue]
    curve: str
    bottom: float
    top: float
    scans: tuple[ScanOfChannel, ...]


def run_page(_: Atlas, run: PublishedRun, start: int) -> SynthesesPage:
    """The page of a run."""
    layers, rows = read_found(run)
    shown, about = page_fields(run, NOTE, range(len(layers)), start, MOST)
    return SynthesesPage(**about, found=tuple(row_of(rows(n)) for n in shown), layers=tuple(_layers(run, layers)))


def _layers(run: PublishedRun, layers: Sequence[str]) -> Iterator[Link]:
    """For each layer, the page that contains its first row; `layers` has the layer of each row."""
    for name in dict.fromkeys(layers):
        start = layers.index(name) // MOST * MOST
        yield Link(run=name, href=f"{links.run(run, start)}#{name}")


def row_page(atlas: Atlas, row: Finding) -> SynthesisPage:
    """The page of one row."""
    curve = row.values["curve"]
    bottom, top = min(0.0, *curve), max(0.0, *curve)
    return SynthesisPage(
        **row_fields(row, NOTE, f"channel {row.values['channel']} of {row.values['layer']}"),
        found=row_of(row),
        settings=json.loads(row.values["settings"]),
        curve=_curve(curve, bottom, top),
        bottom=bottom,
        top=top,
        scans=tuple(islice(_scans(atlas, row), SCANS_SHOWN)),
    )


def _scans(atlas: Atlas, row: Finding) -> Iterator[ScanOfChannel]:
    """The channel in scans of the same network, the newest first."""
    name, number = row.values["layer"], row.values["channel"]
    for scan in atlas.runs():
        if scan.job == Kind.SCAN and is_comparable(scan, row.run):
            for layer in (layer for layer in scan.layers if layer.name == name):
                href, picture = links.channel(scan, name, number), links.wall(scan, layer, number)
                yield ScanOfChannel(run=of_run(scan), href=href, picture=picture)


def _curve(values: Sequence[float], bottom: float, top: float) -> str:
    """A curve as the points of a figure: every n-th one of a long curve, so that there are fewer than twice CURVE_POINTS."""
    last, span = max(1, len(values) - 1), (top - bottom) or 1.0
    thinned = list(enumerate(values))[:: max(1, len(values) // CURVE_POINTS)]
    return polyline((n / last, (top - value) / span) for n, value in thinned)


INSTRUMENT = Instrument(
    note=NOTE,
    run_page=run_page,
    row_page=row_page,
    run_pages=(SynthesesPage,),
    row_pages=(SynthesisPage,),
    report_pictures=("synthesis",),
)
