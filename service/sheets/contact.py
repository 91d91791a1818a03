"""The contact sheet of Zeiler & Fergus 2014, Figure 2. Takes a run's patches and projections, gives one picture.

Each channel has a grid of projections and, to its right, a grid of their patches, best first, row by row. The background is
mid-grey, the zero of a projection. A receptive field that leaves the model's input is drawn in its place in the cell; the rest
of the cell stays grey. Each projection has its own scale. If the sheet shrinks it, its contrast is raised on the sheet only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from service.query import scans
from service.query.catalog import PublishedRun
from service.query.marks import marks
from service.query.scans import Cell
from service.sheets import canvas
from workers.errors import QueryError
from workers.store.manifest import LayerFacts

GROUND = (128, 128, 128)
INK = (250, 250, 250)
FAINT = (160, 160, 160)
GAP_PX = 2
PAIR_GAP_PX = 8
BLOCK_GAP_PX = 24
MARGIN_PX = 24
LABEL_PX = 14
TITLE_PX = 20
CELL_PX = 80
LARGEST_CELL_PX = 128
LARGEST_PAGE_PX = 100_000_000
ASPECT = 1.5
STRONG_PERCENT = 99.7
LARGEST_GAIN = 4.0


@dataclass(frozen=True)
class Geometry:
    """How the pixels of the model's input become pixels of a cell.

    Attributes:
        height: rows of a cell, model-input pixels: those of the receptive field or of the input, whichever has fewer.
        width: columns of a cell, likewise.
        moves_down: whether the cell is the receptive field, so that a picture cut off at the top moves down; if not, the cell is
            the input.
        moves_right: the same for columns.
        factor: size of a model-input pixel on the page; a whole number if above 1.
        side: number of cells in a row and in a column.
        input_height: rows of the model's input.
        input_width: columns of the model's input.
    """

    height: int
    width: int
    moves_down: bool
    moves_right: bool
    factor: float
    side: int
    input_height: int
    input_width: int

    @property
    def cell(self) -> tuple[int, int]:
        """Width and height of a cell on the page."""
        return max(1, round(self.width * self.factor)), max(1, round(self.height * self.factor))

    @property
    def grid(self) -> tuple[int, int]:
        """Width and height of side x side cells on the page."""
        width, height = self.cell
        return self.side * (width + GAP_PX) - GAP_PX, self.side * (height + GAP_PX) - GAP_PX


def sheet(run: PublishedRun, layer: str, channels: Sequence[int]) -> Image.Image:
    """Draw some channels of a layer, in their order.

    Raises:
        QueryError: the run lacks the layer or a channel, or the channels do not fit on a page.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    about = run.layer(layer)
    form = geometry(run, about)
    _check_fits(form, len(channels))
    cells = scans.cells(run, layer, channels)
    blocks = [_block([cell for cell in cells if cell.channel == channel], channel, form) for channel in channels]
    return _page(blocks, _title(run, about))


def geometry(run: PublishedRun, layer: LayerFacts) -> Geometry:
    """The cells of a layer, all of one size: about 80 pixels if they can be enlarged, at most about 128."""
    height, width = min(layer.field_height, run.input_height), min(layer.field_width, run.input_width)
    longer = max(height, width)
    factor = LARGEST_CELL_PX / longer if longer > LARGEST_CELL_PX else max(1, round(CELL_PX / longer))
    side = math.ceil(math.sqrt(run.k))
    fits = layer.field_height <= run.input_height, layer.field_width <= run.input_width
    return Geometry(height, width, *fits, factor, side, run.input_height, run.input_width)


def fit(form: Geometry, side_px: int) -> Geometry:
    """The same cells, rescaled so that their grid is at most `side_px` wide and high."""
    factor = (side_px / form.side - GAP_PX) / max(form.height, form.width)
    return replace(form, factor=factor if factor < 1 else int(factor))


def grid(cells: Sequence[Image.Image], form: Geometry) -> Image.Image:
    """Drawn cells in rows, with grey between them."""
    width, height = form.cell
    page = Image.new("RGB", form.grid, GROUND)
    for number, cell in enumerate(cells):
        page.paste(cell, (number % form.side * (width + GAP_PX), number // form.side * (height + GAP_PX)))
    return page


def draw_cell(encoded: bytes | None, cell: Cell, form: Geometry) -> Image.Image:
    """One patch or projection in its place in a cell; a thin diagonal line if there is none."""
    cut = Image.new("RGB", (form.width, form.height), GROUND)
    if encoded is None:
        cut = cut.resize(form.cell)
        strike_through(cut)
        return cut
    cut.paste(canvas.decode(encoded), _offset(cell, form))
    enlarged = form.factor >= 1
    return cut.resize(form.cell, Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS)


def draw_picture(cell: Cell, projection: bool, form: Geometry) -> Image.Image:
    """The cell's projection, with its contrast restored if it shrinks, or the cell's patch."""
    if not projection:
        return draw_cell(cell.patch, cell, form)
    drawn = draw_cell(cell.projection, cell, form)
    return restore_contrast(drawn) if form.factor < 1 else drawn


def strike_through(page: Image.Image) -> None:
    """Draw a thin diagonal line: there is no picture."""
    ImageDraw.Draw(page).line((0, page.height - 1, page.width - 1, 0), FAINT)


def restore_contrast(projection: Image.Image) -> Image.Image:
    """A projection with the contrast that shrinking took away, so that all but its strongest pixels are in range."""
    about_grey = np.asarray(projection, np.float32) - GROUND[0]
    strong = float(np.percentile(np.abs(about_grey), STRONG_PERCENT))
    gain = min(max(127 / max(strong, 1.0), 1.0), LARGEST_GAIN)
    return Image.fromarray(np.rint(np.clip(about_grey * gain + GROUND[0], 0, 255)).astype(np.uint8))


def _offset(cell: Cell, form: Geometry) -> tuple[int, int]:
    """Left and top of the picture in the cell, model-input pixels; the picture is the box cropped to the input."""
    left = max(-cell.box_left, 0) if form.moves_right else max(cell.box_left, 0)
    top = max(-cell.box_top, 0) if form.moves_down else max(cell.box_top, 0)
    return left, top


def _block(cells: Sequence[Cell], channel: int, form: Geometry) -> Image.Image:
    """One channel: its label, and below it the grids of projections and patches."""
    font = ImageFont.load_default(LABEL_PX)
    label = f"channel {channel} · " + (f"max {_number(cells[0].score)}" if cells else "no image")
    grid_width, grid_height = form.grid
    second, top = grid_width + PAIR_GAP_PX, LABEL_PX + 6
    size = max(second + grid_width, math.ceil(font.getlength(label))), top + grid_height
    block = Image.new("RGB", size, GROUND)
    ImageDraw.Draw(block).text((0, LABEL_PX), label, INK, font, anchor="ls")
    for left, projection in ((0, True), (second, False)):
        block.paste(grid([draw_picture(cell, projection, form) for cell in cells], form), (left, top))
    return block


def _page(blocks: Sequence[Image.Image], title: Sequence[str]) -> Image.Image:
    """All blocks, row by row, on a page of about 3:2 below its title; wide enough for the widest part of the title."""
    step_x, step_y = max(block.width for block in blocks) + BLOCK_GAP_PX, blocks[0].height + BLOCK_GAP_PX
    columns = min(len(blocks), max(1, round(math.sqrt(len(blocks) * step_y / step_x * ASPECT))))
    font = ImageFont.load_default(TITLE_PX)
    width = max(columns * step_x - BLOCK_GAP_PX, *(math.ceil(font.getlength(part)) for part in title))
    lines = _wrap(title, width, font)
    top = MARGIN_PX + len(lines) * (TITLE_PX + 8) + 12
    height = top + math.ceil(len(blocks) / columns) * step_y - BLOCK_GAP_PX + MARGIN_PX
    page = Image.new("RGB", (width + 2 * MARGIN_PX, height), GROUND)
    for number, line in enumerate(lines):
        at = MARGIN_PX, MARGIN_PX + number * (TITLE_PX + 8) + TITLE_PX
        ImageDraw.Draw(page).text(at, line, INK, font, anchor="ls")
    for number, block in enumerate(blocks):
        page.paste(block, (MARGIN_PX + number % columns * step_x, top + number // columns * step_y))
    return page


def _wrap(parts: Sequence[str], width: int, font: canvas.Font) -> list[str]:
    """The parts of a title on as few lines as they fit."""
    lines = [parts[0]]
    for part in parts[1:]:
        longer = f"{lines[-1]} · {part}"
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def pictures_of(run: PublishedRun, place: str) -> str:
    """What a run's sheets show: projections at a place next to patches, or patches alone."""
    return "patches, without projections" if run.method == "none" else f"{run.method} projections {place} patches"


def _title(run: PublishedRun, layer: LayerFacts) -> list[str]:
    stride = f", stride {layer.stride_y} px" if layer.stride_y else ""
    return [
        run.run,
        f"layer {layer.name}",
        *marks(layer.gated, layer.obstacle),
        f"receptive field {layer.field_height} x {layer.field_width} px{stride}",
        f"{run.images:,} images",
        pictures_of(run, "beside"),
    ]


def _number(score: float) -> str:
    return f"{score:.0f}" if abs(score) >= 1000 else f"{score:.3g}"


def _check_fits(form: Geometry, channels: int) -> None:
    width, height = form.grid
    block_px = (2 * width + BLOCK_GAP_PX) * (height + BLOCK_GAP_PX + LABEL_PX)
    if not 0 < channels * block_px <= LARGEST_PAGE_PX:
        raise QueryError(f"{channels} channels do not fit on a sheet; request 1 to {LARGEST_PAGE_PX // block_px}")
