"""The sheet of a synthesis run. Takes a published run, gives one picture: the synthetic images of its channels by layer."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, ImageDraw, ImageFont

from service.query.catalog import PublishedRun
from service.query.figures import readable
from service.query.reading import read
from service.sheets import canvas
from workers.store.tables.synthesise import SYNTHESES

WHITE, INK, GROUND = (255, 255, 255), (20, 20, 20), (128, 128, 128)
TILE_PX, GAP_PX, MARGIN_PX, LABEL_PX, FONT_PX, HEAD_PX = 160, 8, 20, 18, 12, 28
COLUMNS = 8
LARGEST_TILES = 96

Row = Mapping[str, Any]


def draw(run: PublishedRun) -> Image.Image:
    """For each layer, its first channels, in equal parts of LARGEST_TILES tiles."""
    keys = read(run, SYNTHESES, pc.scalar(True), ["layer_index", "channel"])
    layers = sorted(set(keys["layer_index"].to_pylist()))
    count = max(1, LARGEST_TILES // len(layers))
    rows = [row for layer in layers[:LARGEST_TILES] for row in _first(run, keys, layer, count)]
    groups = [(name, list(group)) for name, group in groupby(rows, key=lambda row: row["layer"])]
    lines = sum(1 + -(-len(group) // COLUMNS) for _, group in groups)
    wide = min(COLUMNS, max(len(group) for _, group in groups))
    size = (max(3, wide) * (TILE_PX + GAP_PX), HEAD_PX + lines * (TILE_PX + LABEL_PX + GAP_PX))
    page = Image.new("RGB", (size[0] + 2 * MARGIN_PX, size[1] + 2 * MARGIN_PX), WHITE)
    bottom = _draw_groups(page, groups, _title(run, len(keys) - len(rows)))
    return page.crop((0, 0, page.width, bottom + MARGIN_PX))


def _first(run: PublishedRun, keys: pa.Table, layer: int, count: int) -> list[Row]:
    """The rows of the first channels of a layer."""
    names = ["layer", "channel", "score", "synthesis"]
    last = keys.filter(pc.field("layer_index") == layer)["channel"].to_pylist()[:count][-1]
    kept = (pc.field("layer_index") == layer) & (pc.field("channel") <= last)
    rows: list[Row] = read(run, SYNTHESES, kept, names).to_pylist()
    return rows


def _title(run: PublishedRun, more: int) -> str:
    rest = f" · {more:,} more in the table" if more else ""
    return f"{run.run}: synthetic images that activate each channel strongly, with its largest activation{rest}"


def _draw_groups(page: Image.Image, groups: Sequence[tuple[str, Sequence[Row]]], title: str) -> int:
    """Draw all tiles and their headings; gives the bottom of the last one."""
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(FONT_PX)
    pen.text((MARGIN_PX, MARGIN_PX), canvas.shorten(title, page.width - 2 * MARGIN_PX, font), INK, font)
    top = MARGIN_PX + HEAD_PX
    for name, rows in groups:
        heading = ImageFont.load_default(FONT_PX + 3)
        pen.text((MARGIN_PX, top), canvas.shorten(name, page.width - 2 * MARGIN_PX, heading), INK, heading)
        top += HEAD_PX
        for number, row in enumerate(rows):
            at = (
                MARGIN_PX + number % COLUMNS * (TILE_PX + GAP_PX),
                top + number // COLUMNS * (TILE_PX + LABEL_PX + GAP_PX),
            )
            _draw_tile(page, at, row)
        top += -(-len(rows) // COLUMNS) * (TILE_PX + LABEL_PX + GAP_PX)
    return top


def _draw_tile(page: Image.Image, at: tuple[int, int], row: Row) -> None:
    font, shown = ImageFont.load_default(FONT_PX), row["synthesis"]
    picture = canvas.decode(shown["bytes"]) if shown else Image.new("RGB", (TILE_PX, TILE_PX), GROUND)
    if max(picture.size) <= TILE_PX // 2:  # a small input is enlarged by a whole factor
        factor = TILE_PX // max(picture.size)
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    picture.thumbnail((TILE_PX, TILE_PX), Image.Resampling.LANCZOS)
    page.paste(picture, at)
    caption = f"{row['channel']} · {readable(row['score'])}" if shown else f"{row['channel']} · inactive"
    ImageDraw.Draw(page).text((at[0], at[1] + TILE_PX + 2), caption, INK, font)
