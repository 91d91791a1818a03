"""Pages about images, and the search. Takes an atlas and a request, gives the values that pages show and twins send."""

from collections.abc import Iterator, Sequence
from itertools import islice
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
from workers.errors import QueryError
from workers.kinds import Kind
from workers.store.tables.invariance import INVARIANCE
from workers.store.tables.invert import INVERSIONS
from workers.store.tables.occlude import OCCLUSIONS
from workers.store.tables.scan import PREVIEWS
from workers.store.tables.shared import IMAGES

FOUND_OF_A_KIND = 12
UNITS_SHOWN = 200  # units of an image, the best ranks first
LONGEST_SEARCH = 1000
LONGEST_CHANNEL = 9
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


class UnitCard(CellCard):
    """A unit that has the image among its channel's top images."""

    layer: str
    channel: int
    channel_href: str


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
    units: tuple[UnitCard, ...]
    tops: int
    boxes: tuple[tuple[int, UnitCard], ...]
    instruments: tuple[Instrument, ...]
    says: tuple[str, ...]


class Match(Value):
    """A thing whose name contains the words of a search."""

    what: str
    name: str
    run: str
    href: str


class SearchPage(Page):
    """The results of a search; at most `most` of each type per run are shown."""

    kind: Literal["search"] = "search"
    words: str
    found: tuple[Match, ...]
    most: int


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
    return ImagePage(
        title=key,
        run=of_run(run),
        image=about,
        preview=_picture(run, about.image_index, key, originals=originals) or _borrow_preview(atlas, others, key),
        scans=tuple(Link(run=scan.run, href=links.image(scan, key)) for scan in others),
        shown=_fit(about.width, about.height),
        units=units,
        tops=len(rows),
        boxes=tuple(sorted(enumerate(units), key=lambda numbered: -_area(numbered[1].source_box))),
        instruments=instruments,
        says=(
            *((SAYS["patch"], SAYS["projection"]) if units else ()),
            *sorted({INSTRUMENTS[Kind(row.job)].note for row in instruments}),
        ),
    )


def _about(run: PublishedRun, image_id: str) -> ImageAbout:
    named = (pc.field("image_id") == image_id) | (pc.field("uri") == image_id)
    rows = read(run, IMAGES, named, _IMAGE).to_pylist()
    if not rows:
        raise scans.unknown_image(run, image_id)
    return ImageAbout(**rows[0])


def _instrument_rows(atlas: Atlas, run: PublishedRun, image_id: str) -> Iterator[FoundRow]:
    """The rows of instruments about an image; of invariance, which has many rows, only those with a picture."""
    for row in findings.of_image(atlas.runs(), run.corpus, image_id, atlas.columns):
        if row.run.job != "invariance" or row.pictures:
            yield found_row_of(row)


def search(atlas: Atlas, words: str) -> SearchPage:
    """Layers, channels, labels and images whose names contain the words, in all published runs.

    Raises:
        QueryError: the words are too long.
    """
    if len(words) > LONGEST_SEARCH:
        raise QueryError(f"the search text has {len(words):,} characters; at most {LONGEST_SEARCH:,} are allowed")
    runs = atlas.runs() if words.strip() else ()
    matches = tuple(match for run in runs for match in _matches(atlas, run, words.strip()))
    return SearchPage(title=f"Search: {words}", words=words, found=matches, most=FOUND_OF_A_KIND)


def _matches(atlas: Atlas, run: PublishedRun, words: str) -> Iterator[Match]:
    """The matches in a run: a few of each type, so that no run hides the others."""
    if words.lower() in run.run:
        yield Match(what="run", name=run.run, run=run.job, href=links.run(run))
    if run.job == "scan":
        for matches in (
            _layers(run, words),
            _channels(run, words),
            _labels(atlas, run, words),
            _ids(atlas, run, words),
        ):
            for what, name, href in islice(matches, FOUND_OF_A_KIND):
                yield Match(what=what, name=name, run=run.run, href=href)


Named = tuple[str, str, str]  # sort, name and address of a match


def _layers(run: PublishedRun, words: str) -> Iterator[Named]:
    for about in run.layers:
        if words.lower() in about.name.lower():
            yield "layer", about.name, links.layer(run, about.name)


def _channels(run: PublishedRun, words: str) -> Iterator[Named]:
    """`relu3 12` finds a channel of one layer, `channel 12` that channel of every layer."""
    head, _, tail = words.rpartition(" ")
    for about in run.layers if _is_number(tail) else ():
        if head.lower() in (about.name.lower(), "channel") and int(tail) < about.channels:
            yield "channel", f"{about.name} {int(tail)}", links.channel(run, about.name, int(tail))


def _labels(atlas: Atlas, run: PublishedRun, words: str) -> Iterator[Named]:
    for label in atlas.labels(run):
        if words.lower() in label.lower():
            yield "label", label, links.label(run, label)


def _ids(atlas: Atlas, run: PublishedRun, words: str) -> Iterator[Named]:
    ids = atlas.image_ids(run)
    for name in ids.filter(pc.match_substring(ids, words, ignore_case=True)).slice(0, FOUND_OF_A_KIND).to_pylist():
        yield "image", name, links.image(run, name)


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) <= LONGEST_CHANNEL


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
    fields = cell_fields(run, run.layer(row.layer), row)
    return UnitCard(**fields, layer=row.layer, channel=row.channel, channel_href=href)


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
