"""The sheet of an evolution run: Zeiler & Fergus 2014, Figure 4. Takes a published run and channels, gives one picture.

A row is a channel and a column is a checkpoint. A frame shows the channel's strongest image in the whole corpus at that
checkpoint: its projection, and its patch below.
"""

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from service.query import evolution
from service.query.catalog import PublishedRun
from service.query.evolution import Strip
from service.query.scans import Cell
from service.sheets import canvas, contact
from service.sheets.cells import GAP_PX as CELL_GAP_PX
from service.sheets.cells import GROUND, Geometry, draw_picture, fit, geometry
from workers.errors import QueryError

CELL_PX = 96
GAP_PX = 3
BAND_GAP_PX = 14
MARGIN_PX = 24
SIDE_PX = 150  # width of the text to the left of a row
LABEL_PX = 14
TITLE_PX = 20
LARGEST_ROWS = 40
LARGEST_PAGE_PX = 100_000_000


def draw(run: PublishedRun) -> Image.Image:
    """Some channels of every layer, evenly spaced among those that are not dead at the last checkpoint."""
    count = max(1, LARGEST_ROWS // (2 * len(run.layers)))
    return strips(run, [(layer.name, sample(run, layer.name, count)) for layer in run.layers][:LARGEST_ROWS])


def sample(run: PublishedRun, layer: str, count: int) -> tuple[int, ...]:
    """Up to `count` channels of a layer, evenly spaced among the living ones; among all if every channel is dead."""
    every = evolution.strips(run, layer)
    living = [strip.channel for strip in every if strip.settled_since is not None]
    channels = living or [strip.channel for strip in every]
    step = max(1, len(channels) // count)
    return tuple(channels[step // 2 :: step][:count])


def strips(run: PublishedRun, chosen: Sequence[tuple[str, Sequence[int]]]) -> Image.Image:
    """Draw channels of layers, in the given order.

    Raises:
        QueryError: the run lacks a layer or a channel, or the channels do not fit on a page.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    names = evolution.checkpoints(run)
    bands = [(layer, strip) for layer, channels in chosen for strip in evolution.strips(run, layer, channels)]
    step_x, step_y = CELL_PX + GAP_PX, 2 * CELL_PX + GAP_PX + BAND_GAP_PX
    top = MARGIN_PX + TITLE_PX + 12 + LABEL_PX + 8
    width = 2 * MARGIN_PX + SIDE_PX + len(names) * step_x - GAP_PX
    size = width, top + len(bands) * step_y - BAND_GAP_PX + MARGIN_PX
    if not bands or size[0] * size[1] > LARGEST_PAGE_PX:
        raise QueryError(f"{len(bands)} channels do not fit on a sheet of {len(names)} checkpoints; request fewer")
    page = Image.new("RGB", size, GROUND)
    _draw_head(page, run, names, top)
    pictures = {layer: evolution.cells(run, layer, channels) for layer, channels in chosen}
    for number, (layer, strip) in enumerate(bands):
        at = MARGIN_PX, top + number * step_y
        _draw_label(page, at, (layer, strip), names)
        form = fit(geometry(run, run.layer(layer)), _grid_side(run))
        _draw_frames(page, (at[0] + SIDE_PX, at[1]), pictures[layer][strip.channel], form)
    return page


def _grid_side(run: PublishedRun) -> int:
    """The side of a grid whose cells are as large as a frame."""
    return math.ceil(math.sqrt(run.k)) * (CELL_PX + CELL_GAP_PX)


def _draw_head(page: Image.Image, run: PublishedRun, names: Sequence[str], top: int) -> None:
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(LABEL_PX)
    diverged, title_font = evolution.diverged(run), ImageFont.load_default(TITLE_PX)
    title = f"{run.run} · {run.images:,} images · {contact.pictures_of(run, 'above')}"
    if diverged:
        title = canvas.shorten(f"diverged: {', '.join(diverged)} · {title}", page.width - 2 * MARGIN_PX, title_font)
    draw.text((MARGIN_PX, MARGIN_PX + TITLE_PX), title, contact.INK, title_font, anchor="ls")
    for column, name in enumerate(names):
        left = MARGIN_PX + SIDE_PX + column * (CELL_PX + GAP_PX)
        draw.text((left, top - 8), canvas.shorten(name, CELL_PX, font), contact.INK, font, anchor="ls")


def _draw_label(page: Image.Image, at: tuple[int, int], band: tuple[str, Strip], names: Sequence[str]) -> None:
    """The layer and channel of a row, and the checkpoint since which the channel has been settled."""
    (layer, strip), font = band, ImageFont.load_default(LABEL_PX)
    since = "dead at the end" if strip.settled_since is None else f"settled: {names[strip.settled_since]}"
    for number, line in enumerate((layer, f"channel {strip.channel}", since)):
        line_at = at[0], at[1] + number * (LABEL_PX + 6)
        ImageDraw.Draw(page).text(line_at, canvas.shorten(line, SIDE_PX - 10, font), contact.INK, font)


def _draw_frames(page: Image.Image, at: tuple[int, int], cells: Sequence[Cell], form: Geometry) -> None:
    """A channel's projections above its patches, each centred in its frame."""
    for cell in cells:
        for line, projection in enumerate((True, False)):
            picture = draw_picture(cell, projection, form)
            left = at[0] + cell.rank * (CELL_PX + GAP_PX) + (CELL_PX - picture.width) // 2
            page.paste(picture, (left, at[1] + line * (CELL_PX + GAP_PX) + (CELL_PX - picture.height) // 2))
