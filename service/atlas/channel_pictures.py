"""Pictures of channels. Takes runs, layers and channels, gives encoded patches, projections, walls and mosaics."""

import io
import math
from dataclasses import replace

from cachetools import LRUCache
from PIL import Image

from service.atlas.atlas import Atlas
from service.atlas.encoded import BYTES_KEPT, Picture, encoded_bytes
from service.atlas.links import SHOWN, Kind
from service.query import scans
from service.query.catalog import PublishedRun
from service.query.listing import memoized
from service.query.scans import PlacedCell, View
from service.query.telling import TellingChannel
from service.sheets.cells import GAP_PX, GROUND, fit, geometry, grid
from service.sheets.tiles import PIXELATED_FROM, Pen, Photo, read_photos
from workers.errors import QueryError

BLOCK = 8  # channels whose patches and projections are read together
WALL_PX = 300  # side of a channel's grid on the wall
CELL_PX = 128  # least longer side of a patch or projection
MOSAIC = 6, 3  # channels of a mosaic in a row and in a column
MOSAIC_PX = 150  # side of a channel's grid in a mosaic
MOSAIC_GAP_PX = 6
QUALITY = 88

Block = tuple[tuple[PlacedCell, ...], dict[int, Photo]]


class ChannelPictures:
    """Pictures of the channels of an atlas's scans. Safe to use from many threads."""

    def __init__(self, atlas: Atlas) -> None:
        self.atlas = atlas
        self._walls = memoized(LRUCache(BYTES_KEPT, encoded_bytes), self._wall)
        self._mosaics = memoized(LRUCache(BYTES_KEPT // 8, encoded_bytes), self._mosaic)
        self._blocks = memoized(LRUCache(BYTES_KEPT, _size), self._read_block)

    def wall(self, run: PublishedRun, layer: str, channel: int, kind: Kind, view: View = "filled") -> Picture:
        """The nine patches or projections of a channel as one picture."""
        return self._walls(run.run, run.created, layer, channel, kind, view)

    def cell(
        self, run: PublishedRun, layer: str, channel: int, rank: int, kind: Kind, view: View = "filled"
    ) -> Picture:
        """One patch or projection with all of its pixels; small ones are enlarged.

        Raises:
            QueryError: the run has no such layer, channel or rank.
        """
        form, (cells_of_channel, photos) = geometry(run, run.layer(layer)), self._cells_of(run, layer, channel)
        factor = math.ceil(CELL_PX / max(form.height, form.width))
        pen = Pen(replace(form, factor=factor), view, photos)
        for cell in cells_of_channel:
            if cell.rank == rank:
                drawn = pen.draw(cell, projection=kind == "projection")
                return _webp(drawn, lossless=kind == "projection" or factor >= PIXELATED_FROM)
        raise QueryError(f"no rank {rank} in channel {channel} of layer {layer!r}; {len(cells_of_channel)} are shown")

    def mosaic(self, run: PublishedRun) -> Picture:
        """The patches of the channels that tell the most, of the last layers; the cover of a scan.

        Raises:
            QueryError: the run has no living channel.
        """
        return self._mosaics(run.run, run.created)

    def drawn_wall(
        self, run: PublishedRun, layer: str, channel: int, kind: Kind, side_px: int, view: View = "filled"
    ) -> Picture:
        """The nine patches or projections of a channel as one picture of about `side_px`; projections are lossless."""
        return _webp(self._grid(run, layer, channel, kind, view, side_px), lossless=kind == "projection")

    def _wall(self, run: str, created: str, layer: str, channel: int, kind: Kind, view: View) -> Picture:
        del created  # part of the cache's key
        return self.drawn_wall(self.atlas.run(run), layer, channel, kind, WALL_PX, view)

    def _mosaic(self, run_id: str, created: str) -> Picture:
        del created
        run = self.atlas.run(run_id)
        rows = telling_rows(self.atlas, run)
        if not rows:
            raise QueryError(f"run {run_id!r} has no living channel")
        step = MOSAIC_PX + MOSAIC_GAP_PX
        page = Image.new("RGB", (MOSAIC[0] * step - MOSAIC_GAP_PX, len(rows) * step - MOSAIC_GAP_PX), GROUND)
        for down, row in enumerate(rows):
            for across, channel in enumerate(row):
                name = run.layers_by_index[channel.layer_index].name
                grid = self._grid(run, name, channel.channel, "patch", "filled", MOSAIC_PX)
                page.paste(grid.resize((MOSAIC_PX, MOSAIC_PX)), (across * step, down * step))
        buffer = io.BytesIO()
        page.save(buffer, "JPEG", quality=QUALITY, optimize=True)  # all services that show links can read it
        return Picture(buffer.getvalue(), "image/jpeg")

    def _grid(self, run: PublishedRun, layer: str, channel: int, kind: Kind, view: View, side_px: int) -> Image.Image:
        form = geometry(run, run.layer(layer))
        form = fit(replace(form, side=min(form.side, math.isqrt(SHOWN))), side_px)
        if view == "filled":  # pixels need not be enlarged by a whole number
            form = replace(form, factor=(side_px / form.side - GAP_PX) / max(form.height, form.width))
        cells_of_channel, photos = self._cells_of(run, layer, channel)
        pen = Pen(form, view, photos)
        return grid([pen.draw(cell, projection=kind == "projection") for cell in cells_of_channel], form)

    def _cells_of(self, run: PublishedRun, layer: str, channel: int) -> Block:
        block = self._blocks(run.run, run.created, layer, run.layer(layer).require_channel(channel) // BLOCK)
        return tuple(cell for cell in block[0] if cell.channel == channel), block[1]

    def _read_block(self, run: str, created: str, layer: str, block: int) -> Block:
        """Read neighbouring channels together: they are in the same row group and on the same wall."""
        del created
        published = self.atlas.run(run)
        channels = range(BLOCK * block, min(BLOCK * (block + 1), published.layer(layer).channels))
        cells = scans.cells(published, layer, channels, SHOWN)
        return cells, read_photos(published, cells, geometry(published, published.layer(layer)))


def telling_rows(atlas: Atlas, run: PublishedRun) -> list[tuple[TellingChannel, ...]]:
    """The channels of a run's mosaic: of each of the last layers with living channels the first to look at, last layer first."""
    telling = [atlas.overview(run).telling[layer.index] for layer in reversed(run.layers)]
    return [channels[: MOSAIC[0]] for channels in telling if channels][: MOSAIC[1]]


def _size(block: Block) -> int:
    cells, photos = block
    pictures = sum(len(cell.patch) + len(cell.projection or b"") for cell in cells)
    return pictures + sum(len(photo.encoded) for photo in photos.values())


def _webp(image: Image.Image, *, lossless: bool) -> Picture:
    buffer = io.BytesIO()
    options = {"lossless": True, "quality": 0, "method": 1} if lossless else {"quality": QUALITY, "method": 2}
    image.save(buffer, "WEBP", **options)
    return Picture(buffer.getvalue(), "image/webp")
