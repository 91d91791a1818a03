"""Pages about images, and the search. Takes an atlas and what was asked, gives plain values."""

from collections.abc import Iterator
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

import pyarrow.compute as pc

from service import links
from service.atlas import Atlas
from service.catalog import PublishedRun
from service.pages.findings import of_finding
from service.pages.parts import SAYS, Page, of_cell, of_run
from service.query import findings, scans, sharing
from service.query.reading import read
from workers.store.schema import IMAGES, PREVIEWS

FOUND_AT_MOST = 40
SHOWN_BY_BROWSERS = (".jpg", ".jpeg", ".png", ".webp")
PREVIEW_SIDE_PX = 480  # of the longer side on the page
_IMAGE = ["image_index", "image_id", "uri", "label", "width", "height", "bytes"]


def image(atlas: Atlas, run_id: str, image_id: str, *, originals: bool = False) -> Page:
    """One image: its preview, the channels that it tops, and what instruments found of it.

    Args:
        atlas: the atlas.
        run_id: a scan's, or an instrument's.
        image_id: the image's key in the corpus, or in a scan its uri.
        originals: whether the operator lets the corpus's own files be shown.
    """
    found = atlas.run(run_id)
    rows = scans.image(found, image_id) if found.job == "scan" else ()
    key = rows[0].image_id if rows else image_id
    about = read(found, IMAGES, pc.field("image_id") == key, _IMAGE).to_pylist()
    if not about:
        raise scans.unknown_image(found, image_id)
    units = [
        of_cell(found, found.layer(row.layer), row)
        | {"layer": row.layer, "channel": row.channel, "channel_href": links.channel(found, row.layer, row.channel)}
        for row in rows
    ]
    instruments = [
        of_finding(each) | {"run": each.run.run, "job": each.run.job, "run_href": links.run(each.run)}
        for each in findings.of_image(atlas.runs(), found.corpus, key)
    ]
    return {
        "kind": "image",
        "title": key,
        "run": of_run(found),
        "image": about[0],
        "preview": _picture(found, about[0], originals=originals),
        "shown": _fitted(about[0]["width"], about[0]["height"]),
        "units": units,
        "instruments": instruments,
        "says": [SAYS["patch"], SAYS["projection"], *sorted({SAYS[each["job"]] for each in instruments})],
    }


def search(atlas: Atlas, words: str) -> Page:
    """Layers, channels, labels and images whose names hold the words, in all published scans."""
    found = (match for run in atlas.runs() if run.job == "scan" for match in _matches(run, words.strip()))
    shown = list(islice(found, FOUND_AT_MOST)) if words.strip() else []
    return {"kind": "search", "title": f"Search: {words}", "words": words, "found": shown}


def _matches(found: PublishedRun, words: str) -> Iterator[dict[str, str]]:
    head, _, tail = words.rpartition(" ")
    for about in found.layers:
        if words.lower() in about.name.lower():
            yield {"what": "layer", "name": about.name, "run": found.run, "href": links.layer(found, about.name)}
        if about.name == head and tail.isdecimal() and int(tail) < about.channels:
            href = links.channel(found, about.name, int(tail))
            yield {"what": "channel", "name": words, "run": found.run, "href": href}
    for label in sharing.labels(found):
        if words.lower() in label.lower():
            yield {"what": "label", "name": label, "run": found.run, "href": links.label(found, label)}
    alike = pc.match_substring(pc.field("image_id"), words, ignore_case=True)
    for name in read(found, IMAGES, alike, ["image_id"])["image_id"].slice(0, FOUND_AT_MOST).to_pylist():
        yield {"what": "image", "name": name, "run": found.run, "href": links.image(found, name)}


def _picture(found: PublishedRun, about: dict[str, Any], *, originals: bool) -> str | None:
    """Where the image is to be seen: as the corpus has it, or as the small copy that the run keeps."""
    index = about["image_index"]
    if originals and PurePosixPath(about["image_id"]).suffix.lower() in SHOWN_BY_BROWSERS:
        return links.original(found, index)
    kept = PREVIEWS.name in found.tables and len(
        read(found, PREVIEWS, pc.field("image_index") == index, ["image_index"])
    )
    return links.preview(found, index) if kept else None


def _fitted(width: int | None, height: int | None) -> tuple[int, int]:
    """Width and height of the picture on the page, so that its place is there before it is."""
    if not width or not height:
        return PREVIEW_SIDE_PX, PREVIEW_SIDE_PX
    factor = PREVIEW_SIDE_PX / max(width, height)
    return max(1, round(width * factor)), max(1, round(height * factor))
