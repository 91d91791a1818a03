"""Pictures of the atlas. Takes places in a run's tables, gives encoded bytes; stored pictures are sent without decoding."""

import hashlib
import io
import math
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow.compute as pc
from cachetools import LRUCache
from PIL import Image

from service.atlas.atlas import Atlas
from service.atlas.links import KINDS, SHOWN, Kind
from service.query import evolution, reading, scans
from service.query.catalog import PublishedRun
from service.query.findings import MAPS, TABLE_OF
from service.query.listing import memoized
from service.query.reading import read
from service.sheets import contact
from workers.corpus import fetch
from workers.errors import QueryError, ReadError, Rejected
from workers.pictures import colours
from workers.store.tables.scan import PREVIEWS
from workers.store.tables.shared import IMAGES

WALLS_KEPT = 4096
BLOCK = 8  # channels whose patches and projections are read together
BYTES_KEPT = 128_000_000  # of patches and projections
FRAME_PX = 128  # side of a frame in a strip
WALL_PX = 132  # side of a channel's small grid on the wall
QUALITY = 85

SHOWN_AS = {
    "image/png": re.compile(rb"\x89PNG"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
}


@dataclass(frozen=True)
class Picture:
    """An encoded picture and its media type."""

    data: bytes
    media: str


class Pictures:
    """Pictures of the published runs of an atlas. Safe to use from many threads."""

    def __init__(self, atlas: Atlas) -> None:
        self.atlas = atlas
        self._walls = memoized(LRUCache(WALLS_KEPT), self._wall)
        self._blocks = memoized(LRUCache(BYTES_KEPT, _size), self._read_block)
        self._previews = memoized(LRUCache(BYTES_KEPT // 2, _bytes), self._read_preview)
        self._rows = memoized(LRUCache(BYTES_KEPT // 2, _bytes), self._read_row)

    def wall(self, run: PublishedRun, layer: str, channel: int, kind: Kind) -> Picture:
        """The nine patches or projections of a channel as one small picture."""
        return self._walls(run.run, run.created, layer, channel, kind)

    def cell(self, run: PublishedRun, layer: str, channel: int, rank: int, kind: Kind) -> Picture:
        """One patch or projection, as large as on the sheet; mid-grey where the field leaves the input.

        Raises:
            QueryError: the run has no such layer, channel or rank.
        """
        form, cells = _form(run, layer), self._cells_of(run, layer, channel)
        for cell in cells:
            if cell.rank == rank:
                return _png(contact.draw_picture(cell, kind == "projection", form))
        raise QueryError(f"no rank {rank} in channel {channel} of layer {layer!r}; {len(cells)} are shown")

    def preview(self, run: PublishedRun, image_index: int) -> Picture:
        """The preview of an image.

        Raises:
            QueryError: the run has no preview of it.
        """
        return self._previews(run.run, run.created, image_index)

    def original(self, run: PublishedRun, image_index: int) -> Picture:
        """The corpus's own file of an image, if it has not changed since the scan.

        Raises:
            QueryError: the file has changed, cannot be read, or has a format that browsers do not show.
        """
        rows = read(run, IMAGES, pc.field("image_index") == image_index, ["uri", "bytes", "sha256"]).to_pylist()
        if not rows:
            raise QueryError(f"run {run.run!r} has no image {image_index}")
        uri = rows[0]["uri"]
        try:
            data = fetch.read(uri, rows[0]["bytes"])
        except (ReadError, Rejected) as error:  # of an archive that was replaced, another part is read
            raise QueryError(f"{uri} cannot be read, or has changed since it was scanned: {error}") from error
        if hashlib.sha256(data).hexdigest() != rows[0]["sha256"]:
            raise QueryError(f"{uri} has changed since it was scanned")
        return _as_stored(data)

    def of_row(self, run: PublishedRun, number: int, column: str) -> Picture:
        """A picture in a row of an instrument's table; of a map, one pixel for each position of the square.

        Raises:
            QueryError: the row or column does not exist, or is empty.
        """
        return self._rows(run.run, run.created, number, column)

    def drawn_wall(self, run: PublishedRun, layer: str, channel: int, kind: Kind, side_px: int) -> Picture:
        """The nine patches or projections of a channel as one picture, at most `side_px` wide; projections are lossless."""
        form = contact.fit(_form(run, layer), side_px)
        cells = [contact.draw_picture(cell, kind == "projection", form) for cell in self._cells_of(run, layer, channel)]
        buffer = io.BytesIO()
        options = (
            {"lossless": True, "quality": 0, "method": 1} if kind == "projection" else {"quality": QUALITY, "method": 2}
        )
        contact.grid(cells, form).save(buffer, "WEBP", **options)
        return Picture(buffer.getvalue(), "image/webp")

    def _read_preview(self, run: str, created: str, image_index: int) -> Picture:
        del created
        wanted = pc.field("image_index") == image_index
        rows = read(self.atlas.run(run), PREVIEWS, wanted, {"preview": pc.field("preview", "bytes")})
        if not len(rows):
            raise QueryError(f"run {run!r} has no preview of image {image_index}")
        return _as_stored(rows["preview"][0].as_py())

    def _read_row(self, run_id: str, created: str, number: int, column: str) -> Picture:
        del created
        run = self.atlas.run(run_id)
        if run.job == "evolve" and column in KINDS:
            layer, cell = evolution.cell(run, number)
            return _png(contact.draw_picture(cell, column == "projection", _frame_form(run, layer)))
        if run.job in TABLE_OF and column in TABLE_OF[run.job].images:
            return _as_stored(reading.picture(run, TABLE_OF[run.job], column, number))
        if run.job == "occlude" and column in MAPS:
            return _map(reading.row(run, TABLE_OF[run.job], number, ["rows", "cols", "classes", column]), column)
        raise QueryError(f"no picture {column!r} in run {run.run!r}")

    def _wall(self, run: str, created: str, layer: str, channel: int, kind: Kind) -> Picture:
        del created
        return self.drawn_wall(self.atlas.run(run), layer, channel, kind, WALL_PX)

    def _cells_of(self, run: PublishedRun, layer: str, channel: int) -> tuple[scans.Cell, ...]:
        block = self._blocks(run.run, run.created, layer, run.layer(layer).require_channel(channel) // BLOCK)
        return tuple(cell for cell in block if cell.channel == channel)

    def _read_block(self, run: str, created: str, layer: str, block: int) -> tuple[scans.Cell, ...]:
        """Read neighbouring channels together: they are in the same row group and on the same wall."""
        del created  # part of the cache's key
        published = self.atlas.run(run)
        channels = range(BLOCK * block, min(BLOCK * (block + 1), published.layer(layer).channels))
        return scans.cells(published, layer, channels, SHOWN)


def _form(run: PublishedRun, layer: str) -> contact.Geometry:
    form = contact.geometry(run, run.layer(layer))
    return replace(form, side=min(form.side, math.isqrt(SHOWN)))


def _frame_form(run: PublishedRun, layer: str) -> contact.Geometry:
    """The geometry of a strip's frame: one cell of at most FRAME_PX pixels."""
    return contact.fit(replace(contact.geometry(run, run.layer(layer)), side=1), FRAME_PX + contact.GAP_PX)


def _size(cells: tuple[scans.Cell, ...]) -> int:
    return sum(len(cell.patch) + len(cell.projection or b"") for cell in cells)


def _bytes(picture: Picture) -> int:
    return len(picture.data)


def _png(image: Image.Image) -> Picture:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return Picture(buffer.getvalue(), "image/png")


def _map(row: dict[str, Any], column: str) -> Picture:
    values = np.array(row[column]).reshape(row["rows"], row["cols"])
    if column == "class_map":
        classes = [entry["class_index"] for entry in row["classes"]]
        shown = colours.class_picture(values, colours.class_colours(classes))
    else:
        shown = colours.map_picture(values)
    return _png(Image.fromarray((255 * shown).round().astype(np.uint8)))


def _as_stored(data: bytes) -> Picture:
    for media, magic in SHOWN_AS.items():
        if magic.match(data):
            return Picture(data, media)
    raise QueryError("browsers cannot display this format; use the image's patches and projections")
