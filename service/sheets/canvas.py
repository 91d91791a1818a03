"""What drawings share. Takes encoded pictures, figures and texts, gives images, and lines that fit."""

import io
from typing import TYPE_CHECKING

from PIL import Image, ImageFont

from workers.host.log import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def opened(encoded: bytes) -> Image.Image:
    """A picture of a table, as RGB."""
    with Image.open(io.BytesIO(encoded), formats=("WEBP", "PNG")) as picture:
        return picture.convert("RGB")


def plotted(figure: "Figure") -> Image.Image:
    """A figure's pixels."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return opened(buffer.getvalue())


def fitting(text: str, width: int, font: Font) -> str:
    """The end of a text that fits into so many pixels, on one line; an ellipsis stands for what is left out."""
    short = one_line(text)
    while font.getlength(short) > width and len(short) > 2:
        short = "…" + short[2:]
    return short


def plain(text: str) -> str:
    """A text for matplotlib, on one line, whose dollars begin no formula."""
    return one_line(text).replace("$", r"\$")
