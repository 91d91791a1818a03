"""What the samples of a file mean. Takes an opened image and its bytes, gives what Pillow's mode does not contain.

Values of more than 8 bits are mapped to black and white here: by the white that the file declares, by the depth that was
chosen for the corpus, or by a range.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from workers import formats
from workers.corpus import av1
from workers.corpus.pixels import DEEP_WHITE, PixelFormat, Pixels
from workers.errors import Reason, Rejected

BITS_PER_SAMPLE, PHOTOMETRIC = 258, 262  # TIFF tags
WHITE_IS_ZERO = 0
_HIGH_BITS = 0x40  # in the third byte of an AV1 configuration: more than 8 bits
_CODESTREAM = b"\xff\x4f\xff\x51"
_COMPONENTS = 40  # place of the first component in a JPEG 2000 codestream
_EXTENTS = re.compile(rb"\0\0\0\x14ispe\0\0\0\0")  # a box of the size of an image: its own size, name and version
_BOXES = 1000  # in a JPEG 2000 file, before its codestream

Scaled = np.ndarray[Any, np.dtype[np.uint32]]


@dataclass(frozen=True)
class Samples:
    """Properties of a file's samples that Pillow's mode does not contain.

    Attributes:
        white: largest value of grey with more than 8 bits, if the file declares it.
        inverted: whether zero is white.
        deep: whether samples have more than 8 bits, of which Pillow keeps 8 in colours.
        declared: whether the file declares its white; otherwise it is that of the corpus.
        shift: number of low bits that Pillow adds.
    """

    white: int = DEEP_WHITE
    inverted: bool = False
    deep: bool = False
    declared: bool = False
    shift: int = 0


@dataclass(frozen=True)
class Codestream:
    """The size that a JPEG 2000 codestream declares; `bits` are those of its deepest component, the sign that of the first."""

    width: int
    height: int
    components: int
    bits: int
    is_signed: bool


def read_samples(image: Image.Image, data: bytes) -> Samples:
    """The samples of an image that is opened but not loaded.

    Raises:
        Rejected: the header is damaged.
    """
    read = _READERS.get(str(image.format))
    return read(image, data) if read else Samples()


def scale(values: Pixels, samples: Samples, form: PixelFormat) -> Scaled:
    """Grey values of more than 8 bits as those of pixels; values beyond black and white are clipped, NaN is black."""
    largest = form.largest
    values = values >> samples.shift if samples.shift else values
    if form.span:
        low, high = form.span
        exact = (values.astype(np.float64) - low) * (largest / (high - low)) + 0.5
        grey: Scaled = np.nan_to_num(exact).clip(0, largest).astype(np.uint32)
    else:
        white = samples.white if samples.declared else form.white
        grey = ((values.astype(np.uint32) * largest + white // 2) // white).clip(max=largest)
    return largest - grey if samples.inverted else grey


def require_shown_truthfully(samples: Samples, form: PixelFormat) -> None:
    """Refuse 16-bit colours under another depth than 16: Pillow keeps their upper 8 bits.

    Raises:
        Rejected: they are.
    """
    if samples.deep and not samples.declared and form.has_depth:
        detail = "16-bit colour or alpha: the decoder keeps only the upper 8 bits, which is right only with --depth 16; set it"
        raise Rejected(Reason.UNSUPPORTED_MODE, detail)


def read_codestream(data: bytes) -> Codestream:
    """The size that a JPEG 2000 codestream declares.

    Raises:
        Rejected: there is no codestream, or its header is cut off.
    """
    start = _find_codestream(data)
    head = data[start : start + _COMPONENTS + 2]
    if len(head) < _COMPONENTS + 2 or not head.startswith(_CODESTREAM):
        raise Rejected(Reason.DAMAGED, "the file has no JPEG 2000 codestream")
    numbers = [int.from_bytes(head[place : place + 4], "big") for place in (8, 12, 16, 20)]
    components = int.from_bytes(head[_COMPONENTS : _COMPONENTS + 2], "big")
    first = start + _COMPONENTS + 2
    sizes = data[first : first + 3 * components : 3]
    bits = max((size & 0x7F) + 1 for size in sizes) if sizes else 0
    is_signed = bool(sizes and sizes[0] & 0x80)
    return Codestream(numbers[0] - numbers[2], numbers[1] - numbers[3], components, bits, is_signed)


def coded_sizes(data: bytes) -> list[tuple[int, int]]:
    """Width and height of all images in an AVIF or HEIC file, such as tiles and transparency, before they are cropped.

    In an AVIF file, they are also those of the compressed data, which libavif scales. libheif refuses data of other sizes.

    Raises:
        Rejected: an AVIF file has no compressed image.
    """
    said = [struct.unpack_from(">II", data, match.end()) for match in _EXTENTS.finditer(data, 0, len(data) - 8)]
    return [*said, *av1.sequence_sizes(data)] if formats.BY_NAME["AVIF"].matches(data) else said


def _find_codestream(data: bytes) -> int:
    """Where the codestream starts: at once, or in a box of a JP2 file."""
    place = 0
    for _ in range(0 if data.startswith(_CODESTREAM) else _BOXES):
        size, head = int.from_bytes(data[place : place + 4], "big"), 8
        if size == 1:
            size, head = int.from_bytes(data[place + 8 : place + 16], "big"), 16
        if data[place + 4 : place + 8] == b"jp2c":
            return place + head
        if size < head:
            break
        place += size
    return 0


def _read_png(_: Image.Image, data: bytes) -> Samples:
    return Samples(deep=data[24] == 16)


def _read_tiff(image: Image.Image, _: bytes) -> Samples:
    tags: Any = getattr(image, "tag_v2", {})
    bits = tags.get(BITS_PER_SAMPLE, (1,))
    depth = int(bits[0] if isinstance(bits, tuple) else bits)
    # Pillow itself inverts samples of up to 8 bits.
    inverted = tags.get(PHOTOMETRIC) == WHITE_IS_ZERO
    return Samples((1 << depth) - 1, inverted, depth > 8, declared=depth not in (8, 16))


def _read_netpbm(image: Image.Image, _: bytes) -> Samples:
    """The white is in the header. Pillow scales values by it, one by one in Python; deep ones are read unscaled instead."""
    opened: Any = image
    [tile] = opened.tile
    white = tile.args[-1] if isinstance(tile.args, tuple) else 0xFF if image.mode != "I" else DEEP_WHITE
    if white <= 0xFF:
        return Samples()
    if tile.codec_name == "ppm_plain" and image.mode == "I":
        opened.tile = [tile._replace(args=(image.mode, DEEP_WHITE))]
    elif image.mode == "I" or white == DEEP_WHITE:
        raw = "I;16B" if image.mode == "I" else f"{image.mode};16B"
        opened.tile = [tile._replace(codec_name="raw", args=(raw, 0, 1))]
    return Samples(white, deep=True, declared=white != DEEP_WHITE)


def _read_jpeg2000(image: Image.Image, data: bytes) -> Samples:
    stream = read_codestream(data)
    if (stream.width, stream.height) != image.size:
        detail = (
            f"the header says {image.width} x {image.height}, the codestream {stream.width} x {stream.height} pixels"
        )
        raise Rejected(Reason.DAMAGED, detail)
    shift = max(0, 16 - stream.bits) if image.mode == "I;16" else 0
    return Samples((1 << stream.bits) - 1, deep=stream.bits > 8, declared=stream.bits != 16, shift=shift)


def _read_avif(_: Image.Image, data: bytes) -> Samples:
    place = data.find(b"av1C")
    return Samples(deep=place > 0 and bool(data[place + 6] & _HIGH_BITS), declared=True)


def _read_heic(image: Image.Image, _: bytes) -> Samples:
    return Samples(deep=image.info.get("bit_depth", 8) > 8, declared=True)


_READERS: dict[str, Callable[[Image.Image, bytes], Samples]] = {
    "PNG": _read_png,
    "TIFF": _read_tiff,
    "PPM": _read_netpbm,
    "JPEG2000": _read_jpeg2000,
    "AVIF": _read_avif,
    "HEIF": _read_heic,
}
