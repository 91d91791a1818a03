"""The sheet of an inversion run. Takes a published run, gives one picture: originals beside their inversions by layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc
from PIL import Image, ImageDraw, ImageFont

from service.query.catalog import PublishedRun
from service.query.figures import readable
from service.query.reading import read
from service.sheets import canvas
from workers.store.tables.invert import INVERSIONS

WHITE, INK, GROUND = (255, 255, 255), (20, 20, 20), (128, 128, 128)
LABEL_PX, MARGIN_PX = 16, 16
FONT_PX = 12
LARGEST_ROWS = 40
ERROR_LINE = "error: squared distance from the original's features, over their squared norm"
LEAST_TILE_PX = 84
INVERSION_LINE = f"what each layer preserves of an image; {ERROR_LINE}"

Row = Mapping[str, Any]
Line = tuple[int, int]  # image index, restart


@dataclass(frozen=True)
class SheetGrid:
    """Where the tiles of a sheet go: a line per image and restart, a column for the original and one per layer.

    Attributes:
        tile: width and height of a tile, pixels.
        layers: names of the layers by their index, in the order of the graph.
        lines: lines that are drawn, from the top.
    """

    tile: tuple[int, int]
    layers: Mapping[int, str]
    lines: Sequence[Line]

    @property
    def head(self) -> int:
        """Top of the column headings."""
        return MARGIN_PX + LABEL_PX + 4

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the sheet."""
        width = 2 * MARGIN_PX + (len(self.layers) + 1) * (self.tile[0] + 4)
        return width, 2 * MARGIN_PX + len(self.lines) * (self.tile[1] + LABEL_PX + 6) + 2 * LABEL_PX + 12

    def left(self, column: int) -> int:
        """Left of a column."""
        return MARGIN_PX + column * (self.tile[0] + 4)

    def top(self, line: Line) -> int:
        """Top of a line."""
        return self.head + LABEL_PX + 6 + self.lines.index(line) * (self.tile[1] + LABEL_PX + 6)


def draw(run: PublishedRun) -> Image.Image:
    """Mahendran & Vedaldi 2015, Figures 6 and 7: a line per image and restart, with the original and then each layer."""
    rows = read(run, INVERSIONS, pc.scalar(True), INVERSIONS.schema.names).to_pylist()
    lines = sorted({_line(row) for row in rows})
    layers = dict(sorted({(row["layer_index"], row["layer"]) for row in rows}))
    grid = SheetGrid(_tile(canvas.decode(rows[0]["original"]["bytes"])), layers, lines[:LARGEST_ROWS])
    page = Image.new("RGB", grid.size, WHITE)
    _draw_head(page, grid, run.run, len(lines) - LARGEST_ROWS)
    has_restarts = any(row["restart"] for row in rows)
    for row in rows:
        if _line(row) in grid.lines:
            _draw_row(page, grid, row, _caption(row, has_restarts=has_restarts))
    return page


def _tile(picture: Image.Image) -> tuple[int, int]:
    """The size of a tile: that of the pictures, enlarged by a whole number until it has room for a caption."""
    factor = -(-LEAST_TILE_PX // picture.width)
    return picture.width * factor, picture.height * factor


def _line(row: Row) -> Line:
    return row["image_index"], row["restart"]


def _draw_head(page: Image.Image, grid: SheetGrid, run: str, more: int) -> None:
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(FONT_PX)
    pen.text((MARGIN_PX, MARGIN_PX), _title(run, more, page.width - 2 * MARGIN_PX, font), INK, font)
    for column, heading in enumerate(["original", *grid.layers.values()]):
        pen.text((grid.left(column), grid.head), canvas.shorten(heading, grid.tile[0], font), INK, font)


def _title(run: str, more: int, width: int, font: canvas.Font) -> str:
    """The longest title that fits."""
    rest = f" · {more} more row{'' if more == 1 else 's'} in the table" if more > 0 else ""
    titles = (
        f"{run}: {INVERSION_LINE}{rest}",
        f"{run}: {ERROR_LINE}{rest}",
        f"{run}: inversions{rest}",
        f"{run}{rest}",
    )
    return next((title for title in titles if font.getlength(title) <= width), canvas.shorten(run, width, font))


def _draw_row(page: Image.Image, grid: SheetGrid, row: Row, caption: str) -> None:
    """The inversion of one layer, and the original once per image."""
    top, column = grid.top(_line(row)), list(grid.layers).index(row["layer_index"])
    _draw_tile(page, (grid.left(column + 1), top), row["inversion"], caption, grid.tile)
    if row["restart"] == 0 and column == 0:
        _draw_tile(page, (grid.left(0), top), row["original"], row["image_id"], grid.tile)


def _draw_tile(
    page: Image.Image, at: tuple[int, int], picture: Row | None, caption: str, tile: tuple[int, int]
) -> None:
    """A picture, or grey where there is none, with its caption below."""
    font = ImageFont.load_default(FONT_PX)
    shown = canvas.decode(picture["bytes"]) if picture else Image.new("RGB", tile, GROUND)
    page.paste(shown if shown.size == tile else shown.resize(tile, Image.Resampling.NEAREST), at)
    ImageDraw.Draw(page).text((at[0], at[1] + tile[1] + 2), canvas.shorten(caption, tile[0], font), INK, font)


def _caption(row: Row, *, has_restarts: bool) -> str:
    if row["status"] == "blank":
        return "blank: all features are 0"
    restart = f" · restart {row['restart']}" if has_restarts else ""
    error = "none" if row["error"] is None else readable(row["error"])
    return f"error {error}{restart}" + ("" if row["status"] == "ok" else f" · {row['status']}")
