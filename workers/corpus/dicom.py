"""Decoding of DICOM files. Takes a file's bytes, gives the upright pixels of its first frame, or the reason for a reject.

pydicom reads the header and finds the frame. Uncompressed and run-length coded frames are read here, those in JPEG and JPEG 2000
by Pillow; other transfer syntaxes need packages that are not used. Stored values become rescaled ones by slope and intercept,
then grey by the window (DICOM PS3.3, C.11.2.1.2), or by the range of the spec. Without either, 8 bits are grey as they are, and
the smallest and largest value of deeper images become black and white. In MONOCHROME1, the lowest value is white.
"""

import io
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from workers import formats
from workers.corpus import images
from workers.corpus.pixels import Claim, PixelFormat, Pixels, assemble
from workers.corpus.samples import Samples, read_codestream, read_samples
from workers.corpus.windows import Window, window_of
from workers.errors import Reason, Rejected
from workers.formats import Format
from workers.spec.parts import LimitsSpec

NATIVE = {"1.2.840.10008.1.2": "<", "1.2.840.10008.1.2.1": "<", "1.2.840.10008.1.2.2": ">"}  # byte orders
RUN_LENGTHS = "1.2.840.10008.1.2.5"
PICTURES = {
    "1.2.840.10008.1.2.4.50": "JPEG",
    "1.2.840.10008.1.2.4.90": "JPEG2000",
    "1.2.840.10008.1.2.4.91": "JPEG2000",
}  # formats of frames that Pillow decodes
PACKAGES = {
    "1.2.840.10008.1.2.4.51": "pylibjpeg-libjpeg",
    "1.2.840.10008.1.2.4.57": "pylibjpeg-libjpeg",
    "1.2.840.10008.1.2.4.70": "pylibjpeg-libjpeg",
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.201": "pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.202": "pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.203": "pylibjpeg-openjpeg",
}  # what else would decode frames
TRANSFER_SYNTAX = b"\x02\x00\x10\x00UI"
HEAD_BYTES = 4096  # of a file, which contain its transfer syntax
GREY, COLOURS = ("MONOCHROME1", "MONOCHROME2"), ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
LUMA = ("YBR_FULL", "YBR_FULL_422")
SEGMENTS = 15  # of a run-length coded frame


@dataclass(frozen=True)
class Frame:
    """What the header says about a frame.

    Attributes:
        height: rows.
        width: columns.
        samples: 1 or 3 per pixel.
        allocated: bits of a sample in the file.
        stored: bits of a sample that count.
        is_signed: whether samples are signed.
        photometric: what samples mean.
        is_planar: whether the samples of a colour are stored apart.
        syntax: the transfer syntax.
    """

    height: int
    width: int
    samples: int
    allocated: int
    stored: int
    is_signed: bool
    photometric: str
    is_planar: bool
    syntax: str

    @property
    def frame_bytes(self) -> int:
        """The size of the decoded frame."""
        return self.height * self.width * self.samples * self.allocated // 8


def decode_dicom(data: bytes, kind: Format, limits: LimitsSpec, claim: Claim, form: PixelFormat) -> Pixels:
    """Decode one file; see `decode.decode`.

    Raises:
        Rejected: the file cannot be used.
        Exception: the file is damaged.
    """
    from pydicom import dcmread

    syntax = _read_syntax(data)
    header = dcmread(io.BytesIO(data), stop_before_pixels=True)
    frame = _read_frame(header, syntax)
    if frame.height * frame.width > limits.pixels:
        detail = f"{frame.width} x {frame.height} pixels; the limit is {limits.pixels} in all"
        raise Rejected(Reason.TOO_MANY_PIXELS, detail)
    window = window_of(header, form.span) if frame.samples == 1 else None
    working_bytes, copies = _working_bytes(frame, kind, form), 1 if frame.syntax in NATIVE else 2
    images.require_memory((frame.width, frame.height), working_bytes, limits)
    claim(frame.height, frame.width, copies * len(data) + working_bytes)
    stored = dcmread(io.BytesIO(data), specific_tags=["PixelData", "NumberOfFrames"])
    if "PixelData" not in stored:
        raise Rejected(Reason.NOT_AN_IMAGE, "a DICOM file without pixels")
    if window is None:
        return images.to_upright(_read_colours(stored, frame), Samples(), form)
    return _to_grey(_read_values(stored, frame), frame, window, form)


def _read_syntax(data: bytes) -> str:
    """The transfer syntax, read before anything else: some would decompress the whole file to read its header.

    Raises:
        Rejected: frames of this transfer syntax are not decoded.
    """
    from pydicom.uid import UID

    head = data[:HEAD_BYTES]
    place = head.find(TRANSFER_SYNTAX, 132)
    if place < 0:
        raise Rejected(Reason.DAMAGED, "the file has no transfer syntax")
    (size,) = struct.unpack_from("<H", head, place + 6)
    syntax = head[place + 8 : place + 8 + size].decode("ascii").rstrip("\0 ")
    if syntax not in NATIVE and syntax not in PICTURES and syntax != RUN_LENGTHS:
        needed = (
            f" needs the package {PACKAGES[syntax]}, which Deconvoy does not use"
            if syntax in PACKAGES
            else " is not supported"
        )
        raise Rejected(Reason.UNSUPPORTED_MODE, f"transfer syntax {UID(syntax).name}{needed}; decompress the file")
    return syntax


def _read_frame(header: Any, syntax: str) -> Frame:  # noqa: ANN401 - a pydicom data set
    """The frame, if its samples can be shown.

    Raises:
        Rejected: they cannot.
    """
    if "Rows" not in header:
        raise Rejected(Reason.NOT_AN_IMAGE, "a DICOM file without an image")
    frame = Frame(
        int(header.Rows), int(header.Columns), int(header.SamplesPerPixel), int(header.BitsAllocated),
        int(header.get("BitsStored", header.BitsAllocated)), bool(header.get("PixelRepresentation", 0)),
        str(header.PhotometricInterpretation), bool(header.get("PlanarConfiguration", 0)), syntax,
    )  # fmt: skip
    if frame.height * frame.width == 0:
        raise Rejected(Reason.DAMAGED, f"{frame.width} x {frame.height} pixels")
    is_low = int(header.get("HighBit", frame.stored - 1)) == frame.stored - 1
    is_grey = frame.samples == 1 and frame.photometric in GREY and frame.allocated in (8, 16)
    is_colour = frame.samples == 3 and frame.photometric in COLOURS and (frame.allocated, frame.stored) == (8, 8)
    is_plain = syntax in PICTURES or frame.photometric in (*GREY, "RGB", "YBR_FULL")
    is_ordered = NATIVE.get(syntax) != ">" or frame.allocated == 16  # 8 bits in words of 16 are swapped
    if not (is_low and is_plain and is_ordered and (is_grey or is_colour) and 1 <= frame.stored <= frame.allocated):
        detail = f"{frame.photometric}, {frame.samples} x {frame.stored} of {frame.allocated} bits: not supported"
        raise Rejected(Reason.UNSUPPORTED_MODE, detail)
    return frame


def _working_bytes(frame: Frame, kind: Format, form: PixelFormat) -> int:
    """The peak memory beside the pixel data, and its first frame if compressed: the decoder's, the frame twice, the result."""
    name = PICTURES.get(frame.syntax)
    decoder_bytes = 4 + formats.BY_NAME[name].decoder_bytes if name else kind.decoder_bytes
    return 2 * frame.frame_bytes + frame.height * frame.width * (decoder_bytes + form.pixel_bytes)


def _to_grey(values: Pixels, frame: Frame, window: Window, form: PixelFormat) -> Pixels:
    if not images.is_shown_as_grey(form):
        bands = f", of bands {', '.join(map(str, form.bands))}" if form.bands else ""
        raise Rejected(
            Reason.UNSUPPORTED_MODE, f"the image is grey, but the network needs {form.channels} channels{bands}"
        )
    if not window.is_complete:
        is_plain = frame.stored == 8 and not frame.is_signed
        window = window.spread(*((0, 0xFF) if is_plain else (int(values.min()), int(values.max()))))

    def convert(top: int, bottom: int) -> Pixels:
        grey = window.apply(values[top:bottom], form.largest)
        shown = form.largest - grey if frame.photometric == "MONOCHROME1" else grey
        return shown.astype(form.dtype)

    return assemble(frame.height, frame.width, convert, form)


def _read_values(stored: Any, frame: Frame) -> Pixels:  # noqa: ANN401 - a pydicom data set
    """The stored values of a grey frame, (height, width)."""
    if frame.syntax in PICTURES:
        return _read_picture(stored, frame)
    values = _read_samples(stored, frame)[..., 0]
    unused = frame.allocated - frame.stored
    if not unused:
        return values
    # Bits above those that count may hold overlays; shifting them out also extends the sign.
    return (values << unused) >> unused


def _read_colours(stored: Any, frame: Frame) -> Image.Image:  # noqa: ANN401 - a pydicom data set
    """The colours of a frame."""
    if frame.syntax not in PICTURES:
        samples = np.ascontiguousarray(_read_samples(stored, frame))
        mode = "YCbCr" if frame.photometric in LUMA else "RGB"
        image = Image.frombytes(mode, (frame.width, frame.height), samples.tobytes())
        return image.convert("RGB")
    image = _open_picture(stored, frame)
    if image.format == "JPEG" and "adobe_transform" not in image.info:
        image.draft("YCbCr", image.size)  # the samples as they are, whatever they mean
    image.load()
    if image.mode == "YCbCr" and frame.photometric == "RGB":
        return Image.merge("RGB", image.split())
    return image.convert("RGB")


def _read_samples(stored: Any, frame: Frame) -> Pixels:  # noqa: ANN401 - a pydicom data set
    """The samples of a frame that no picture format compresses, (height, width, samples)."""
    size = frame.height, frame.width
    order = NATIVE.get(frame.syntax, "<")
    dtype = f"{order}{'i' if frame.is_signed else 'u'}{frame.allocated // 8}"
    if frame.syntax == RUN_LENGTHS:
        flat, is_planar = _expand(_first_frame(stored), frame).view(dtype), True
    else:
        flat, is_planar = (
            np.frombuffer(stored.PixelData, dtype, frame.frame_bytes * 8 // frame.allocated),
            frame.is_planar,
        )
    if is_planar:
        return flat.reshape(frame.samples, *size).transpose(1, 2, 0)
    return flat.reshape(*size, frame.samples)


def _expand(data: bytes, frame: Frame) -> Pixels:
    """A run-length coded frame, with its samples apart, in little-endian order (DICOM PS3.5, annex G)."""
    count, *starts = struct.unpack_from(f"<{SEGMENTS + 1}I", data)
    depth, pixels = frame.allocated // 8, frame.height * frame.width
    if count != frame.samples * depth:
        raise Rejected(Reason.DAMAGED, f"{count} segments instead of {frame.samples * depth}")
    ends = [*starts[1:count], len(data)]
    expanded = np.empty((frame.samples, pixels, depth), np.uint8)
    for number, (start, end) in enumerate(zip(starts, ends, strict=False)):
        segment = Image.frombytes("L", (pixels, 1), data[start:end], "packbits", "L")
        sample, byte = divmod(number, depth)
        expanded[sample, :, depth - 1 - byte] = np.asarray(segment)[0]  # the first segment holds the upper bytes
    return expanded.reshape(-1)


def _first_frame(stored: Any) -> bytes:  # noqa: ANN401 - a pydicom data set
    """The bytes of the first compressed frame."""
    from pydicom.encaps import get_frame

    frames = int(stored.get("NumberOfFrames", None) or 1)
    return bytes(get_frame(stored.PixelData, 0, number_of_frames=frames))


def _open_picture(stored: Any, frame: Frame) -> Image.Image:  # noqa: ANN401 - a pydicom data set
    """The picture that a frame is compressed as, whose header must say the same size."""
    data = _first_frame(stored)
    image = images.open_image(data, formats.BY_NAME[PICTURES[frame.syntax]])
    read_samples(image, data)  # refuses a codestream of another size than its container says
    if image.size != (frame.width, frame.height):
        raise Rejected(Reason.DAMAGED, f"a frame of {image.size} instead of {(frame.width, frame.height)} pixels")
    return image


def _read_picture(stored: Any, frame: Frame) -> Pixels:  # noqa: ANN401 - a pydicom data set
    """The values of a grey picture. Pillow gives those of JPEG 2000 without a sign, in the upper bits of 16."""
    image = _open_picture(stored, frame)
    if image.mode not in ("L", "I;16"):
        raise Rejected(Reason.DAMAGED, f"a frame of mode {image.mode} instead of grey")
    if image.format == "JPEG":
        return np.asarray(image)
    stream = read_codestream(_first_frame(stored))
    values = np.asarray(image).astype(np.int32) >> max(0, (16 if image.mode == "I;16" else 8) - stream.bits)
    sign = 1 << stream.bits - 1
    if stream.is_signed:
        values ^= sign  # Pillow adds it to signed samples
    # Of two headers that disagree about the sign, that of the file counts.
    return (values ^ sign) - sign if frame.is_signed else values
