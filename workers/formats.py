"""The registry of image formats. Takes a file's first bytes or its name, gives its format; loads no decoder."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from os.path import splitext

Signature = Callable[[bytes], bool]


@dataclass(frozen=True)
class Format:
    """One format of image files.

    Attributes:
        name: its name for Pillow; one that Pillow does not have for formats of other decoders.
        shown: its name for people.
        extensions: what names of its files end with.
        matches: whether a file starts as files of this format do.
        decoder_bytes: bytes per pixel that decoding takes in addition to Pillow's image: for coefficients, canvases, planes,
            or strips that may be as large as the image.
        deep: whether its grey images may have 16 bits.
        package: the optional package that decodes it; empty if Pillow does.
        extra: the extra of Deconvoy that installs this package.
    """

    name: str
    shown: str
    extensions: tuple[str, ...]
    matches: Signature
    decoder_bytes: int
    deep: bool = False
    package: str = ""
    extra: str = ""


def _starts(*prefixes: bytes) -> Signature:
    return lambda data: data.startswith(prefixes)


def _at(offset: int, *words: bytes) -> Signature:
    return lambda data: data.startswith(words, offset)


def _is_webp(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def _is_netpbm(data: bytes) -> bool:
    return data[:1] == b"P" and data[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6") and data[2:3].isspace()


def _brands(data: bytes) -> set[bytes]:
    """The brands of an ISO base media file: the formats that it says it follows."""
    if data[4:8] != b"ftyp":
        return set()
    size = min(int.from_bytes(data[:4], "big"), 256)
    return {data[8:12]} | {data[place : place + 4] for place in range(16, size, 4)}


# The third and fourth are wrong, but Pillow reads such files.
_TIFF = (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+")
_HEVC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AV1 = {b"avif", b"avis"}


def _is_avif(data: bytes) -> bool:
    return bool(_brands(data) & _AV1)


def _is_heic(data: bytes) -> bool:
    brands = _brands(data)
    return bool(brands & (_HEVC | {b"mif1", b"msf1"})) and not brands & _AV1


# MPO files start as JPEG files do; Pillow tells them apart.
FORMATS: tuple[Format, ...] = (
    Format("JPEG", "JPEG", (".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg"), _starts(b"\xff\xd8\xff"), 0),
    Format("MPO", "MPO", (".mpo",), lambda _: False, 0),
    Format("PNG", "PNG", (".png",), _starts(b"\x89PNG\r\n\x1a\n"), 0, deep=True),
    Format("WEBP", "WebP", (".webp",), _is_webp, 12),
    Format("BMP", "BMP", (".bmp",), _starts(b"BM"), 3),
    Format("GIF", "GIF", (".gif",), _starts(b"GIF8"), 3),
    Format("TIFF", "TIFF", (".tif", ".tiff"), _starts(*_TIFF), 8, deep=True),
    Format("PPM", "Netpbm", (".ppm", ".pgm", ".pbm", ".pnm"), _is_netpbm, 8, deep=True),
    Format("AVIF", "AVIF", (".avif",), _is_avif, 14),
    Format(
        "JPEG2000",
        "JPEG 2000",
        (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
        _starts(b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"),
        22,
        deep=True,
    ),
    Format("HEIF", "HEIC", (".heic", ".heif", ".hif"), _is_heic, 12, package="pillow-heif", extra="heic"),
    Format("DICOM", "DICOM", (".dcm", ".dicom"), _at(128, b"DICM"), 8, package="pydicom", extra="dicom"),
)

# What reading a frame of a video gives: a PPM file with a comment. The extensions are those of videos, not of images.
FRAME_MAGIC = b"P6\n# frame of a video\n"
FRAME = Format(
    "FRAME",
    "video",
    (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"),
    _starts(FRAME_MAGIC),
    8,
    package="av",
    extra="video",
)
_KNOWN = (FRAME, *FORMATS)
_PLACE = re.compile(r"#[0-9+]+$")  # in a file, at the end of a uri

# Of several formats that match, the first counts. A DICOM file may start with the header of another one, such as TIFF.
_BY_PRECEDENCE = sorted(_KNOWN, key=lambda kind: kind.name != "DICOM")
EXTENSIONS = frozenset(extension for kind in FORMATS for extension in kind.extensions)
_BY_EXTENSION = {extension: kind for kind in _KNOWN for extension in kind.extensions}
BY_NAME = {kind.name: kind for kind in _KNOWN}
OPTIONAL = tuple(kind for kind in FORMATS if kind.package)


def of_bytes(data: bytes) -> Format | None:
    """The format of a file with these bytes; None if it is none of the known ones."""
    return next((kind for kind in _BY_PRECEDENCE if kind.matches(data)), None)


def of_name(*names: str) -> Format | None:
    """The format that the first name with a known extension has; None if there is no such name."""
    endings = (splitext(_PLACE.sub("", name))[1].lower() for name in names)
    return next((_BY_EXTENSION[ending] for ending in endings if ending in _BY_EXTENSION), None)


def supported() -> str:
    """All extensions in one line, for messages."""
    return " ".join(extension for kind in FORMATS for extension in kind.extensions)


def decoder_versions(*names: str) -> tuple[str, ...]:
    """Optional packages, as `NAME VERSION`, that a file with these names may need and that are installed.

    A name with a known extension needs the package of that format. Any other name may need all of them.
    """
    known = of_name(*names)
    candidates = OPTIONAL if known is None else (known,) if known.package else ()
    return tuple(text for kind in candidates if (text := version_of(kind.package)))


def installed() -> tuple[str, ...]:
    """All optional packages that are installed, as `NAME VERSION`."""
    return tuple(text for kind in (*OPTIONAL, FRAME) if (text := version_of(kind.package)))


@cache
def version_of(package: str) -> str:
    """`NAME VERSION` of an optional package; empty if it is not installed."""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return ""
