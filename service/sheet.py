"""The contact sheet of Zeiler & Fergus 2014, Figure 2. Takes a run's patches, gives one picture.

For each channel the projections stand beside the patches, best first, row-major. The ground is mid-grey, the zero of a
projection. A field that leaves the model's input is drawn in its place in the cell, the rest stays ground.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from service import query
from service.catalog import PublishedRun

GROUND = (128, 128, 128)
INK = (245, 245, 245)
FAINT = (205, 205, 205)
CELL_PX = 84
GAP_PX = 2
BLOCK_GAP_PX = 22
MARGIN_PX = 20
LABEL_PX = 20
TITLE_PX = 44
PAGE_PX = 2400


@dataclass(frozen=True)
class _Scale:
    """How model-input pixels become pixels of a cell."""

    height: int
    width: int
    factor: float

    @property
    def cell(self) -> tuple[int, int]:
        """Width and height of a cell, pixels."""
        return max(1, round(self.width * self.factor)), max(1, round(self.height * self.factor))


def sheet(run: PublishedRun, layer: str, first: int, last: int) -> Image.Image:
    """Draw channels `first` to `last` of a layer.

    Raises:
        QueryError: the run has no such layer or channels.
    """
    about = query.layer_of(run, layer)
    rows = query.patches(run, layer, first, last)
    _, height, width = run.told["input"]
    scale = _scale(min(about["field_height"], height), min(about["field_width"], width))
    k = int(run.told["spec"]["scan"]["k"])
    blocks = [
        _block([row for row in rows if row["channel"] == channel], channel, scale, math.ceil(math.sqrt(k)))
        for channel in range(first, last + 1)
    ]
    return _page(blocks, _title(run, layer, about))


def _scale(height: int, width: int) -> _Scale:
    """Small fields are enlarged by a whole number, so that their pixels stay square; large ones are reduced."""
    side = max(height, width)
    factor = float(CELL_PX // side) if side <= CELL_PX else CELL_PX / side
    return _Scale(height, width, factor)


def _title(run: PublishedRun, layer: str, about: Any) -> str:  # noqa: ANN401 - a manifest's layer
    corpus = run.told["corpus"]["source"].rstrip("/").rpartition("/")[2]
    images = f"{run.told['totals']['images']:,} images of {corpus}"
    stride = f", every {about['stride_y']} px" if about["stride_y"] else ""
    field = f"field {about['field_height']} x {about['field_width']} px{stride}"
    return f"{run.run} · {layer} · {field} · {images} · {run.told['spec']['project']['method']} beside patches"


def _block(rows: Sequence[Any], channel: int, scale: _Scale, side: int) -> Image.Image:
    wide, tall = scale.cell
    grid_w, grid_h = side * wide + (side - 1) * GAP_PX, side * tall + (side - 1) * GAP_PX
    block = Image.new("RGB", (2 * grid_w + 3 * GAP_PX, grid_h + LABEL_PX), GROUND)
    best = f"max {rows[0]['score']:.3g}" if rows else "no image"
    ImageDraw.Draw(block).text((0, 1), f"channel {channel} · {best}", INK, ImageFont.load_default(13))
    for number, row in enumerate(rows):
        x, y = number % side * (wide + GAP_PX), number // side * (tall + GAP_PX) + LABEL_PX
        block.paste(_cell(row, "projection", scale), (x, y))
        block.paste(_cell(row, "patch", scale), (x + grid_w + 3 * GAP_PX, y))
    return block


def _cell(row: Any, column: str, scale: _Scale) -> Image.Image:  # noqa: ANN401 - a row of patches
    cell = Image.new("RGB", (scale.width, scale.height), GROUND)
    if row[column] is None:
        cell = cell.resize(scale.cell)
        ImageDraw.Draw(cell).line((0, scale.cell[1], scale.cell[0], 0), FAINT)
        return cell
    with Image.open(io.BytesIO(row[column]["bytes"])) as picture:
        top = max(-row["box_top"], 0) if row["box_bottom"] - row["box_top"] <= scale.height else 0
        left = max(-row["box_left"], 0) if row["box_right"] - row["box_left"] <= scale.width else 0
        cell.paste(picture.convert("RGB"), (left, top))
    smooth = Image.Resampling.NEAREST if scale.factor >= 1 else Image.Resampling.LANCZOS
    return cell.resize(scale.cell, smooth)


def _page(blocks: Sequence[Image.Image], title: str) -> Image.Image:
    wide, tall = blocks[0].width + BLOCK_GAP_PX, blocks[0].height + BLOCK_GAP_PX
    columns = max(
        1, min(len(blocks), (PAGE_PX - 2 * MARGIN_PX) // wide, math.ceil(math.sqrt(len(blocks) * tall / wide * 1.6)))
    )
    font = ImageFont.load_default(17)
    needed = int(font.getlength(title)) + 2 * MARGIN_PX
    size = max(columns * wide - BLOCK_GAP_PX + 2 * MARGIN_PX, needed)
    page = Image.new("RGB", (size, math.ceil(len(blocks) / columns) * tall + TITLE_PX + MARGIN_PX), GROUND)
    ImageDraw.Draw(page).text((MARGIN_PX, 12), title, INK, font)
    for number, block in enumerate(blocks):
        page.paste(block, (MARGIN_PX + number % columns * wide, TITLE_PX + number // columns * tall))
    return page
