"""Pages of synthesis. Takes runs and rows of their table, gives the values that pages show."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated, Literal

from pydantic import JsonValue

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.instruments.instrument import Instrument
from service.atlas.instruments.page import FindingPage, FoundPage, page_fields, row_fields
from service.atlas.pages.parts import SAYS, of_run
from service.atlas.pages.rows import Of, Row, row_of
from service.atlas.pages.values import Link, RunCard, Value
from service.query.catalog import PublishedRun
from service.query.findings import Finding, findings
from workers.kinds import Kind
from workers.store.tables.synthesise import SYNTHESES

NOTE = SAYS["synthesis"]
MOST = 240  # channels on a page
SCANS_SHOWN = 12
CURVE = (320.0, 100.0)  # width and height of the figure of a curve


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
    """A synthetic image; its curve is points of a figure, and `top` is the curve's largest value."""

    kind: Literal["synthesis"] = "synthesis"
    found: Annotated[Row, Of(SYNTHESES, whole=True)]
    settings: dict[str, JsonValue]
    curve: str
    top: float
    scans: tuple[ScanOfChannel, ...]


def run_page(run: PublishedRun, start: int) -> SynthesesPage:
    """The page of a run."""
    rows = findings(run)
    shown, about = page_fields(run, NOTE, rows, start, MOST)
    return SynthesesPage(**about, found=tuple(map(row_of, shown)), layers=tuple(_layers(run, rows)))


def _layers(run: PublishedRun, rows: Sequence[Finding]) -> Iterator[Link]:
    """For each layer, the page that begins with its first row."""
    seen = set[str]()
    for number, row in enumerate(rows):
        name = row.values["layer"]
        if name not in seen:
            seen.add(name)
            start = number // MOST * MOST
            yield Link(run=name, href=f"{links.run(run, start)}#{name}")


def row_page(atlas: Atlas, row: Finding) -> SynthesisPage:
    """The page of one row."""
    curve = row.values["curve"]
    return SynthesisPage(
        **row_fields(row, NOTE, f"channel {row.values['channel']} of {row.values['layer']}"),
        found=row_of(row),
        settings=json.loads(row.values["settings"]),
        curve=_curve(curve),
        top=max(curve),
        scans=tuple(islice(_scans(atlas, row), SCANS_SHOWN)),
    )


def _scans(atlas: Atlas, row: Finding) -> Iterator[ScanOfChannel]:
    """The channel in scans of the same network, the newest first."""
    name, number = row.values["layer"], row.values["channel"]
    for scan in atlas.runs():
        if scan.job == Kind.SCAN and scan.fingerprint == row.run.fingerprint:
            for layer in (layer for layer in scan.layers if layer.name == name):
                href, picture = links.channel(scan, name, number), links.wall(scan, layer, number)
                yield ScanOfChannel(run=of_run(scan), href=href, picture=picture)


def _curve(values: Sequence[float]) -> str:
    """A curve as the points of a figure, from 0 to its largest value."""
    width, height = CURVE
    last, top = max(1, len(values) - 1), max(*values, 1e-30)
    points = ((n / last * width, height * (1 - max(0.0, value) / top)) for n, value in enumerate(values))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


INSTRUMENT = Instrument(
    note=NOTE,
    run_page=run_page,
    row_page=row_page,
    run_pages=(SynthesesPage,),
    row_pages=(SynthesisPage,),
    report_pictures=("synthesis",),
)
