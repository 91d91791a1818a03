"""The sheet of an evolution run: Zeiler & Fergus 2014, Figure 4. Takes a published run and channels, gives one picture.

A row is a channel and a column is a checkpoint. A frame shows the channel's strongest image in the whole corpus at that
checkpoint: its projection, its patch, and the share of all its top images in common with the last checkpoint: frames can be
equal although most of the other top images changed.
"""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from service.query import evolution
from service.query.catalog import PublishedRun
from service.query.evolution import Strip
from service.query.scans import PlacedCell, View
from service.sheets import canvas, contact
from service.sheets.cells import GROUND, single
from service.sheets.tiles import Pen
from workers.errors import QueryError

CELL_PX = 96
GAP_PX = 3
BAND_GAP_PX = 16
MARGIN_PX = 24
SIDE_PX = 150  # width of the text to the left of a row
LABEL_PX = 14
TITLE_PX = 20
TITLE_STEP_PX = TITLE_PX + 8
BAND_PX = 2 * (CELL_PX + GAP_PX) + LABEL_PX + 4 + BAND_GAP_PX  # of one channel: two frames, a line of text, and a gap
LEAST_COLUMNS = 4  # the sheet is wide enough for so many frames, so that its title has room
MOST_CHANGED = "most changed first"
LARGEST_ROWS = 40
LARGEST_PAGE_PX = 100_000_000


def draw(run: PublishedRun, view: View = "filled") -> Image.Image:
    """The most changed channels of every layer, of at most `LARGEST_ROWS`."""
    count = max(1, LARGEST_ROWS // (2 * len(run.layers)))
    chosen = [(layer.name, most_changed(run, layer.name, count)) for layer in run.layers[:LARGEST_ROWS]]
    hidden = len(run.layers) - len(chosen)
    more = f"; {hidden} more layer{'s' if hidden > 1 else ''} in the table" if hidden else ""
    return strips(run, chosen, view, MOST_CHANGED + more)


def most_changed(run: PublishedRun, layer: str, count: int) -> tuple[int, ...]:
    """Up to `count` channels of a layer, the most changed first; only living ones unless every channel is dead at the end."""
    every = evolution.most_changed(evolution.strips(run, layer))
    living = [strip for strip in every if strip.settled_since is not None]
    return tuple(strip.channel for strip in living or every)[:count]


def strips(
    run: PublishedRun, chosen: Sequence[tuple[str, Sequence[int]]], view: View = "filled", order: str = ""
) -> Image.Image:
    """Draw channels of layers, in the given order.

    Args:
        run: the run.
        chosen: names of layers, and numbers of their channels.
        view: whether frames are filled, or show exactly the receptive field.
        order: the order of the channels in words, for the title.

    Raises:
        QueryError: the run lacks a layer or a channel, or the channels do not fit on a page.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    names = evolution.checkpoints(run)
    bands = [(layer, strip) for layer, channels in chosen for strip in evolution.strips(run, layer, channels)]
    width = 2 * MARGIN_PX + SIDE_PX + max(LEAST_COLUMNS, len(names)) * (CELL_PX + GAP_PX) - GAP_PX
    title = canvas.wrap(_title(run, order), width - 2 * MARGIN_PX, ImageFont.load_default(TITLE_PX))
    top = MARGIN_PX + len(title) * TITLE_STEP_PX + 12 + LABEL_PX + 8
    size = width, top + len(bands) * BAND_PX - BAND_GAP_PX + MARGIN_PX
    if not bands or size[0] * size[1] > LARGEST_PAGE_PX:
        raise QueryError(f"{len(bands)} channels do not fit on a sheet of {len(names)} checkpoints; request fewer")
    page = Image.new("RGB", size, GROUND)
    _draw_head(page, title, names, top)
    pens = {layer: _pictures(run, layer, channels, view) for layer, channels in chosen}
    for number, (layer, strip) in enumerate(bands):
        at = MARGIN_PX, top + number * BAND_PX
        pen, cells = pens[layer]
        _draw_label(page, at, (layer, strip), names)
        _draw_frames(page, (at[0] + SIDE_PX, at[1]), cells[strip.channel], pen)
        _draw_shares(page, (at[0] + SIDE_PX, at[1] + 2 * (CELL_PX + GAP_PX)), strip)
    return page


def _pictures(
    run: PublishedRun, layer: str, channels: Sequence[int], view: View
) -> tuple[Pen, dict[int, tuple[PlacedCell, ...]]]:
    """The cells of channels, and what draws them."""
    cells, form = evolution.cells(run, layer, channels), single(run, run.layer(layer), CELL_PX, view)
    return Pen(form, view, {}), cells  # such a run keeps no photos that could continue a field


def _title(run: PublishedRun, order: str) -> list[str]:
    diverged = evolution.diverged(run)
    return [
        *([f"diverged: {', '.join(diverged)}"] if diverged else []),
        run.run,
        f"{run.images:,} images",
        contact.pictures_of(run, "above"),
        *([order] if order else []),
        "%: top images in common with the last checkpoint",
    ]


def _draw_head(page: Image.Image, title: Sequence[str], names: Sequence[str], top: int) -> None:
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(LABEL_PX)
    title_font, width = ImageFont.load_default(TITLE_PX), page.width - 2 * MARGIN_PX
    for number, line in enumerate(title):
        at = MARGIN_PX, MARGIN_PX + TITLE_PX + number * TITLE_STEP_PX
        draw.text(at, canvas.shorten(line, width, title_font), contact.INK, title_font, anchor="ls")
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


def _draw_frames(page: Image.Image, at: tuple[int, int], cells: Sequence[PlacedCell], pen: Pen) -> None:
    """A channel's projections above its patches, each centred in its frame."""
    for cell in cells:
        for line, projection in enumerate((True, False)):
            picture = pen.draw(cell, projection=projection)
            left = at[0] + cell.rank * (CELL_PX + GAP_PX) + (CELL_PX - picture.width) // 2
            page.paste(picture, (left, at[1] + line * (CELL_PX + GAP_PX) + (CELL_PX - picture.height) // 2))


def _draw_shares(page: Image.Image, at: tuple[int, int], strip: Strip) -> None:
    """The share of top images in common with the last checkpoint, below each frame."""
    for frame in strip.frames:
        if frame.overlap is not None:
            middle = at[0] + frame.checkpoint * (CELL_PX + GAP_PX) + CELL_PX // 2, at[1] + LABEL_PX
            text = f"{100 * frame.overlap:.0f} %"
            ImageDraw.Draw(page).text(middle, text, contact.INK, ImageFont.load_default(LABEL_PX), anchor="ms")
