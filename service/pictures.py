"""The atlas's pictures. Takes places in a run's tables, gives encoded bytes; decodes nothing that can be sent as it is."""

import io
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import pyarrow.compute as pc
from PIL import Image

from service import query, sheet
from service.atlas import Atlas
from service.catalog import PublishedRun
from workers.errors import QueryError
from workers.store.schema import PREVIEWS, TABLES

WALLS_KEPT = 4096
WALL_PX = 132  # side of a channel's small grid on the wall
QUALITY = 85

Kind = Literal["patch", "projection"]
KINDS: tuple[Kind, ...] = ("patch", "projection")


@dataclass(frozen=True)
class Picture:
    """An encoded picture and its media type."""

    data: bytes
    media: str


class Pictures:
    """Pictures of the published runs of an atlas. May be asked from many threads."""

    def __init__(self, atlas: Atlas) -> None:
        self._atlas = atlas
        self._walls = lru_cache(WALLS_KEPT)(self._drawn_wall)

    def wall(self, run: PublishedRun, layer: str, channel: int, kind: Kind) -> Picture:
        """A channel's nine patches, or projections, as one small picture."""
        return self._walls(run.run, run.created, layer, channel, kind)

    def cell(self, run: PublishedRun, layer: str, channel: int, rank: int, kind: Kind) -> Picture:
        """One patch or projection, as large as the sheet shows it; mid-grey where the field leaves the input.

        Raises:
            QueryError: the run has no such layer, channel or rank.
        """
        form, cells = sheet.geometry(run, run.layer(layer)), query.cells(run, layer, [channel])
        for cell in cells:
            if cell.rank == rank:
                return _png(sheet.drawn(cell, kind == "projection", form))
        raise QueryError(f"no rank {rank} in channel {channel} of layer {layer!r}; it has {len(cells)} images")

    def preview(self, run: PublishedRun, image_index: int) -> Picture:
        """The small copy of an image.

        Raises:
            QueryError: the run keeps none of it.
        """
        wanted = pc.field("image_index") == image_index
        found = query.read(run, PREVIEWS, wanted, {"preview": pc.field("preview", "bytes")})
        if not len(found):
            raise QueryError(f"run {run.run!r} keeps no preview of image {image_index}")
        return _as_stored(found["preview"][0].as_py())

    def of_table(self, run: PublishedRun, table: str, column: str, number: int) -> Picture:
        """The picture in some row of a table, by its place.

        Raises:
            QueryError: there is no such row or column, or nothing in it.
        """
        if table not in TABLES or column not in TABLES[table].images:
            raise QueryError(f"no picture {column!r} in table {table!r}")
        return _as_stored(query.picture(run, TABLES[table], column, number))

    def _drawn_wall(self, run: str, created: str, layer: str, channel: int, kind: Kind) -> Picture:
        del created
        found = self._atlas.run(run)
        form = sheet.geometry(found, found.layer(layer))
        factor = (WALL_PX / form.side - sheet.GAP_PX) / max(form.height, form.width)
        small = replace(form, factor=factor if factor < 1 else max(1, int(factor)))
        wide, tall = small.cell
        page = Image.new("RGB", small.grid, sheet.GROUND)
        for number, cell in enumerate(query.cells(found, layer, [channel])):
            place = number % small.side * (wide + sheet.GAP_PX), number // small.side * (tall + sheet.GAP_PX)
            page.paste(sheet.drawn(cell, kind == "projection", small), place)
        buffer = io.BytesIO()
        page.save(buffer, "WEBP", quality=QUALITY, method=2)
        return Picture(buffer.getvalue(), "image/webp")


def _png(drawn: Image.Image) -> Picture:
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG", compress_level=3)
    return Picture(buffer.getvalue(), "image/png")


def _as_stored(data: bytes) -> Picture:
    return Picture(data, "image/png" if data.startswith(b"\x89PNG") else "image/webp")
