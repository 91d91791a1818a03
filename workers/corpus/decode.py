"""Decoding of image files. Takes a file's bytes, gives upright pixels (height, width, channels), or the reason for a reject.

Pillow decodes most formats (`images`). The bands of TIFF files (`tiff`) and DICOM files (`dicom`) have decoders of their own.
Values of 16 bits are scaled to 8 unless the network takes 16; a spec may say which of them are black and white. Without that,
floating-point and 32-bit images are refused because nothing defines which of their values is white. Of several frames or pages
the first is used.
"""

import warnings
from collections.abc import Callable

import PIL
from PIL import UnidentifiedImageError

from workers import formats
from workers.corpus import dicom, images, tiff
from workers.corpus.pixels import RGB, Claim, PixelFormat, Pixels, no_claim
from workers.errors import Reason, Rejected
from workers.formats import Format
from workers.spec.parts import LimitsSpec, Pair

DECODER = f"pillow {PIL.__version__}"

Decoder = Callable[[bytes, Format, LimitsSpec, Claim, PixelFormat], Pixels]


def decode(data: bytes, limits: LimitsSpec, claim: Claim = no_claim, form: PixelFormat = RGB) -> Pixels:
    """Decode one file.

    Args:
        data: the whole file.
        limits: the largest accepted file and image.
        claim: called after the header is read and before anything is decoded.
        form: the pixels to give.

    Returns:
        uint8, or uint16 for 16 bits, (height, width, channels), with the EXIF orientation applied. A JPEG may be reduced to
        no less than `form.least`; see `upright_size`.

    Raises:
        Rejected: the file cannot be used; the reason depends only on the bytes, the limits, and the packages of the file's
            name (`formats.decoder_versions`).
    """
    if not data:
        raise Rejected(Reason.EMPTY, "the file has no bytes")
    kind = formats.of_bytes(data)
    if len(data) > limits.bytes and kind is not formats.FRAME:  # which is not compressed
        raise Rejected(Reason.TOO_MANY_BYTES, f"{len(data)} bytes; the limit is {limits.bytes}")
    kind = _format_of(data)
    try:
        return _DECODERS.get(kind.name, images.decode_image)(data, kind, limits, claim, form)
    except (Rejected, MemoryError):
        raise
    except UnidentifiedImageError:
        detail = "the header is damaged or of a kind that the decoder does not know"
        raise Rejected(Reason.DAMAGED, detail) from None
    except Exception as error:  # noqa: BLE001 - decoders raise anything on damaged files; it becomes a reject
        raise Rejected(Reason.DAMAGED, _first_line(error)) from None


def require_fitting_name(data: bytes, *names: str) -> None:
    """Refuse a file whose name hides that it needs an optional package: results are named by the packages of the names.

    Raises:
        Rejected: its name has the extension of a format that needs no package, or another one.
    """
    kind, named = formats.of_bytes(data), formats.of_name(*names)
    if kind and named and kind.package and kind.package != named.package:
        detail = f"a {kind.shown} file with the extension of {named.shown}; rename it to *{kind.extensions[0]}"
        raise Rejected(Reason.BAD_NAME, detail)


def decoder_of(data: bytes) -> str:
    """The name and version of the software that decodes a file."""
    kind = formats.of_bytes(data)
    return formats.version_of(kind.package) if kind and kind.package else DECODER


def upright_size(data: bytes, pixels: Pixels) -> Pair:
    """Height and width of the upright image in a file: those of its pixels, unless it was reduced."""
    kind = formats.of_bytes(data)
    if kind and kind.name == "JPEG":
        return images.upright_size(data, kind)
    return pixels.shape[0], pixels.shape[1]


def prepare_decoder() -> None:
    """Silence the decoders' warnings in this process: each concerns either a reject or something harmless."""
    warnings.filterwarnings("ignore", module="PIL")
    warnings.filterwarnings("ignore", module="pydicom")


def _format_of(data: bytes) -> Format:
    """The format of a file that can be decoded."""
    kind = formats.of_bytes(data)
    if kind is None:
        raise Rejected(Reason.NOT_AN_IMAGE, "not a known image format")
    if kind.package and not formats.version_of(kind.package):
        detail = f"{kind.shown} needs {kind.package}: pip install 'deconvoy[{kind.extra}]'"
        raise Rejected(Reason.MISSING_EXTRA, detail)
    return kind


def _decode_tiff(data: bytes, kind: Format, limits: LimitsSpec, claim: Claim, form: PixelFormat) -> Pixels:
    """Decode a TIFF; Pillow opens those without a choice of bands or depth."""
    if form.bands or form.channels not in images.MODES or form.has_depth:
        layout = tiff.read_layout(data)
        if layout is not None and layout.suits(form):
            return tiff.decode_bands(data, layout, limits, claim, form)
    try:
        return images.decode_image(data, kind, limits, claim, form)
    except UnidentifiedImageError:
        layout = tiff.read_layout(data)
        if layout is None or not layout.is_plausible:
            raise
    choice = "; select bands" if layout.is_readable and layout.bands > 1 else ""
    raise Rejected(Reason.UNSUPPORTED_MODE, f"{layout}: no colours are defined for this combination{choice}")


def _first_line(error: Exception) -> str:
    text = str(error).splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__


def _decode_frame(data: bytes, kind: Format, limits: LimitsSpec, claim: Claim, form: PixelFormat) -> Pixels:
    """Decode a frame of a video, which its source has made a PPM file."""
    del kind
    return images.decode_image(data, formats.BY_NAME["PPM"], limits, claim, form)


_DECODERS: dict[str, Decoder] = {"TIFF": _decode_tiff, "DICOM": dicom.decode_dicom, "FRAME": _decode_frame}
