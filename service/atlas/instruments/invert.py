"""Pages of inversion. Takes runs and rows of their table, gives the values that pages show."""

import json
import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import JsonValue

from service.atlas.atlas import Atlas
from service.atlas.instruments.instrument import Instrument
from service.atlas.instruments.page import FindingPage, FoundPage, by_image, image_row_fields, page_fields, polyline
from service.atlas.pages.rows import ImageRow, Of, image_row_of
from service.atlas.pages.values import Value
from service.query.catalog import PublishedRun
from service.query.findings import Finding, findings
from workers.store.tables.invert import INVERSIONS

NOTE = "Images whose features in the layer are close to the original's. Each is one of many, and also shaped by the priors."


class RestartLine(Value):
    """An image's inversions of one restart, by layer."""

    restart: int
    found: tuple[Annotated[ImageRow, Of(INVERSIONS)] | None, ...]


class InvertedImage(Value):
    """An image's inversions, laid out as in Figures 6 and 7 of the paper: a line per restart, a column per layer."""

    image_id: str
    href: str
    original: str | None
    restarts: tuple[RestartLine, ...]


class InversionsPage(FoundPage):
    """Inversions by image."""

    kind: Literal["inversions"] = "inversions"
    layers: tuple[str, ...]
    images: tuple[InvertedImage, ...]


class InversionPage(FindingPage):
    """An inversion; its curve is points of a figure."""

    kind: Literal["inversion"] = "inversion"
    found: Annotated[ImageRow, Of(INVERSIONS, whole=True)]
    settings: dict[str, JsonValue]
    curve: str


def run_page(_: Atlas, run: PublishedRun, start: int) -> InversionsPage:
    """The page of a run."""
    rows = findings(run)
    layers = tuple(dict(sorted({(row.values["layer_index"], row.values["layer"]) for row in rows})).values())
    shown, about = page_fields(run, NOTE, by_image(rows), start)
    return InversionsPage(**about, layers=layers, images=tuple(_inverted(group, layers) for group in shown))


def _inverted(rows: Sequence[Finding], layers: Sequence[str]) -> InvertedImage:
    lines: dict[int, list[ImageRow | None]] = {}
    for row in rows:
        line = lines.setdefault(row.values["restart"], [None] * len(layers))
        line[layers.index(row.values["layer"])] = image_row_of(row)
    first = image_row_of(rows[0])
    return InvertedImage(
        image_id=rows[0].values["image_id"],
        href=first.image_href,
        original=first.pictures.get("original"),
        restarts=tuple(RestartLine(restart=number, found=tuple(line)) for number, line in sorted(lines.items())),
    )


def row_page(_: Atlas, row: Finding) -> InversionPage:
    """The page of one row."""
    settings, curve = json.loads(row.values["settings"]), _curve(row.values["error_curve"])
    return InversionPage(**image_row_fields(row, NOTE), settings=settings, curve=curve)


def _curve(errors: Sequence[float | None] | None) -> str:
    """An error curve as the points of a figure; heights are on a logarithmic scale from 1e-4 to 10."""
    known = [(n, error) for n, error in enumerate(errors or ()) if error is not None and error > 0]
    last = max(1, len(errors or ()) - 1)
    return polyline((n / last, 1 - min(1.0, max(0.0, (math.log10(error) + 4) / 5))) for n, error in known)


INSTRUMENT = Instrument(
    note=NOTE,
    run_page=run_page,
    row_page=row_page,
    run_pages=(InversionsPage,),
    row_pages=(InversionPage,),
    report_pictures=("original", "inversion"),
)
