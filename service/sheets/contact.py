"""The contact sheet of Zeiler & Fergus 2014, Figure 2. Takes a run's patches and projections, gives one picture.

Each channel has a grid of projections and, to its right, a grid of their patches, best first, row by row. The background is
mid-grey, the zero of a projection. Cells are filled (`tiles`) or exact (`cells`). Each projection has its own scale. If the
sheet shrinks it, its contrast is raised on the sheet only.
"""

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from service.query import scans
from service.query.catalog import PublishedRun
from service.query.figures import readable
from service.query.marks import marks, sees
from service.query.scans import PlacedCell, View
from service.sheets import canvas
from service.sheets.cells import GROUND, Geometry, geometry, grid
from service.sheets.tiles import Pen, images_cut, read_photos
from workers.errors import QueryError
from workers.store.facts import LayerFacts

INK = (250, 250, 250)
PAIR_GAP_PX = 8
BLOCK_GAP_PX = 24
MARGIN_PX = 24
LABEL_PX = 14
TITLE_PX = 20
LARGEST_PAGE_PX = 100_000_000
ASPECT = 1.5


def sheet(run: PublishedRun, layer: str, channels: Sequence[int], view: View = "filled") -> Image.Image:
    """Draw some channels of a layer, in their order.

    Args:
        run: the run.
        layer: name of the layer.
        channels: numbers of channels.
        view: whether cells are filled, or show exactly the receptive field.

    Raises:
        QueryError: the run lacks the layer or a channel, or the channels do not fit on a page.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    about = run.layer(layer)
    form = geometry(run, about)
    check_fits(form, len(channels))
    cells = scans.cells(run, layer, channels)
    pen = Pen(form, view, read_photos(run, images_cut(cells, form)) if view == "filled" else {})
    blocks = [_block([cell for cell in cells if cell.channel == channel], channel, pen) for channel in channels]
    return page_of(blocks, _title(run, about))


def _block(cells: Sequence[PlacedCell], channel: int, pen: Pen) -> Image.Image:
    """One channel: its label, and below it the grids of projections and patches."""
    font = ImageFont.load_default(LABEL_PX)
    label = f"channel {channel} · " + (f"max {readable(cells[0].score)}" if cells else "no image")
    grid_width, grid_height = pen.form.grid
    second, top = grid_width + PAIR_GAP_PX, LABEL_PX + 6
    size = max(second + grid_width, math.ceil(font.getlength(label))), top + grid_height
    block = Image.new("RGB", size, GROUND)
    ImageDraw.Draw(block).text((0, LABEL_PX), label, INK, font, anchor="ls")
    for left, projection in ((0, True), (second, False)):
        block.paste(grid([pen.draw(cell, projection=projection) for cell in cells], pen.form), (left, top))
    return block


def page_of(blocks: Sequence[Image.Image], title: Sequence[str]) -> Image.Image:
    """All blocks, row by row, on a page of about 3:2 below its title; wide enough for the widest part of the title."""
    step_x, step_y = (max(sizes) + BLOCK_GAP_PX for sizes in zip(*(block.size for block in blocks), strict=True))
    columns = min(len(blocks), max(1, round(math.sqrt(len(blocks) * step_y / step_x * ASPECT))))
    font = ImageFont.load_default(TITLE_PX)
    width = max(columns * step_x - BLOCK_GAP_PX, *(math.ceil(font.getlength(part)) for part in title))
    lines = canvas.wrap(title, width, font)
    top = MARGIN_PX + len(lines) * (TITLE_PX + 8) + 12
    height = top + math.ceil(len(blocks) / columns) * step_y - BLOCK_GAP_PX + MARGIN_PX
    page = Image.new("RGB", (width + 2 * MARGIN_PX, height), GROUND)
    for number, line in enumerate(lines):
        at = MARGIN_PX, MARGIN_PX + number * (TITLE_PX + 8) + TITLE_PX
        ImageDraw.Draw(page).text(at, line, INK, font, anchor="ls")
    for number, block in enumerate(blocks):
        page.paste(block, (MARGIN_PX + number % columns * step_x, top + number // columns * step_y))
    return page


def pictures_of(run: PublishedRun, place: str) -> str:
    """What a run's sheets show: projections at a place next to patches, or patches alone."""
    return "patches, without projections" if run.method == "none" else f"{run.method} projections {place} patches"


def _title(run: PublishedRun, layer: LayerFacts) -> list[str]:
    stride = f", stride {layer.stride_y} px" if layer.stride_y else ""
    return [
        run.run,
        f"layer {layer.name}",
        *marks(layer.gated, layer.obstacle),
        f"receptive field {sees(layer, 'x')}{stride}",
        f"{run.images:,} images",
        pictures_of(run, "beside"),
    ]


def check_fits(form: Geometry, channels: int) -> None:
    """Raise a QueryError if channels, each with two grids of these cells, do not fit on a page."""
    width, height = form.grid
    block_px = (2 * width + BLOCK_GAP_PX) * (height + BLOCK_GAP_PX + LABEL_PX)
    if not 0 < channels * block_px <= LARGEST_PAGE_PX:
        raise QueryError(f"{channels} channels do not fit on a sheet; request 1 to {LARGEST_PAGE_PX // block_px}")
