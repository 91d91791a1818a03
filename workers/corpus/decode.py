"""Decoding of image files. Takes a file's bytes, gives upright pixels (height, width, channels), or the reason for a reject.

Every mode has a defined conversion to RGB and to grey. Transparency is laid over white, 16 bits are scaled to 8 (Pillow's own
conversion clips them to white) unless the network takes 16, and Pillow converts CMYK and palettes, and colours to grey.
Networks of two or four channels take the 8-bit bands of images that have as many. Floating-point and 32-bit images are refused
because nothing defines which of their values is white. Of several frames or pages the first is used. The size and the memory
that decoding will need are read from the header before anything is decoded. The decoded image is converted in bands of
rows, so that there is never a third copy of a large image.
"""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL
from PIL import ExifTags, Image, UnidentifiedImageError

from workers.errors import Reason, Rejected
from workers.spec.parts import LimitsSpec

DECODER = f"pillow {PIL.__version__}"
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")

SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"GIF8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BITS_PER_SAMPLE, PHOTOMETRIC, TILE_WIDTH, TILE_HEIGHT = 258, 262, 322, 323  # TIFF tags
WHITE_IS_ZERO = 0
WIDE = ("I;16", "I;16L", "I;16B", "I;16N")
BAND_PIXELS = 1 << 20

MODES = {1: "L", 3: "RGB"}  # what all images are converted to, by the network's channels
BANDS = {2: ("LA",), 4: ("RGBA", "RGBX")}  # modes whose bands are taken unchanged, likewise
# Bytes per pixel of a Pillow image; all other modes need 4.
MODE_BYTES = {"1": 1, "L": 1, "P": 1, **dict.fromkeys(WIDE, 2)}
# Bytes per pixel that a decoder needs in addition: for the coefficients of a progressive JPEG, the canvases of a WebP,
# the strips of a TIFF, which may be as large as the image.
DECODER_BYTES = {"JPEG": 0, "PNG": 0, "BMP": 3, "GIF": 3, "WEBP": 12, "TIFF": 8}
PROGRESSIVE_BYTES = 6

# The spec's limit is checked against the header; Pillow's own would also refuse images below a larger limit of the spec.
Image.MAX_IMAGE_PIXELS = None

Pixels = np.ndarray[Any, np.dtype[Any]]
Wide = np.ndarray[Any, np.dtype[np.uint32]]
Claim = Callable[[int, int, int], None]  # height, width, bytes that decoding needs: waits until they are free


@dataclass(frozen=True)
class PixelFormat:
    """The pixels that a network takes.

    Attributes:
        channels: 1 for grey, 3 for RGB, or as many as the images have bands.
        bits: bits per sample; with 16, grey images of 16 bits keep them, and those of 8 are scaled.
    """

    channels: int = 3
    bits: int = 8

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """The type of the pixels."""
        return np.uint8 if self.bits == 8 else np.uint16

    @property
    def pixel_bytes(self) -> int:
        """The size of one pixel."""
        return self.channels * self.bits // 8


RGB = PixelFormat()


def no_claim(height: int, width: int, working_bytes: int) -> None:
    """Decode at once, however much memory it needs."""


def decode(data: bytes, limits: LimitsSpec, claim: Claim = no_claim, form: PixelFormat = RGB) -> Pixels:
    """Decode one file.

    Args:
        data: the whole file.
        limits: the largest accepted file and image.
        claim: called after the header is read and before anything is decoded.
        form: the pixels to give.

    Returns:
        uint8, or uint16 for 16 bits, (height, width, channels), with the EXIF orientation applied.

    Raises:
        Rejected: the file cannot be used; the reason depends only on the bytes and the limits.
    """
    if not data:
        raise Rejected(Reason.EMPTY, "the file has no bytes")
    if len(data) > limits.bytes:
        raise Rejected(Reason.TOO_MANY_BYTES, f"{len(data)} bytes, the limit is {limits.bytes}")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image, limits)
            claim(image.height, image.width, _working_bytes(image, form))
            image.load()
            return _to_upright(image, _read_samples(image, data), form)
    except (Rejected, MemoryError):
        raise
    except UnidentifiedImageError:
        if _has_signature(data):
            raise Rejected(
                Reason.DAMAGED, "the header is damaged or of a kind that the decoder does not know"
            ) from None
        raise Rejected(Reason.NOT_AN_IMAGE, "no known image format") from None
    except Exception as error:  # noqa: BLE001 - decoders raise anything on damaged files; it becomes a reject
        raise Rejected(Reason.DAMAGED, _first_line(error)) from None


def prepare_decoder() -> None:
    """Silence Pillow's warnings in this process: each concerns either a reject or something harmless."""
    warnings.filterwarnings("ignore", module="PIL")


@dataclass(frozen=True)
class _Samples:
    """Properties of a file's samples that Pillow's mode does not contain.

    Attributes:
        white: largest value of a 16-bit mode.
        inverted: whether zero is white.
        deep: whether samples have 16 bits, of which Pillow keeps 8.
    """

    white: int
    inverted: bool
    deep: bool


def _read_samples(image: Image.Image, data: bytes) -> _Samples:
    if image.format == "TIFF":
        tags: Any = getattr(image, "tag_v2", {})
        bits = tags.get(BITS_PER_SAMPLE, (1,))
        depth = int(bits[0] if isinstance(bits, tuple) else bits)
        # Pillow itself inverts samples of up to 8 bits.
        return _Samples((1 << depth) - 1, tags.get(PHOTOMETRIC) == WHITE_IS_ZERO, depth > 8)
    return _Samples(0xFFFF, inverted=False, deep=image.format == "PNG" and data[24] == 16)


def _check_size(image: Image.Image, limits: LimitsSpec) -> None:
    tags: Any = getattr(image, "tag_v2", {})
    tile = tags.get(TILE_WIDTH, 0), tags.get(TILE_HEIGHT, 0)
    for prefix, (width, height) in (("", image.size), ("tiles of ", tile)):
        if width * height > limits.pixels:
            detail = f"{prefix}{width} x {height} pixels, the limit is {limits.pixels} in all"
            raise Rejected(Reason.TOO_MANY_PIXELS, detail)
    if image.width * image.height == 0:
        raise Rejected(Reason.DAMAGED, f"{image.width} x {image.height} pixels")


def _working_bytes(image: Image.Image, form: PixelFormat) -> int:
    """The peak memory of decoding an image, including its result and excluding the file itself."""
    extra = DECODER_BYTES[str(image.format)]
    if image.info.get("progressive") or image.info.get("progression"):
        extra = PROGRESSIVE_BYTES
    return image.width * image.height * (MODE_BYTES.get(image.mode, 4) + max(extra, form.pixel_bytes))


def _to_upright(image: Image.Image, samples: _Samples, form: PixelFormat) -> Pixels:
    """Convert to the network's pixels and apply the EXIF orientation, band by band."""
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    turned = orientation in (5, 6, 7, 8)
    size = (image.width, image.height) if turned else (image.height, image.width)
    upright = np.empty((*size, form.channels), form.dtype)
    stored = _view_as_stored(upright, orientation)
    rows = max(1, BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        whole = bottom - top == image.height
        band = image if whole else image.crop((0, top, image.width, bottom))
        converted = _convert(band, samples, form)
        stored[top:bottom] = converted if converted.ndim == 3 else converted[..., None]
    return upright


def _view_as_stored(upright: Pixels, orientation: int) -> Pixels:
    """A view of an upright image with its pixels in the file's order; see the EXIF tag 0x0112."""
    views: dict[int, Callable[[], Pixels]] = {
        2: lambda: upright[:, ::-1],
        3: lambda: upright[::-1, ::-1],
        4: lambda: upright[::-1],
        5: lambda: upright.swapaxes(0, 1),
        6: lambda: np.rot90(upright, 1),
        7: lambda: upright[::-1, ::-1].swapaxes(0, 1),
        8: lambda: np.rot90(upright, -1),
    }
    return views[orientation]() if orientation in views else upright


def _convert(image: Image.Image, samples: _Samples, form: PixelFormat) -> Pixels:
    """The network's pixels, (height, width) or (height, width, channels); grey ones may stand for all channels."""
    if form.channels in MODES and form.bits == 8:
        return np.asarray(_to_mode(image, samples, MODES[form.channels]))
    if samples.deep and image.mode not in WIDE:
        raise Rejected(Reason.UNSUPPORTED_MODE, "16-bit colours or alpha, of which the decoder keeps 8 bits")
    if form.channels not in MODES:
        return _read_bands(image, samples, form.channels)
    if image.mode in WIDE:
        return _scale(image, samples, 0xFFFF).astype(np.uint16)
    return np.asarray(_to_mode(image, samples, MODES[form.channels])).astype(np.uint16) * 257


def _read_bands(image: Image.Image, samples: _Samples, channels: int) -> Pixels:
    """The bands of an image that has as many as a network has channels."""
    if image.mode not in BANDS.get(channels, ()):
        bands = len(image.getbands())
        detail = f"mode {image.mode}, {bands} band{'s' if bands > 1 else ''}; the network takes {channels} channels"
        raise Rejected(Reason.UNSUPPORTED_MODE, detail)
    if samples.inverted:
        raise Rejected(Reason.UNSUPPORTED_MODE, "bands whose zero is white")
    return np.asarray(image)


def _to_mode(image: Image.Image, samples: _Samples, wanted: str) -> Image.Image:
    """The image in RGB or in grey (L)."""
    mode = image.mode
    if mode in WIDE:
        return Image.fromarray(_scale(image, samples, 0xFF).astype(np.uint8)).convert(wanted)
    if mode in ("I", "F", "LAB", "HSV"):
        raise Rejected(Reason.UNSUPPORTED_MODE, f"mode {mode}: its values have no known colours")
    if "transparency" in image.info and samples.deep:
        raise Rejected(Reason.UNSUPPORTED_MODE, "16-bit colours of which one is transparent")
    if mode == "La":
        image, mode = image.convert("LA"), "LA"
    if mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, coloured).convert(wanted)
    return image if mode == wanted else image.convert(wanted)


def _scale(image: Image.Image, samples: _Samples, white: int) -> Wide:
    """16-bit grey on a scale of 0 to `white`."""
    values: Wide = np.asarray(image).astype(np.uint32)
    grey: Wide = ((values * white + samples.white // 2) // samples.white).clip(max=white)
    if samples.inverted:
        grey = white - grey
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = white
    return grey


def _has_signature(data: bytes) -> bool:
    """Whether the first bytes are those of a known format."""
    return data.startswith(SIGNATURES) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def _first_line(error: Exception) -> str:
    text = str(error).splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
