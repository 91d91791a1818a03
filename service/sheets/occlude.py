"""The sheet of an occlusion run. Takes a published run, gives one picture with a row of panels per image."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.compute as pc
from PIL import Image, ImageDraw, ImageFont

from service.query.catalog import PublishedRun
from service.query.findings import PANELS
from service.query.reading import read
from service.sheets import canvas
from workers.host.log import one_line
from workers.store.tables.occlude import OCCLUSIONS

WHITE, INK = (255, 255, 255), (20, 20, 20)
LABEL_PX, MARGIN_PX = 16, 16
LARGEST_ROWS = 40


def draw(run: PublishedRun) -> Image.Image:
    """Zeiler & Fergus 2014, Figure 7: a row per image with its five panels; at most LARGEST_ROWS rows."""
    rows = read(run, OCCLUSIONS, pc.scalar(True), OCCLUSIONS.schema.names)[:LARGEST_ROWS].to_pylist()
    strips = [[canvas.decode(row[name]["bytes"]) for name in PANELS] for row in rows]
    width, height = max(map(_width, strips)), max(panel.height for strip in strips for panel in strip)
    row_height = height + LABEL_PX + 8
    page = Image.new("RGB", (width + 2 * MARGIN_PX, len(rows) * row_height + 2 * MARGIN_PX), WHITE)
    font = ImageFont.load_default(LABEL_PX)
    for number, (row, strip) in enumerate(zip(rows, strips, strict=True)):
        top, left = MARGIN_PX + number * row_height, MARGIN_PX
        ImageDraw.Draw(page).text((left, top), _caption(row), INK, font)
        for panel in strip:
            page.paste(panel, (left, top + LABEL_PX + 8))
            left += panel.width
    return page


def _caption(row: Mapping[str, Any]) -> str:
    names = {key: row[f"{key}_name"] or f"class {row[f'{key}_index']}" for key in ("class", "predicted")}
    target = f"{names['class']} at {100 * row['probability']:.0f} %"
    return one_line(f"{row['image_id']} · {target}; most probable: {names['predicted']}")


def _width(strip: Sequence[Image.Image]) -> int:
    return sum(panel.width for panel in strip)
