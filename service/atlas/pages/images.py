"""Pages about images, and the search. Takes an atlas and what was asked, gives the values that pages show and twins send."""

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
UNITS_SHOWN = 200  # of an image's, the best ranks first
LONGEST_SEARCH = 1000
LONGEST_CHANNEL = 9
SHOWN_BY_BROWSERS = (".jpg", ".jpeg", ".png", ".webp")
PREVIEW_SIDE_PX = 480  # of the longer side on the page
_IMAGE = ["image_index", "image_id", "uri", "label", "width", "height", "bytes"]


class ImageAbout(Value):
    """An image as its run lists it; sizes are in pixels, and None where the run does not know them."""

    image_index: int
    image_id: str
    uri: str
    label: str | None
    width: int | None
    height: int | None
    bytes: int | None


class UnitCard(CellCard):
    """A unit that an image tops."""

    layer: str
    channel: int
    channel_href: str


Instrument = (
    Annotated[FoundRow, Of(OCCLUSIONS)] | Annotated[FoundRow, Of(INVERSIONS)] | Annotated[FoundRow, Of(INVARIANCE)]
)


class ImagePage(Page):
    """An image: `tops` channels have it among their images, `units` are some, and `boxes` the same, the largest first."""

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
    """Something whose name holds the words of a search."""

    what: str
    name: str
    run: str
    href: str


class SearchPage(Page):
    """What a search found; `most` of a kind in each run are shown."""

    kind: Literal["search"] = "search"
    words: str
    found: tuple[Match, ...]
    most: int


def image(atlas: Atlas, run_id: str, image_id: str, *, originals: bool = False) -> ImagePage:
    """One image: its preview, the channels that it tops, and what instruments found of it.

    Args:
        atlas: the atlas.
        run_id: a scan's, or an instrument's.
        image_id: the image's key in the corpus, or in a scan its uri.
        originals: whether the operator lets the corpus's own files be shown.
    """
    found = atlas.run(run_id)
    about = _about(found, image_id)
    key = about.image_id
    rows = scans.image(found, key) if found.job == "scan" else ()
    others = list(parts.scans_beside(atlas, found))
    units = tuple(_unit(found, row) for row in rows[:UNITS_SHOWN])
    instruments = tuple(_found(atlas, found, key))
    return ImagePage(
        title=key,
        run=of_run(found),
        image=about,
        preview=_picture(found, about.image_index, key, originals=originals) or _borrowed(atlas, others, key),
        scans=tuple(Link(run=each.run, href=links.image(each, key)) for each in others),
        shown=_fitted(about.width, about.height),
        units=units,
        tops=len(rows),
        boxes=tuple(sorted(enumerate(units), key=lambda each: -_area(each[1].source_box))),
        instruments=instruments,
        says=(
            *((SAYS["patch"], SAYS["projection"]) if units else ()),
            *sorted({INSTRUMENTS[Kind(each.job)].note for each in instruments}),
        ),
    )


def _about(found: PublishedRun, image_id: str) -> ImageAbout:
    named = (pc.field("image_id") == image_id) | (pc.field("uri") == image_id)
    rows = read(found, IMAGES, named, _IMAGE).to_pylist()
    if not rows:
        raise scans.unknown_image(found, image_id)
    return ImageAbout(**rows[0])


def _found(atlas: Atlas, found: PublishedRun, image_id: str) -> Iterator[FoundRow]:
    """What instruments found of an image; of invariance, which has many rows, those with a picture."""
    for each in findings.of_image(atlas.runs(), found.corpus, image_id, atlas.columns):
        if each.run.job != "invariance" or each.pictures:
            yield found_row_of(each)


def search(atlas: Atlas, words: str) -> SearchPage:
    """Layers, channels, labels and images whose names hold the words, in all published runs.

    Raises:
        QueryError: the words are too many.
    """
    if len(words) > LONGEST_SEARCH:
        raise QueryError(f"no search for {len(words):,} letters; {LONGEST_SEARCH} at most")
    runs = atlas.runs() if words.strip() else ()
    found = tuple(match for run in runs for match in _matches(atlas, run, words.strip()))
    return SearchPage(title=f"Search: {words}", words=words, found=found, most=FOUND_OF_A_KIND)


def _matches(atlas: Atlas, found: PublishedRun, words: str) -> Iterator[Match]:
    """What a run has that holds the words: of each kind a few, so that no run hides the others."""
    if words.lower() in found.run:
        yield Match(what="run", name=found.run, run=found.job, href=links.run(found))
    if found.job == "scan":
        for matches in (
            _layers(found, words),
            _channels(found, words),
            _labels(atlas, found, words),
            _ids(atlas, found, words),
        ):
            for what, name, href in islice(matches, FOUND_OF_A_KIND):
                yield Match(what=what, name=name, run=found.run, href=href)


Named = tuple[str, str, str]  # what it is, its name, and where it is


def _layers(found: PublishedRun, words: str) -> Iterator[Named]:
    for about in found.layers:
        if words.lower() in about.name.lower():
            yield "layer", about.name, links.layer(found, about.name)


def _channels(found: PublishedRun, words: str) -> Iterator[Named]:
    """`relu3 12` is a channel of one layer, `channel 12` that of every layer."""
    head, _, tail = words.rpartition(" ")
    for about in found.layers if _is_number(tail) else ():
        if head.lower() in (about.name.lower(), "channel") and int(tail) < about.channels:
            yield "channel", f"{about.name} {int(tail)}", links.channel(found, about.name, int(tail))


def _labels(atlas: Atlas, found: PublishedRun, words: str) -> Iterator[Named]:
    for label in atlas.labels(found):
        if words.lower() in label.lower():
            yield "label", label, links.label(found, label)


def _ids(atlas: Atlas, found: PublishedRun, words: str) -> Iterator[Named]:
    ids = atlas.image_ids(found)
    for name in ids.filter(pc.match_substring(ids, words, ignore_case=True)).slice(0, FOUND_OF_A_KIND).to_pylist():
        yield "image", name, links.image(found, name)


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) <= LONGEST_CHANNEL


def _picture(found: PublishedRun, index: int, image_id: str, *, originals: bool) -> str | None:
    """Where the image is to be seen: as the corpus has it, or as the small copy that the run keeps."""
    if originals and PurePosixPath(image_id).suffix.lower() in SHOWN_BY_BROWSERS:
        return links.original(found, index)
    kept = PREVIEWS.name in found.tables and len(
        read(found, PREVIEWS, pc.field("image_index") == index, ["image_index"])
    )
    return links.preview(found, index) if kept else None


def _unit(found: PublishedRun, row: scans.Top) -> UnitCard:
    """A unit that an image tops."""
    href = links.channel(found, row.layer, row.channel)
    fields = cell_fields(found, found.layer(row.layer), row)
    return UnitCard(**fields, layer=row.layer, channel=row.channel, channel_href=href)


def _borrowed(atlas: Atlas, others: Sequence[PublishedRun], image_id: str) -> str | None:
    """Where a scan of the same corpus shows the image."""
    for each in others:
        if PREVIEWS.name not in each.tables or pc.index(atlas.image_ids(each), image_id).as_py() < 0:
            continue
        [row] = read(each, IMAGES, pc.field("image_id") == image_id, ["image_index"]).to_pylist()
        if preview := _picture(each, row["image_index"], image_id, originals=False):
            return preview
    return None


def _area(box: Sequence[int]) -> int:
    top, left, bottom, right = box
    return (bottom - top) * (right - left)


def _fitted(width: int | None, height: int | None) -> tuple[int, int]:
    """Width and height of the picture on the page, so that its place is there before it is."""
    if not width or not height:
        return PREVIEW_SIDE_PX, PREVIEW_SIDE_PX
    factor = PREVIEW_SIDE_PX / max(width, height)
    return max(1, round(width * factor)), max(1, round(height * factor))
