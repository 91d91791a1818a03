"""Pictures of channels. Takes runs, layers and channels, gives encoded patches, projections, walls and mosaics."""

import io
import math
from collections.abc import Sequence
from dataclasses import replace
from threading import Lock

from cachetools import LRUCache
from PIL import Image, ImageOps

from service.atlas.atlas import Atlas
from service.atlas.encoded import BYTES_KEPT, Picture, encoded_bytes
from service.atlas.links import SHOWN, Kind
from service.query import evolution, scans
from service.query.catalog import PublishedRun
from service.query.listing import memoized
from service.query.scans import PlacedCell, View
from service.query.telling import TellingChannel
from service.sheets.cells import GAP_PX, GROUND, Geometry, around, fit, geometry, grid
from service.sheets.tiles import PIXELATED_FROM, Pen, Photo, images_cut, read_photos
from workers.errors import QueryError
from workers.kinds import Kind as Job

BLOCK = 8  # channels whose patches and projections are read together
WALL_PX = 300  # side of a channel's grid on the wall
CELL_PX = 128  # least longer side of a patch or projection
MOSAIC = 6, 3  # channels of a mosaic in a row and in a column
MOSAIC_PX = 150  # side of a channel's grid in a mosaic
MOSAIC_GAP_PX = 6
QUALITY = 88

Cells = tuple[PlacedCell, ...]
ImageKey = tuple[str, str, int]  # run, when it was published, image


class ChannelPictures:
    """Pictures of the channels of an atlas's scans. Safe to use from many threads."""

    def __init__(self, atlas: Atlas) -> None:
        self.atlas = atlas
        self._walls = memoized(LRUCache(BYTES_KEPT, encoded_bytes), self._wall)
        self._mosaics = memoized(LRUCache(BYTES_KEPT // 8, encoded_bytes), self._mosaic)
        self._blocks = memoized(LRUCache(BYTES_KEPT, _cells_bytes), self._read_block)
        self._photos = LRUCache[ImageKey, Photo | None](BYTES_KEPT // 2, _photo_bytes)  # None: the run has no copy
        self._lock = Lock()

    def wall(self, run: PublishedRun, layer: str, channel: int, kind: Kind, view: View = "filled") -> Picture:
        """Nine patches or projections of a channel as one picture: the best or, of a training run, one of each checkpoint."""
        return self._walls(run.run, run.created, layer, channel, kind, view)

    def cell(
        self, run: PublishedRun, layer: str, channel: int, rank: int, kind: Kind, view: View = "filled"
    ) -> Picture:
        """One patch or projection with all of its pixels; small ones are enlarged.

        Raises:
            QueryError: the run has no such layer, channel or rank.
        """
        layer_form, cells = geometry(run, run.layer(layer)), self._cells_of(run, layer, channel)
        for cell in cells:
            if cell.rank == rank:
                form = around(layer_form, cell.box)
                factor = math.ceil(CELL_PX / max(form.height, form.width))
                pen = self._pen(run, [cell], replace(form, factor=factor), view)
                drawn = pen.draw(cell, projection=kind == "projection")
                return as_webp(drawn, lossless=kind == "projection" or factor >= PIXELATED_FROM)
        raise QueryError(f"no rank {rank} in channel {channel} of layer {layer!r}; {len(cells)} are shown")

    def mosaic(self, run: PublishedRun) -> Picture:
        """The patches of the channels that tell the most, of the last layers: the cover of a scan. Grey if all are dead."""
        return self._mosaics(run.run, run.version)

    def drawn_wall(
        self, run: PublishedRun, layer: str, channel: int, kind: Kind, side_px: int, view: View = "filled"
    ) -> Picture:
        """The nine patches or projections of a channel as one picture of about `side_px`; projections are lossless."""
        return as_webp(self._grid(run, layer, channel, kind, view, side_px), lossless=kind == "projection")

    def _wall(self, run: str, created: str, layer: str, channel: int, kind: Kind, view: View) -> Picture:
        del created  # part of the cache's key
        return self.drawn_wall(self.atlas.run(run), layer, channel, kind, WALL_PX, view)

    def _mosaic(self, run_id: str, version: str) -> Picture:
        del version  # part of the cache's key: labels decide which channels tell the most
        run = self.atlas.run(run_id)
        step, (across, down) = MOSAIC_PX + MOSAIC_GAP_PX, MOSAIC
        page = Image.new("RGB", (across * step - MOSAIC_GAP_PX, down * step - MOSAIC_GAP_PX), GROUND)
        for number, channel in enumerate(_cover_channels(self.atlas, run)):
            name = run.layers_by_index[channel.layer_index].name
            wall = self._grid(run, name, channel.channel, "patch", "filled", MOSAIC_PX)
            tile = ImageOps.pad(wall, (MOSAIC_PX, MOSAIC_PX), color=GROUND)
            page.paste(tile, (number % across * step, number // across * step))
        buffer = io.BytesIO()
        page.save(buffer, "JPEG", quality=QUALITY, optimize=True)  # all services that show links can read it
        return Picture(buffer.getvalue(), "image/jpeg")

    def _grid(self, run: PublishedRun, layer: str, channel: int, kind: Kind, view: View, side_px: int) -> Image.Image:
        form, cells = geometry(run, run.layer(layer)), self._cells_of(run, layer, channel)
        side = math.ceil(math.sqrt(len(cells))) if run.job == Job.EVOLVE else form.side
        form = fit(replace(form, side=min(side, math.isqrt(SHOWN))), side_px)
        if view == "filled":  # pixels need not be enlarged by a whole number
            form = replace(form, factor=(side_px / form.side - GAP_PX) / max(form.height, form.width))
        pen = self._pen(run, cells, form, view)
        page = grid([pen.draw(cell, projection=kind == "projection") for cell in cells], form)
        rows = math.ceil(len(cells) / form.side) if run.job == Job.EVOLVE else form.side
        return page.crop((0, 0, page.width, rows * (form.cell[1] + GAP_PX) - GAP_PX))

    def _pen(self, run: PublishedRun, cells: Sequence[PlacedCell], form: Geometry, view: View) -> Pen:
        return Pen(form, view, self._photos_of(run, images_cut(cells, form)) if view == "filled" else {})

    def _photos_of(self, run: PublishedRun, images: set[int]) -> dict[int, Photo]:
        """Copies of images; those that are not in memory are read together."""
        with self._lock:
            known = {
                image: self._photos[key] for image in images if (key := (run.run, run.created, image)) in self._photos
            }
        new = read_photos(run, images - known.keys())
        with self._lock:
            for image in images - known.keys():
                self._photos[run.run, run.created, image] = new.get(image)
        return {image: photo for image, photo in (known | new).items() if photo is not None}

    def _cells_of(self, run: PublishedRun, layer: str, channel: int) -> Cells:
        block = self._blocks(run.run, run.created, layer, run.layer(layer).require_channel(channel) // BLOCK)
        return tuple(cell for cell in block if cell.channel == channel)

    def _read_block(self, run: str, created: str, layer: str, block: int) -> Cells:
        """Read neighbouring channels together: they are in the same row group and on the same wall."""
        del created
        published = self.atlas.run(run)
        channels = range(BLOCK * block, min(BLOCK * (block + 1), published.layer(layer).channels))
        if published.job == Job.EVOLVE:
            frames = evolution.cells(published, layer, channels)
            return tuple(cell for channel in channels for cell in _spread(frames[channel]))
        return scans.cells(published, layer, channels, SHOWN)


def _cover_channels(atlas: Atlas, run: PublishedRun) -> list[TellingChannel]:
    """The channels of a run's cover: a row from each of the last living layers, or several where there are fewer of them."""
    across, down = MOSAIC
    telling = atlas.overview(run).telling
    layers = [chosen for layer in reversed(run.layers) if (chosen := telling.get(layer.index))][:down]
    rows = [row for turn in range(down) for layer in layers if (row := layer[turn * across : (turn + 1) * across])]
    return [channel for row in sorted(rows[:down], key=lambda row: -row[0].layer_index) for channel in row]


def _spread(cells: Cells) -> Cells:
    """Some frames of a channel, evenly spaced over the training; the first and the last among them."""
    shown = min(SHOWN, len(cells))
    return tuple(cells[round(number * (len(cells) - 1) / max(1, shown - 1))] for number in range(shown))


def _cells_bytes(cells: Cells) -> int:
    return sum(len(cell.patch) + len(cell.projection or b"") for cell in cells)


def _photo_bytes(photo: Photo | None) -> int:
    return len(photo.encoded) if photo else 1


def as_webp(image: Image.Image, *, lossless: bool) -> Picture:
    """An image as WebP."""
    buffer = io.BytesIO()
    options = {"lossless": True, "quality": 0, "method": 1} if lossless else {"quality": QUALITY, "method": 2}
    image.save(buffer, "WEBP", **options)
    return Picture(buffer.getvalue(), "image/webp")
