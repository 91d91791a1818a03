"""Images that Pillow opens. Takes a file's bytes, gives upright pixels (height, width, channels), or the reason for a reject.

Every mode has a defined conversion to RGB and to grey. Transparency is laid over white, and Pillow converts CMYK and palettes,
and colours to grey. Networks of two or four channels take the 8-bit bands of images that have as many. The size and the memory
that decoding will need are read from the header before anything is decoded. The decoded image is converted in bands of rows,
so that there is never a third copy of a large image.
"""

import io
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile

from workers import formats
from workers.corpus.pixels import SIDEWAYS, Claim, Least, PixelFormat, Pixels, Rows, assemble
from workers.corpus.samples import Samples, coded_sizes, read_samples, require_shown_truthfully, scale
from workers.errors import Reason, Rejected
from workers.formats import Format
from workers.spec.parts import LimitsSpec

if TYPE_CHECKING:
    from workers.corpus.profiles import Conversion

TILE_WIDTH, TILE_HEIGHT = 322, 323  # TIFF tags
WIDE = ("I;16", "I;16L", "I;16B", "I;16N")
VALUES = ("I", "F")  # modes whose values have no known white, except in Netpbm files
CONTAINERS = ("AVIF", "HEIF")  # formats that may crop what they decode
UNKNOWN = (*VALUES, "LAB", "HSV")

MODES = {1: "L", 3: "RGB"}  # what all images are converted to, by the network's channels
BANDS = {2: ("LA",), 4: ("RGBA", "RGBX")}  # modes whose bands are taken unchanged, likewise
SELECTABLE = ("L", "LA", "RGB", "RGBA", "RGBX", "CMYK")  # modes of which single bands can be taken
# Bytes per pixel of a Pillow image; all other modes need 4.
MODE_BYTES = {"1": 1, "L": 1, "P": 1, **dict.fromkeys(WIDE, 2)}
SCAN_BYTES = 16  # at most, of the header of a scan
MOST_PIXEL_BYTES = 20  # of memory for an image at the limit of pixels
COEFFICIENT_BYTES = 2  # per sample, of a JPEG in several scans

# The spec's limit is checked against the header; Pillow's own would also refuse images below a larger limit of the spec.
Image.MAX_IMAGE_PIXELS = None


def decode_image(data: bytes, kind: Format, limits: LimitsSpec, claim: Claim, form: PixelFormat) -> Pixels:
    """Decode one file; see `decode.decode`.

    Raises:
        Rejected: the file cannot be used.
        Exception: the file is damaged.
    """
    with open_image(data, kind) as image:
        coded = coded_sizes(data) if kind.name in CONTAINERS else []
        require_size(image, limits, coded)
        samples = read_samples(image, data)
        whole = max([image.size, *coded], key=math.prod)
        if kind.name == "JPEG" and form.least:
            _reduce(image, form.least)
        decoded = whole if coded else image.size
        working_bytes = _working_bytes(image, whole, decoded, form)
        require_memory(image.size, working_bytes, limits)
        claim(image.height, image.width, working_bytes)
        announced = image.size
        image.load()
        if image.size != announced:
            raise Rejected(Reason.DAMAGED, f"the header says {announced} pixels, the data {image.size}")
        return to_upright(image, samples, form)


def open_image(data: bytes, kind: Format) -> Image.Image:
    """An image whose header is read, but nothing else.

    Raises:
        Exception: the header is damaged, or of a kind that the decoder does not know.
    """
    if kind.name == "AVIF":
        from PIL import AvifImagePlugin

        AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # threads of a decoder take memory each, and a run has its own
    if kind.name == "HEIF":
        from pillow_heif import HeifImageFile

        return HeifImageFile(io.BytesIO(data))  # type: ignore[no-untyped-call]
    return Image.open(io.BytesIO(data), formats=(kind.name,))


def require_size(image: Image.Image, limits: LimitsSpec, coded: Iterable[tuple[int, int]] = ()) -> None:
    """Refuse images over the limit, and empty ones.

    Args:
        image: an image that is opened.
        limits: the limits.
        coded: widths and heights of what is decoded for it, before it is cropped.

    Raises:
        Rejected: it is.
    """
    tags: Any = getattr(image, "tag_v2", {})
    tile = tags.get(TILE_WIDTH, 0), tags.get(TILE_HEIGHT, 0)
    for prefix, (width, height) in (("", image.size), ("tiles of ", tile), *(("coded as ", size) for size in coded)):
        if width * height > limits.pixels:
            detail = f"{prefix}{width} x {height} pixels; the limit is {limits.pixels} in all"
            raise Rejected(Reason.TOO_MANY_PIXELS, detail)
    if image.width * image.height == 0:
        raise Rejected(Reason.DAMAGED, f"{image.width} x {image.height} pixels")


def upright_size(data: bytes, kind: Format) -> tuple[int, int]:
    """Height and width of the upright image in a file whose image can be decoded."""
    with open_image(data, kind) as image:
        return image.size if _is_turned(image) else (image.height, image.width)


def _reduce(image: Image.Image, least: Least) -> None:
    """Let an opened JPEG be decoded at 1/2, 1/4 or 1/8 of its size if both sides stay as long as they must be."""
    size = least(image.width, image.height) if _is_turned(image) else least(image.height, image.width)[::-1]
    if image.width >= 2 * size[0] and image.height >= 2 * size[1]:
        image.draft(None, size)


def _is_turned(image: Image.Image) -> bool:
    """Whether the file's rows are columns of the upright image."""
    return _orientation_of(image) in SIDEWAYS


def _orientation_of(image: Image.Image) -> int:
    orientation: int = image.getexif().get(ExifTags.Base.Orientation, 1)
    return orientation


def _working_bytes(image: Image.Image, whole: tuple[int, int], decoded: tuple[int, int], form: PixelFormat) -> int:
    """The peak memory of decoding an image, including its result and excluding the file itself.

    Args:
        image: an image that is opened.
        whole: width and height of what the file holds.
        decoded: width and height of what is decoded from it.
        form: the pixels to give.
    """
    extra = formats.BY_NAME[str(image.format)].decoder_bytes
    if _keeps_coefficients(image):
        extra = COEFFICIENT_BYTES * len(image.getbands())
    mode_bytes = MODE_BYTES.get(image.mode, 4)
    return math.prod(decoded) * mode_bytes + max(math.prod(whole) * extra, math.prod(decoded) * form.pixel_bytes)


def _keeps_coefficients(image: Image.Image) -> bool:
    """Whether an opened image is a JPEG in several scans: its decoder keeps all coefficients until it has read the last one."""
    if image.info.get("progressive") or image.info.get("progression"):
        return True
    if not isinstance(image, JpegImageFile) or image.fp is None:
        return False
    place = image.fp.tell()  # behind the header of the first scan
    image.fp.seek(max(0, place - SCAN_BYTES))
    _, marker, header = image.fp.read(place - image.fp.tell()).rpartition(b"\xff\xda")
    return bool(marker) and len(header) > 2 and header[2] < image.layers


def require_memory(size: tuple[int, int], working_bytes: int, limits: LimitsSpec) -> None:
    """Refuse images whose decoder takes far more memory per pixel than others do.

    Args:
        size: width and height of the image.
        working_bytes: the memory that decoding takes, beside copies of the file.
        limits: the limits.

    Raises:
        Rejected: it takes more than that of an image at the limit of pixels.
    """
    if working_bytes > limits.pixels * MOST_PIXEL_BYTES:
        detail = f"decoding {size[0]} x {size[1]} pixels takes {working_bytes} bytes"
        raise Rejected(Reason.TOO_MANY_PIXELS, f"{detail}; the limit is {limits.pixels} x {MOST_PIXEL_BYTES} bytes")


def to_upright(image: Image.Image, samples: Samples, form: PixelFormat) -> Pixels:
    """Convert a loaded image to the network's pixels and apply the EXIF orientation, band by band."""
    convert = _grey_rows if _is_deep_grey(image, form) and is_shown_as_grey(form) else _colour_rows
    rows = convert(image, samples, form)
    return assemble(image.height, image.width, rows, form, _orientation_of(image))


def _is_deep_grey(image: Image.Image, form: PixelFormat) -> bool:
    """Whether an image is grey, has more than 8 bits, and its black and white are known."""
    is_known = form.span is not None or (image.mode == "I" and image.format == "PPM")
    return image.mode in WIDE or (image.mode in VALUES and is_known)


def is_shown_as_grey(form: PixelFormat) -> bool:
    """Whether a network takes an image with a single band."""
    return set(form.bands) == {1} if form.bands else form.channels in MODES


def _crop(image: Image.Image, top: int, bottom: int) -> Image.Image:
    return image if bottom - top == image.height else image.crop((0, top, image.width, bottom))


def _grey_rows(image: Image.Image, samples: Samples, form: PixelFormat) -> Rows:
    """Converts rows of grey of more than 8 bits."""

    def convert(top: int, bottom: int) -> Pixels:
        values = np.asarray(_crop(image, top, bottom))
        grey = scale(values, samples, form)
        if "transparency" in image.info:
            grey[values == image.info["transparency"]] = form.largest
        return grey.astype(form.dtype)

    return convert


def _colour_rows(image: Image.Image, samples: Samples, form: PixelFormat) -> Rows:
    """Converts rows of all other images.

    Raises:
        Rejected: the decoder keeps only 8 bits of each sample, which would be wrong pixels.
    """
    is_plain = not form.bands and form.channels in MODES
    if samples.deep and image.mode not in (*WIDE, *UNKNOWN):
        require_shown_truthfully(samples, form)
        if not is_plain or form.bits > 8:
            raise Rejected(Reason.UNSUPPORTED_MODE, "16-bit colours or alpha, of which the decoder keeps 8 bits")
    colours = _conversion_of(image) if form.convert else None

    def convert(top: int, bottom: int) -> Pixels:
        rows = _crop(image, top, bottom)
        if is_plain:
            pixels: Pixels = np.asarray(_to_mode(rows, samples, MODES[form.channels], colours))
        else:
            pixels = _select_bands(rows, form.bands) if form.bands else _read_bands(rows, samples, form.channels)
        return pixels if form.bits == 8 else pixels.astype(np.uint16) * 257

    return convert


def _conversion_of(image: Image.Image) -> "Conversion | None":
    from workers.corpus import profiles  # few runs convert colours, and loading the library slows the others down

    return profiles.conversion_of(image)


def _read_bands(image: Image.Image, samples: Samples, channels: int) -> Pixels:
    """The bands of an image that has as many as a network has channels."""
    if image.mode not in BANDS.get(channels, ()):
        bands = len(image.getbands())
        detail = f"mode {image.mode}, {bands} band{'s' if bands > 1 else ''}; the network takes {channels} channels"
        raise Rejected(Reason.UNSUPPORTED_MODE, detail)
    if samples.inverted:
        raise Rejected(Reason.UNSUPPORTED_MODE, "bands in which 0 is white, which is not supported")
    return np.asarray(image)


def _select_bands(image: Image.Image, bands: tuple[int, ...]) -> Pixels:
    """The bands with these numbers, from 1."""
    count = len(image.getbands())
    if max(bands) > count:
        raise Rejected(Reason.UNSUPPORTED_MODE, f"band {max(bands)} was requested; the image has {count}")
    if image.mode not in SELECTABLE:
        raise Rejected(Reason.UNSUPPORTED_MODE, f"mode {image.mode}: its bands do not hold pixel values")
    values = np.asarray(image).reshape(image.height, image.width, count)
    return values[..., [band - 1 for band in bands]]


def _to_mode(image: Image.Image, samples: Samples, wanted: str, colours: "Conversion | None" = None) -> Image.Image:
    """The image in RGB or in grey (L)."""
    if image.mode in UNKNOWN:
        raise Rejected(Reason.UNSUPPORTED_MODE, f"mode {image.mode}: its values have no known colours")
    if "transparency" in image.info and samples.deep:
        raise Rejected(Reason.UNSUPPORTED_MODE, "a 16-bit image with a transparent colour, which is not supported")
    if colours:
        image = colours.apply(image)
    mode = image.mode
    if mode == "La":
        image, mode = image.convert("LA"), "LA"
    if mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, coloured).convert(wanted)
    return image if mode == wanted else image.convert(wanted)
