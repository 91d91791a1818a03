"""Features over a training as one picture: Zeiler & Fergus 2014, Figure 4. Takes a run and channels, gives the sheet.

A row is a channel, a column a checkpoint: the channel's strongest image over the whole corpus, its projection above its patch.
"""

import math
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

from service.query import evolution
from service.query.catalog import PublishedRun
from service.query.evolution import Strip
from service.query.scans import Cell
from service.sheets import canvas, contact
from workers.errors import QueryError

CELL_PX = 96
GAP_PX = 3
BAND_GAP_PX = 14
MARGIN_PX = 24
SIDE_PX = 150  # of what is said beside a row
LABEL_PX = 14
TITLE_PX = 20
LARGEST_ROWS = 40
LARGEST_PAGE_PX = 100_000_000


def board(run: PublishedRun) -> Image.Image:
    """Some channels of every layer, evenly spaced among those that live at the end."""
    each = max(1, LARGEST_ROWS // (2 * len(run.layers)))
    return strips(run, [(layer.name, spaced(run, layer.name, each)) for layer in run.layers][:LARGEST_ROWS])


def spaced(run: PublishedRun, layer: str, count: int) -> tuple[int, ...]:
    """So many channels of a layer, evenly spaced among those that live at the end; if none lives, among all."""
    every = evolution.strips(run, layer)
    living = [strip.channel for strip in every if strip.settled_since is not None] or [each.channel for each in every]
    step = max(1, len(living) // count)
    return tuple(living[step // 2 :: step][:count])


def strips(run: PublishedRun, chosen: Sequence[tuple[str, Sequence[int]]]) -> Image.Image:
    """Draw channels of layers, in their order.

    Raises:
        QueryError: the run has no such layer or channels, or they do not fit on a page.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    names = evolution.checkpoints(run)
    bands = [(layer, strip) for layer, channels in chosen for strip in evolution.strips(run, layer, channels)]
    tall, wide = 2 * CELL_PX + GAP_PX + BAND_GAP_PX, CELL_PX + GAP_PX
    top = MARGIN_PX + TITLE_PX + 12 + LABEL_PX + 8
    size = (2 * MARGIN_PX + SIDE_PX + len(names) * wide - GAP_PX, top + len(bands) * tall - BAND_GAP_PX + MARGIN_PX)
    if not bands or size[0] * size[1] > LARGEST_PAGE_PX:
        raise QueryError(f"{len(bands)} channels do not fit on a sheet of {len(names)} checkpoints")
    page = Image.new("RGB", size, contact.GROUND)
    _head(page, run, names, top)
    pictures = {layer: evolution.cells(run, layer, channels) for layer, channels in chosen}
    for number, (layer, strip) in enumerate(bands):
        at = MARGIN_PX, top + number * tall
        _beside(page, at, (layer, strip), names)
        form = contact.fitted(contact.geometry(run, run.layer(layer)), _grid_side(run))
        _frames(page, (at[0] + SIDE_PX, at[1]), pictures[layer][strip.channel], form)
    return page


def course(run: PublishedRun) -> Mapping[str, int | None]:
    """By layer the checkpoint by which half of its channels have settled."""
    return {each.layer.name: each.median for each in evolution.courses(run)}


def _grid_side(run: PublishedRun) -> int:
    """The side of a channel's grid whose cells are as large as a frame."""
    return math.ceil(math.sqrt(run.k)) * (CELL_PX + contact.GAP_PX)


def _head(page: Image.Image, run: PublishedRun, names: Sequence[str], top: int) -> None:
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(LABEL_PX)
    lost = evolution.diverged(run)
    title = f"{run.run} · {run.images:,} images · {run.method} projections above patches"
    if lost:
        room = page.width - 2 * MARGIN_PX
        title = canvas.fitting(f"diverged: {', '.join(lost)} · {title}", room, ImageFont.load_default(TITLE_PX))
    draw.text((MARGIN_PX, MARGIN_PX + TITLE_PX), title, contact.INK, ImageFont.load_default(TITLE_PX), anchor="ls")
    for column, name in enumerate(names):
        left = MARGIN_PX + SIDE_PX + column * (CELL_PX + GAP_PX)
        draw.text((left, top - 8), canvas.fitting(name, CELL_PX, font), contact.INK, font, anchor="ls")


def _beside(page: Image.Image, at: tuple[int, int], band: tuple[str, Strip], names: Sequence[str]) -> None:
    """What a row is of, and since when the channel has settled."""
    (layer, strip), font = band, ImageFont.load_default(LABEL_PX)
    since = "dead at the end" if strip.settled_since is None else f"settled: {names[strip.settled_since]}"
    for number, line in enumerate((layer, f"channel {strip.channel}", since)):
        place = at[0], at[1] + number * (LABEL_PX + 6)
        ImageDraw.Draw(page).text(place, canvas.fitting(line, SIDE_PX - 10, font), contact.INK, font)


def _frames(page: Image.Image, at: tuple[int, int], cells: Sequence[Cell], form: contact.Geometry) -> None:
    """Projections above patches, each in the middle of its place."""
    for cell in cells:
        for line, projection in enumerate((True, False)):
            drawn = contact.drawn(cell, projection, form)
            left = at[0] + cell.rank * (CELL_PX + GAP_PX) + (CELL_PX - drawn.width) // 2
            page.paste(drawn, (left, at[1] + line * (CELL_PX + GAP_PX) + (CELL_PX - drawn.height) // 2))
