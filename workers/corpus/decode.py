"""One image file to upright RGB. Takes bytes, gives uint8 (height, width, 3), or says why the file cannot be used.

Every mode is converted on purpose: transparency is laid over white, 16 bits are scaled to 8 (Pillow's own conversion
clips them to white), CMYK and palettes go through Pillow, floating point and 32-bit images are refused because nothing
says which of their values is white. Of several frames or pages the first one counts. The size is read from the header
before anything is decoded.
"""

import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL
from PIL import Image, ImageOps, UnidentifiedImageError

from workers.errors import Reason, Rejected
from workers.spec import LimitsSpec

DECODER = f"pillow {PIL.__version__}"
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})

SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"GIF8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BITS_PER_SAMPLE, PHOTOMETRIC, TILE_WIDTH, TILE_HEIGHT = 258, 262, 322, 323  # TIFF tags
WHITE_IS_ZERO = 0
WIDE = ("I;16", "I;16L", "I;16B", "I;16N")

# The limit is ours and read from the header; Pillow's own would come before a larger one of ours.
Image.MAX_IMAGE_PIXELS = None

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Wide = np.ndarray[Any, np.dtype[np.uint32]]


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
            image.load()
            return np.array(_rgb(ImageOps.exif_transpose(image), _about(image, data)))
    except (Rejected, MemoryError):
        raise
    except UnidentifiedImageError:
        if _is_signed(data):
            raise Rejected(
                Reason.DAMAGED, "the header is damaged or of a kind that the decoder does not know"
            ) from None
        raise Rejected(Reason.NOT_AN_IMAGE, "no known image format") from None
    except Exception as error:  # noqa: BLE001 - decoders raise anything on damaged files; it becomes a reject
        raise Rejected(Reason.DAMAGED, _first_line(error)) from None


def prepare_decoder() -> None:
    """Make a process ready to decode: what Pillow warns of is either a reject or harmless."""
    warnings.filterwarnings("ignore", module="PIL")


@dataclass(frozen=True)
class _About:
    """What the file says of its samples and Pillow's mode does not.

    Attributes:
        white: the largest value of a 16-bit mode.
        inverted: zero is white.
        deep: samples have 16 bits, of which Pillow keeps 8.
    """

    white: int
    inverted: bool
    deep: bool


def _about(image: Image.Image, data: bytes) -> _About:
    if image.format == "TIFF":
        tags: Any = getattr(image, "tag_v2", {})
        bits = tags.get(BITS_PER_SAMPLE, (1,))
        depth = int(bits[0] if isinstance(bits, tuple) else bits)
        # Pillow itself inverts where samples have up to 8 bits.
        return _About((1 << depth) - 1, tags.get(PHOTOMETRIC) == WHITE_IS_ZERO, depth > 8)
    return _About(0xFFFF, inverted=False, deep=image.format == "PNG" and data[24] == 16)


def _check_size(image: Image.Image, limits: LimitsSpec) -> None:
    tags: Any = getattr(image, "tag_v2", {})
    tile = tags.get(TILE_WIDTH, 0), tags.get(TILE_HEIGHT, 0)
    for what, (width, height) in (("", image.size), ("tiles of ", tile)):
        if width * height > limits.pixels:
            told = f"{what}{width} x {height} pixels, the limit is {limits.pixels} in all"
            raise Rejected(Reason.TOO_MANY_PIXELS, told)
    if image.width * image.height == 0:
        raise Rejected(Reason.DAMAGED, f"{image.width} x {image.height} pixels")


def _rgb(image: Image.Image, about: _About) -> Image.Image:
    mode = image.mode
    if mode in WIDE:
        return _from_wide(image, about)
    if mode in ("I", "F", "LAB", "HSV"):
        raise Rejected(Reason.UNSUPPORTED_MODE, f"mode {mode}: its values have no known colours")
    if "transparency" in image.info and about.deep:
        raise Rejected(Reason.UNSUPPORTED_MODE, "16-bit colours of which one is transparent")
    if mode == "La":
        image, mode = image.convert("LA"), "LA"
    if mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, coloured).convert("RGB")
    return image if mode == "RGB" else image.convert("RGB")


def _from_wide(image: Image.Image, about: _About) -> Image.Image:
    values: Wide = np.asarray(image).astype(np.uint32)
    grey = ((values * 255 + about.white // 2) // about.white).clip(max=255).astype(np.uint8)
    if about.inverted:
        grey = 255 - grey
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey).convert("RGB")


def _is_signed(data: bytes) -> bool:
    """Whether the first bytes are those of a known format."""
    return data.startswith(SIGNATURES) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def _first_line(error: Exception) -> str:
    text = str(error).splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
