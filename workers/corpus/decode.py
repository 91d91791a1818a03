"""One image file to upright RGB. Takes bytes, gives uint8 (height, width, 3), or says why the file cannot be used.

Every mode is converted on purpose: transparency is laid over white, 16 bits are scaled to 8 (Pillow's own conversion
clips them to white), CMYK and palettes go through Pillow, floating point and 32-bit images are refused because nothing
says which of their values is white. Of several frames or pages the first one counts. The size is read from the header
before anything is decoded.
"""

import io
import warnings
from typing import Any

import numpy as np
import PIL
from PIL import Image, ImageOps, UnidentifiedImageError

from workers.errors import Reason, Rejected
from workers.spec import LimitsSpec

DECODER = f"pillow {PIL.__version__}"
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def decode(data: bytes, limits: LimitsSpec) -> Pixels:
    """Decode one file.

    Args:
        data: the whole file.
        limits: what it may cost.

    Returns:
        uint8 (height, width, 3), RGB, with the EXIF orientation applied.

    Raises:
        Rejected: the reason, a function of the bytes and the limits.
    """
    if not data:
        raise Rejected(Reason.EMPTY, "the file has no bytes")
    if len(data) > limits.bytes:
        raise Rejected(Reason.TOO_MANY_BYTES, f"{len(data)} bytes, the limit is {limits.bytes}")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image, limits)
            return _pixels(image)
    except (Rejected, MemoryError):
        raise
    except UnidentifiedImageError:
        raise Rejected(Reason.NOT_AN_IMAGE, "no known image format") from None
    except Exception as error:  # noqa: BLE001 - decoders raise anything on damaged files; it becomes a reject
        raise Rejected(Reason.DAMAGED, _first_line(error)) from None


def prepare_decoder() -> None:
    """Make a process ready to decode: limits are ours and are checked, so Pillow's own limit and warnings are put off."""
    Image.MAX_IMAGE_PIXELS = None
    warnings.filterwarnings("ignore", module="PIL")


def _check_size(image: Image.Image, limits: LimitsSpec) -> None:
    width, height = image.size
    if width * height > limits.pixels:
        raise Rejected(Reason.TOO_MANY_PIXELS, f"{width} x {height} pixels, the limit is {limits.pixels} in all")
    if width * height == 0:
        raise Rejected(Reason.DAMAGED, f"{width} x {height} pixels")


def _pixels(image: Image.Image) -> Pixels:
    image.load()
    upright = ImageOps.exif_transpose(image)
    return np.array(_rgb(upright))


def _rgb(image: Image.Image) -> Image.Image:
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and _holds_16_bits(image)):
        return _from_16_bits(image)
    if mode in ("I", "F"):
        raise Rejected(Reason.UNSUPPORTED_MODE, f"mode {mode}: 32-bit values without a known white")
    if mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, coloured).convert("RGB")
    return image if mode == "RGB" else image.convert("RGB")


def _holds_16_bits(image: Image.Image) -> bool:
    """Some 16-bit formats open as 32-bit integers: Pillow's netpbm and old PNG readers."""
    return image.format == "PNG"


def _from_16_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.uint32)
    grey = ((values + 128) // 257).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def _first_line(error: Exception) -> str:
    text = str(error).splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
