"""Pages about images. Takes an atlas and a request, gives the values that pages show and JSON twins send."""

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Annotated, Literal

import pyarrow.compute as pc

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.instruments.registry import INSTRUMENTS
from service.atlas.pages import parts
from service.atlas.pages.parts import SAYS, cell_fields, of_run
from service.atlas.pages.rows import FoundRow, Of, found_row_of
from service.atlas.pages.values import CellCard, Link, Page, RunCard, Value
from service.query import findings, scans
from service.query.catalog import PublishedRun
from service.query.reading import read
from workers.kinds import Kind
from workers.store.tables.invariance import INVARIANCE
from workers.store.tables.invert import INVERSIONS
from workers.store.tables.occlude import OCCLUSIONS
from workers.store.tables.scan import PREDICTIONS, PREVIEWS
from workers.store.tables.shared import IMAGES

UNITS_SHOWN = 200  # units of an image, the best ranks first
SHOWN_BY_BROWSERS = (".jpg", ".jpeg", ".png", ".webp")
PREVIEW_SIDE_PX = 480  # longer side of the preview on the page
_IMAGE = ["image_index", "image_id", "uri", "label", "width", "height", "bytes"]


class ImageAbout(Value):
    """An image as its run lists it; width and height are in pixels, and None if the run does not know them."""

    image_index: int
    image_id: str
    uri: str
    label: str | None
    width: int | None
    height: int | None
    bytes: int | None


class Prediction(Value):
    """The class that the network finds most probable for an image."""

    name: str
    probability: float


class UnitCard(CellCard):
    """A unit that has the image among its channel's top images."""

    layer: str
    channel: int
    channel_href: str
    has_projection: bool


Instrument = (
    Annotated[FoundRow, Of(OCCLUSIONS)] | Annotated[FoundRow, Of(INVERSIONS)] | Annotated[FoundRow, Of(INVARIANCE)]
)


class ImagePage(Page):
    """An image: `tops` channels have it among their top images; `units` shows the first, `boxes` the same, largest first."""

    kind: Literal["image"] = "image"
    run: RunCard
    image: ImageAbout
    preview: str | None
    scans: tuple[Link, ...]
    shown: tuple[int, int]
    predicted: Prediction | None
    units: tuple[UnitCard, ...]
    tops: int
    boxes: tuple[tuple[int, UnitCard], ...]
    instruments: tuple[Instrument, ...]
    says: tuple[str, ...]


def image(atlas: Atlas, run_id: str, image_id: str, *, originals: bool = False) -> ImagePage:
    """One image: its preview, the channels whose top images include it, and the rows of instruments about it.

    Args:
        atlas: the atlas.
        run_id: id of a scan or an instrument's run.
        image_id: the image's key in the corpus, or its uri.
        originals: whether the corpus's own files may be shown.
    """
    run = atlas.run(run_id)
    about = _about(run, image_id)
    key = about.image_id
    rows = scans.image(run, key) if run.job == "scan" else ()
    others = list(parts.scans_beside(atlas, run))
    units = tuple(_unit(run, row) for row in rows[:UNITS_SHOWN])
    instruments = tuple(_instrument_rows(atlas, run, key))
    preview = _picture(run, about.image_index, key, originals=originals) or _borrow_preview(atlas, others, key)
    return ImagePage(
        title=key,
        description=f"What in this image of {of_run(run).corpus_name} activates the channels of {of_run(run).model_name}.",
        cover=preview,
        run=of_run(run),
        image=about,
        preview=preview,
        scans=tuple(Link(run=scan.run, href=links.image(scan, key)) for scan in others),
        shown=_fit(about.width, about.height),
        predicted=_predicted(run, about.image_index),
        units=units,
        tops=len(rows),
        boxes=tuple(sorted(enumerate(units), key=lambda numbered: -_area(numbered[1].source_box))),
        instruments=instruments,
        says=(
            *((SAYS["patch"], SAYS["projection"]) if units else ()),
            *parts.says_alike(atlas, run, dict.fromkeys(unit.layer for unit in units if unit.has_projection)),
            *sorted({INSTRUMENTS[Kind(row.job)].note for row in instruments}),
        ),
    )


def _predicted(run: PublishedRun, index: int) -> Prediction | None:
    if PREDICTIONS.name not in run.tables:
        return None
    rows = read(run, PREDICTIONS, pc.field("image_index") == index, ["class_name", "probability"]).to_pylist()
    return Prediction(name=rows[0]["class_name"], probability=rows[0]["probability"]) if rows else None


def _about(run: PublishedRun, image_id: str) -> ImageAbout:
    named = (pc.field("image_id") == image_id) | (pc.field("uri") == image_id)
    rows = read(run, IMAGES, named, _IMAGE).to_pylist()
    if not rows:
        raise scans.unknown_image(run, image_id)
    row = rows[0]
    return ImageAbout(**(row | ({"uri": row["image_id"]} if run.hides_paths else {})))


def _instrument_rows(atlas: Atlas, run: PublishedRun, image_id: str) -> Iterator[FoundRow]:
    """The rows of instruments about an image; of invariance, which has many rows, only those with a picture."""
    for row in findings.of_image(atlas.runs(), run.corpus, image_id, atlas.columns):
        if row.run.job != "invariance" or row.pictures:
            yield found_row_of(row)


def _picture(run: PublishedRun, index: int, image_id: str, *, originals: bool) -> str | None:
    """The address of the image: the corpus's own file, or the run's preview; None without either."""
    if originals and PurePosixPath(image_id).suffix.lower() in SHOWN_BY_BROWSERS:
        return links.original(run, index)
    has_preview = PREVIEWS.name in run.tables and len(
        read(run, PREVIEWS, pc.field("image_index") == index, ["image_index"])
    )
    return links.preview(run, index) if has_preview else None


def _unit(run: PublishedRun, row: scans.Top) -> UnitCard:
    """A unit that has the image among its channel's top images."""
    href = links.channel(run, row.layer, row.channel)
    about = run.layer(row.layer)
    fields, has_projection = cell_fields(run, about, row), parts.has_projections(run, about)
    return UnitCard(**fields, layer=row.layer, channel=row.channel, channel_href=href, has_projection=has_projection)


def _borrow_preview(atlas: Atlas, others: Sequence[PublishedRun], image_id: str) -> str | None:
    """The address of the image's preview in another scan of the same corpus; None if none has it."""
    for scan in others:
        if PREVIEWS.name not in scan.tables or pc.index(atlas.image_ids(scan), image_id).as_py() < 0:
            continue
        [row] = read(scan, IMAGES, pc.field("image_id") == image_id, ["image_index"]).to_pylist()
        if preview := _picture(scan, row["image_index"], image_id, originals=False):
            return preview
    return None


def _area(box: Sequence[int]) -> int:
    top, left, bottom, right = box
    return (bottom - top) * (right - left)


def _fit(width: int | None, height: int | None) -> tuple[int, int]:
    """Width and height of the picture on the page, so that the page reserves its place."""
    if not width or not height:
        return PREVIEW_SIDE_PX, PREVIEW_SIDE_PX
    factor = PREVIEW_SIDE_PX / max(width, height)
    return max(1, round(width * factor)), max(1, round(height * factor))
