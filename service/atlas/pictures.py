"""Pictures of images and rows. Takes places in a run's tables, gives encoded bytes; stored pictures are sent as they are."""

import hashlib
import io
import re
from typing import Any

import numpy as np
import pyarrow.compute as pc
from cachetools import LRUCache
from PIL import Image

from service.atlas.atlas import Atlas
from service.atlas.channel_pictures import ChannelPictures, as_webp
from service.atlas.encoded import BYTES_KEPT, Picture, encoded_bytes
from service.atlas.links import KINDS, map_mark
from service.query import evolution, reading
from service.query.catalog import PublishedRun
from service.query.findings import MAPS, TABLE_OF
from service.query.listing import memoized
from service.query.reading import read
from service.query.scans import View
from service.sheets import concepts as maps
from service.sheets.cells import single
from service.sheets.tiles import Pen
from workers.corpus import fetch
from workers.errors import QueryError, ReadError, Rejected
from workers.kinds import Kind
from workers.pictures import colours
from workers.store.tables.scan import PREVIEWS
from workers.store.tables.shared import IMAGES

FRAME_PX = 128  # side of a frame in a strip
MAP_PX = 1600

SHOWN_AS = {
    "image/png": re.compile(rb"\x89PNG"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
}


class Pictures:
    """Pictures of the runs of an atlas: images, their copies, and rows of tables. Safe to use from many threads.

    Attributes:
        atlas: the atlas.
        channels: its pictures of channels.
    """

    def __init__(self, atlas: Atlas) -> None:
        self.atlas = atlas
        self.channels = ChannelPictures(atlas)
        self._previews = memoized(LRUCache(BYTES_KEPT // 2, encoded_bytes), self._read_preview)
        self._maps = memoized(LRUCache(BYTES_KEPT // 8, encoded_bytes), self._draw_map)
        self._rows = memoized(LRUCache(BYTES_KEPT // 2, encoded_bytes), self._read_row)

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

    def of_row(self, run: PublishedRun, number: int, column: str, view: View = "filled") -> Picture:
        """A picture in a row of an instrument's table; of a map, one pixel for each position of the square.

        A patch or projection of a training run fills its tile, or is exactly the receptive field; other pictures have one view.

        Raises:
            QueryError: the row or column does not exist, or is empty.
        """
        return self._rows(run.run, run.created, number, column, view)

    def map_of(self, run: PublishedRun, layer: str, scan: PublishedRun | None) -> Picture:
        """The map of a layer's embedded channels, with the patches of their scan.

        Raises:
            QueryError: the run has no such layer, or is of another kind.
        """
        return self._maps(run.run, run.layer(layer).name, map_mark(run, scan))

    def _draw_map(self, run_id: str, layer: str, mark: str) -> Picture:
        del mark
        run = self.atlas.run(run_id)
        if run.job != Kind.CONCEPTS:
            raise QueryError(f"run {run_id!r} is of kind {run.job.value!r}, which has no maps")
        scan = self.atlas.embedded_scan(run)
        return as_webp(maps.draw_map(self.atlas.concepts(run), scan, layer, MAP_PX), lossless=False)

    def _read_preview(self, run: str, created: str, image_index: int) -> Picture:
        del created
        wanted = pc.field("image_index") == image_index
        rows = read(self.atlas.run(run), PREVIEWS, wanted, {"preview": pc.field("preview", "bytes")})
        if not len(rows):
            raise QueryError(f"run {run!r} has no preview of image {image_index}")
        return _as_stored(rows["preview"][0].as_py())

    def _read_row(self, run_id: str, created: str, number: int, column: str, view: View) -> Picture:
        del created
        run = self.atlas.run(run_id)
        if run.job == "evolve" and column in KINDS:
            layer, cell = evolution.cell(run, number)
            form = single(run, run.layer(layer), FRAME_PX, view)
            return _png(Pen(form, view, {}).draw(cell, projection=column == "projection"))
        if run.job in TABLE_OF and column in TABLE_OF[run.job].images:
            return _as_stored(reading.picture(run, TABLE_OF[run.job], column, number))
        if run.job == "occlude" and column in MAPS:
            return _map(reading.row(run, TABLE_OF[run.job], number, ["rows", "cols", "classes", column]), column)
        raise QueryError(f"no picture {column!r} in run {run.run!r}")


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
