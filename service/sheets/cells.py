"""Cells of sheets and walls. Takes patches and projections, draws each exact receptive field in a cell of its layer's size.

A receptive field that leaves the model's input is drawn in its place in the cell; the rest of the cell stays mid-grey, the zero
of a projection. A projection that shrinks gets its contrast back, in the picture only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from service.query.catalog import PublishedRun
from service.query.scans import Cell, View
from service.sheets import canvas
from workers.store.facts import LayerFacts

GROUND = (128, 128, 128)
FAINT = (160, 160, 160)
GAP_PX = 2
CELL_PX = 80
LARGEST_CELL_PX = 128
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


def geometry(run: PublishedRun, layer: LayerFacts) -> Geometry:
    """The cells of a layer, all of one size: about 80 pixels if they can be enlarged, at most about 128."""
    height, width = min(layer.field_height, run.input_height), min(layer.field_width, run.input_width)
    longer = max(height, width)
    factor = LARGEST_CELL_PX / longer if longer > LARGEST_CELL_PX else max(1, round(CELL_PX / longer))
    side = math.ceil(math.sqrt(run.k))
    fits = layer.field_height <= run.input_height, layer.field_width <= run.input_width
    return Geometry(height, width, *fits, factor, side, run.input_height, run.input_width)


def around(form: Geometry, box: tuple[int, int, int, int], *, is_whole: bool = False) -> Geometry:
    """The cell of one receptive field, to fit into a cell of its layer: channels of a concatenation can see less than others.

    Args:
        form: the cells of the layer.
        box: top, left, bottom and right of the field, model-input pixels.
        is_whole: whether its pixels are enlarged by a whole number, as far as they are enlarged.
    """
    rows, columns = box[2] - box[0], box[3] - box[1]
    height, width = min(rows, form.input_height), min(columns, form.input_width)
    if (height, width) == (form.height, form.width):
        return form
    factor = min(form.cell[0] / width, form.cell[1] / height)
    return replace(
        form,
        height=height,
        width=width,
        moves_down=rows <= form.input_height,
        moves_right=columns <= form.input_width,
        factor=int(factor) if factor >= 1 and is_whole else factor,
    )


def centred(drawn: Image.Image, form: Geometry) -> Image.Image:
    """A drawn cell in the middle of a cell of its layer."""
    if drawn.size == form.cell:
        return drawn
    page = Image.new("RGB", form.cell, GROUND)
    page.paste(drawn, ((page.width - drawn.width) // 2, (page.height - drawn.height) // 2))
    return page


def fit(form: Geometry, side_px: int) -> Geometry:
    """The same cells, rescaled so that their grid is at most `side_px` wide and high."""
    factor = (side_px / form.side - GAP_PX) / max(form.height, form.width)
    return replace(form, factor=factor if factor < 1 else int(factor))


def single(run: PublishedRun, layer: LayerFacts, side_px: int, view: View) -> Geometry:
    """One cell of a layer, at most `side_px` wide and high. A filled one is exactly that long."""
    form = fit(replace(geometry(run, layer), side=1), side_px + GAP_PX)
    return form if view == "exact" else replace(form, factor=side_px / max(form.height, form.width))


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
