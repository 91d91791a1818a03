"""Maps of embedded channels. Takes a run of `concepts`, gives one picture: channels with similar patches lie near one another."""

import numpy as np
import pyarrow.compute as pc
from PIL import Image, ImageDraw, ImageFont

from service.query import catalog
from service.query.catalog import PublishedRun
from service.query.concepts import Concepts, find_scan, read_concepts, tile_share
from service.query.reading import read
from service.sheets import canvas
from workers.store.tables.scan import PATCHES

WHITE, INK, GROUND, MISSING = (255, 255, 255), (20, 20, 20), (228, 228, 228), (128, 128, 128)
MAP_PX, GAP_PX, MARGIN_PX, HEAD_PX, FONT_PX = 720, 24, 20, 30, 14
COLUMNS, LARGEST_MAPS = 2, 8


def draw(run: PublishedRun) -> Image.Image:
    """The maps of the last layers."""
    concepts, scan = read_concepts(run), find_scan(catalog.runs(run.root), run)
    layers = [layer.name for layer in run.layers][-LARGEST_MAPS:]
    columns = min(COLUMNS, len(layers))
    lines = -(-len(layers) // columns)
    width, height = (count * (side + GAP_PX) for count, side in ((columns, MAP_PX), (lines, MAP_PX + HEAD_PX)))
    page = Image.new("RGB", (width - GAP_PX + 2 * MARGIN_PX, HEAD_PX + height - GAP_PX + 2 * MARGIN_PX), WHITE)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(FONT_PX)
    title = f"{run.run}: channels by what their best patches show; similar ones lie near one another"
    pen.text((MARGIN_PX, MARGIN_PX), canvas.shorten(title, page.width - 2 * MARGIN_PX, font), INK, font)
    for number, layer in enumerate(layers):
        left = MARGIN_PX + number % columns * (MAP_PX + GAP_PX)
        top = MARGIN_PX + HEAD_PX + number // columns * (MAP_PX + HEAD_PX + GAP_PX)
        pen.text((left, top), canvas.shorten(layer, MAP_PX, font), INK, font)
        page.paste(draw_map(concepts, scan, layer, MAP_PX), (left, top + HEAD_PX))
    return page


def draw_map(concepts: Concepts, scan: PublishedRun | None, layer: str, side_px: int) -> Image.Image:
    """The map of a layer: the best patch of each channel, those on top whose patches agree most.

    Args:
        concepts: the directions of the channels.
        scan: the scan that has the patches; None if it was removed. Then tiles are grey.
        layer: name of the layer.
        side_px: side of the map, pixels.
    """
    page, positions = Image.new("RGB", (side_px, side_px), GROUND), concepts.of_layer(layer)
    patches = _best_patches(scan, layer) if scan else {}
    tile = max(2, round(side_px * tile_share(len(positions))))
    for position in positions[np.argsort(concepts.agreement[positions], kind="stable")]:
        x, y = (round(float(place) * (side_px - tile)) for place in concepts.places[position])
        data = patches.get(int(concepts.channel[position]))
        page.paste(_tile(data, tile), (x, y))
    return page


def _best_patches(scan: PublishedRun, layer: str) -> dict[int, bytes]:
    """The best patch of each channel of a layer."""
    wanted = (pc.field("layer") == layer) & (pc.field("rank") == 0)
    rows = read(scan, PATCHES, wanted, {"channel": pc.field("channel"), "patch": pc.field("patch", "bytes")})
    return dict(zip(rows["channel"].to_pylist(), rows["patch"].to_pylist(), strict=True))


def _tile(data: bytes | None, side: int) -> Image.Image:
    """The centre of a patch, as a square with a thin white edge."""
    square = Image.new("RGB", (side, side), WHITE)
    inner = max(1, side - 2)
    if data is None:
        patch = Image.new("RGB", (inner, inner), MISSING)
    else:
        whole = canvas.decode(data)
        edge = min(whole.size)
        left, top = (whole.width - edge) // 2, (whole.height - edge) // 2
        filtering = Image.Resampling.LANCZOS if edge > inner else Image.Resampling.NEAREST
        patch = whole.crop((left, top, left + edge, top + edge)).resize((inner, inner), filtering)
    square.paste(patch, (1, 1))
    return square
