"""What all sheets use. Takes encoded pictures, figures and texts, gives images, and texts that fit and are safe to draw."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image, ImageFont

from workers.host.log import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def decode(encoded: bytes) -> Image.Image:
    """A picture from a table, as RGB."""
    with Image.open(io.BytesIO(encoded), formats=("WEBP", "PNG")) as picture:
        return picture.convert("RGB")


def rasterize(figure: "Figure") -> Image.Image:
    """The pixels of a figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return decode(buffer.getvalue())


def shorten(text: str, width: int, font: Font) -> str:
    """A text on one line of at most `width` pixels; an ellipsis replaces the beginning of a longer text."""
    short = one_line(text)
    while font.getlength(short) > width and len(short) > 2:
        short = "…" + short[2:]
    return short


def wrap(parts: Sequence[str], width: int, font: Font) -> list[str]:
    """The parts of a title on as few lines as they fit."""
    lines = [parts[0]]
    for part in parts[1:]:
        longer = f"{lines[-1]} · {part}"
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def escape(text: str) -> str:
    """A text for matplotlib, on one line, whose dollar signs do not start formulas."""
    return one_line(text).replace("$", r"\$")
