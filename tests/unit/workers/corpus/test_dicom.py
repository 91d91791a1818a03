"""DICOM files, written element by element, against arithmetic by hand and against pydicom's own."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support import dicoms
from workers.corpus import pixels
from workers.corpus.decode import decode, decoder_of
from workers.corpus.pixels import PixelFormat, no_claim
from workers.errors import Reason, Rejected
from workers.spec.parts import LimitsSpec

pydicom = pytest.importorskip("pydicom")

LIMITS = LimitsSpec()
RNG = np.random.default_rng(0)
TWELVE = RNG.integers(0, 4096, (24, 20), np.uint16)
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOURS = np.stack([RAMP, RAMP.T, RAMP[::-1]], axis=-1)
RGB = {
    "samples": 3,
    "photometric": "RGB",
    "rows": 16,
    "columns": 16,
    "allocated": 8,
    "stored": 8,
    "high": 7,
    "signed": 0,
}


def shown(data: bytes, **form: Any) -> np.ndarray:
    return decode(data, LIMITS, no_claim, PixelFormat(**form))


def grey(data: bytes, **form: Any) -> np.ndarray:
    return shown(data, channels=1, **form)[..., 0]


def refusal(data: bytes, limits: LimitsSpec = LIMITS, **form: Any) -> Rejected:
    with pytest.raises(Rejected) as caught:
        decode(data, limits, no_claim, PixelFormat(**form))
    return caught.value


def rounded(share: np.ndarray, largest: int = 255) -> np.ndarray:
    return np.floor(np.clip(share, 0, 1) * largest + 0.5)


def spread(values: np.ndarray, largest: int = 255) -> np.ndarray:
    """From the smallest to the largest value."""
    exact = values.astype(float)
    return rounded((exact - exact.min()) / np.ptp(exact), largest)


@pytest.mark.parametrize("syntax", [dicoms.EXPLICIT, dicoms.IMPLICIT, dicoms.BIG_ENDIAN])
@pytest.mark.parametrize(
    "values", [TWELVE, TWELVE // 9 + 700, TWELVE.astype(np.int16) - 2000], ids=["all", "few", "signed"]
)
def test_without_a_window_deep_values_are_spread_from_the_smallest_to_the_largest(syntax, values):
    data = dicoms.grey(values, syntax, slope=-0.5, intercept=7)
    assert (grey(data) == spread(-values.astype(float))).all()
    assert (grey(data, bits=16) == spread(-values.astype(float), 65535)).all()
    assert (shown(data) == grey(data)[..., None]).all()


def test_signed_values_of_8_bits_are_spread_too():
    signed = RNG.integers(-100, 90, (6, 5)).astype(np.int8)
    assert (grey(dicoms.grey(signed)) == spread(signed)).all()


def test_an_image_of_one_value_is_black_without_a_window():
    assert (grey(dicoms.grey(np.full((4, 4), 900, np.uint16))) == 0).all()


def test_8_bits_are_shown_as_they_are_and_monochrome1_is_inverted():
    assert (grey(dicoms.grey(RAMP)) == RAMP).all()
    assert (grey(dicoms.grey(RAMP, photometric="MONOCHROME1")) == 255 - RAMP).all()


def test_bits_above_those_that_are_stored_do_not_count():
    overlay = TWELVE | 0x7000
    assert (grey(dicoms.grey(overlay, stored=12)) == grey(dicoms.grey(TWELVE, stored=12))).all()
    signed = RNG.integers(-2048, 2048, (24, 20)).astype(np.int16)
    data = dicoms.grey((signed & 0x0FFF).astype(np.int16), stored=12)
    assert (grey(data) == spread(signed)).all()


def window(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    """C.11.2.1.2 of the standard, its three cases written out."""
    below, above = values <= centre - 0.5 - (width - 1) / 2, values > centre - 0.5 + (width - 1) / 2
    between = ((values - (centre - 0.5)) / max(width - 1, 1e-9) + 0.5) * 255
    return np.floor(np.where(below, 0, np.where(above, 255, between)) + 0.5)


@pytest.mark.parametrize(("centre", "width"), [(40, 400), (-600, 1500), (0.5, 2), (10, 1), (300.5, 78.5)])
def test_values_are_rescaled_and_windowed(centre, width):
    hounsfield = RNG.integers(-1024, 1500, (24, 20))
    data = dicoms.grey((hounsfield + 1024).astype(np.uint16), slope=1, intercept=-1024, centre=centre, width=width)
    assert (grey(data) == window(hounsfield, centre, width)).all()
    inverted = dicoms.grey(
        (hounsfield + 1024).astype(np.uint16),
        intercept=-1024,
        slope=1,
        centre=centre,
        width=width,
        photometric="MONOCHROME1",
    )
    assert (grey(inverted) == 255 - window(hounsfield, centre, width)).all()


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_are_those_of_pydicom(function):
    """pydicom maps to the range of the stored values after rescaling, which is brought to 0 to 255 here."""
    from pydicom.pixels.processing import apply_modality_lut, apply_windowing

    data = dicoms.grey(TWELVE, stored=12, slope=0.5, intercept=-100, centre=700, width=900, function=function)
    header = pydicom.dcmread(io.BytesIO(data))
    shades = apply_windowing(apply_modality_lut(header.pixel_array, header), header)
    low, high = -100.0, 4095 * 0.5 - 100
    assert np.abs(grey(data) - (shades - low) / (high - low) * 255).max() <= 0.51


def test_of_several_windows_and_frames_the_first_counts():
    frames = np.concatenate([TWELVE, np.zeros_like(TWELVE)])
    data = dicoms.grey(frames, stored=12, rows=24, frames=2, centre="2048\\100", width="4096\\50")
    assert (grey(data) == window(TWELVE, 2048, 4096)).all()


def test_a_range_of_the_spec_replaces_the_window():
    data = dicoms.grey(TWELVE, stored=12, slope=2, intercept=-1000, centre=1, width=2)
    assert (grey(data, span=(-160.0, 240.0)) == rounded((TWELVE * 2.0 - 1000 + 160) / 400)).all()
    assert (grey(data, white=255) == grey(data)).all()  # a depth is for files without a window


def planar(colours: np.ndarray) -> bytes:
    return np.moveaxis(colours, -1, 0).tobytes()


def test_colours_are_shown_together_or_apart():
    assert (shown(dicoms.dicom(COLOURS.tobytes(), RGB | {"planar": 0})) == COLOURS).all()
    assert (shown(dicoms.dicom(planar(COLOURS), RGB | {"planar": 1})) == COLOURS).all()
    assert (shown(dicoms.dicom(COLOURS.tobytes(), RGB), bands=(3, 2, 1)) == COLOURS[..., ::-1]).all()
    wanted = np.asarray(Image.fromarray(COLOURS).convert("L"))
    assert (grey(dicoms.dicom(COLOURS.tobytes(), RGB)) == wanted).all()


def test_brightness_and_chroma_become_colours():
    data = dicoms.dicom(bytes([76, 85, 255]), RGB | {"photometric": "YBR_FULL", "rows": 1, "columns": 1})
    red, green, blue = shown(data)[0, 0].tolist()
    assert red >= 253 and green <= 2 and blue <= 2  # JFIF: 0.299 x 255 = 76


def run_lengths(*planes: np.ndarray) -> bytes:
    """Segments of bytes, each run written as one of equal bytes or as literal ones (PS3.5, G.3)."""
    segments = []
    for plane in planes:
        segment = b""
        for row in plane:
            for byte in row.tobytes()[:-3]:
                segment += bytes([0, byte])  # one literal byte
            tail = row.tobytes()[-3:]
            segment += bytes([256 - 2, tail[0]]) if len(set(tail)) == 1 else bytes([2]) + tail
        segments.append(segment + b"\0" * (len(segment) % 2))
    starts = np.cumsum([64, *map(len, segments[:-1])])
    return struct.pack("<16I", len(planes), *starts, *[0] * (15 - len(planes))) + b"".join(segments)


def test_run_length_coded_frames():
    values = TWELVE.copy()
    values[:5, -3:] = 257
    upper, lower = (values >> 8).astype(np.uint8), (values & 255).astype(np.uint8)
    about = {"samples": 1, "photometric": "MONOCHROME2", "rows": 24, "columns": 20}
    about |= {"allocated": 16, "stored": 12, "high": 11, "signed": 0}
    data = dicoms.dicom(run_lengths(upper, lower), about, dicoms.RUN_LENGTHS)
    assert (grey(data) == spread(values)).all()
    assert (pydicom.dcmread(io.BytesIO(data)).pixel_array == values).all()
    data = dicoms.dicom(run_lengths(*np.moveaxis(COLOURS, -1, 0)), RGB, dicoms.RUN_LENGTHS)
    assert (shown(data) == COLOURS).all()


def picture(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def test_jpeg_2000_frames_keep_their_bits_and_signs():
    wide = RNG.integers(0, 65536, (24, 20), np.uint16)
    about = {
        "samples": 1,
        "photometric": "MONOCHROME2",
        "rows": 24,
        "columns": 20,
        "allocated": 16,
        "stored": 16,
        "high": 15,
    }
    frame = picture(Image.fromarray(wide), "JPEG2000", no_jp2=True)
    data = dicoms.dicom(frame, about | {"signed": 0, "centre": 30000, "width": 20000}, dicoms.JPEG_2000)
    assert (grey(data) == window(wide, 30000, 20000)).all()
    signed = bytearray(frame)
    signed[42] |= (
        0x80  # the samples of the codestream are signed: the same codes without the shift by half of the range
    )
    data = dicoms.dicom(bytes(signed), about | {"signed": 1, "centre": 0, "width": 20000}, dicoms.JPEG_2000)
    assert (grey(data) == window(wide.astype(int) - 32768, 0, 20000)).all()
    # If the two headers disagree, the bits are those of two's complement.
    data = dicoms.dicom(frame, about | {"signed": 1, "centre": 0, "width": 20000}, dicoms.JPEG_2000)
    assert (grey(data) == window(wide.astype(np.int16).astype(int), 0, 20000)).all()


@pytest.mark.parametrize(("photometric", "options"), [("YBR_FULL_422", {}), ("RGB", {"keep_rgb": True})])
def test_jpeg_frames_have_the_colours_of_their_photometric_interpretation(photometric, options):
    smooth = np.stack([np.add.outer(np.arange(16) * 5, np.arange(16) * 4)] * 3, axis=-1).astype(np.uint8)
    smooth[..., 1] = smooth[::-1, :, 1]
    frame = picture(Image.fromarray(smooth), "JPEG", quality=98, subsampling=0, **options)
    data = dicoms.dicom(frame, RGB | {"photometric": photometric}, dicoms.JPEG)
    assert np.abs(shown(data).astype(int) - smooth).max() <= 8


def test_grey_jpeg_frames():
    shades = np.add.outer(np.arange(16) * 5, np.arange(16) * 4).astype(np.uint8)
    about = RGB | {"samples": 1, "photometric": "MONOCHROME2"}
    data = dicoms.dicom(picture(Image.fromarray(shades), "JPEG", quality=98), about, dicoms.JPEG)
    assert np.abs(grey(data).astype(int) - shades).max() <= 3


def test_a_frame_in_bands_of_rows_is_that_of_the_whole(monkeypatch):
    monkeypatch.setattr(pixels, "BAND_PIXELS", 50)
    assert (grey(dicoms.grey(TWELVE, stored=12)) == spread(TWELVE)).all()


@pytest.mark.parametrize(
    ("syntax", "line"),
    [
        (dicoms.LOSSLESS_JPEG, "needs the package pylibjpeg-libjpeg, which Deconvoy does not use; decompress the file"),
        (dicoms.DEFLATED, "transfer syntax Deflated Explicit VR Little Endian is not supported; decompress the file"),
        ("1.2.840.10008.1.2.4.80", "pyjpegls"),
    ],
)
def test_other_transfer_syntaxes_are_rejects_that_name_the_package(syntax, line):
    raised = refusal(dicoms.dicom(b"frame", RGB, syntax))
    assert raised.reason is Reason.UNSUPPORTED_MODE and line in raised.detail


@pytest.mark.parametrize(
    "changed",
    [
        {"photometric": "PALETTE COLOR"}, {"allocated": 32, "stored": 32, "high": 31}, {"allocated": 1, "stored": 1, "high": 0},
        {"high": 15, "stored": 12}, {"samples": 3}, {"width": 0, "centre": 5}, {"function": "OTHER", "width": 5, "centre": 5},
    ],
)  # fmt: skip
def test_samples_without_known_grey_are_unsupported(changed):
    assert refusal(dicoms.grey(TWELVE, **changed)).reason is Reason.UNSUPPORTED_MODE


def test_networks_of_other_channels_take_no_grey():
    raised = refusal(dicoms.grey(TWELVE), channels=4)
    assert (raised.reason, raised.detail) == (
        Reason.UNSUPPORTED_MODE,
        "the image is grey, but the network needs 4 channels",
    )


@pytest.mark.parametrize("syntax", [dicoms.JPEG, dicoms.JPEG_2000])
def test_a_frame_of_another_size_than_the_header_says_is_not_decoded(syntax):
    form = "JPEG" if syntax == dicoms.JPEG else "JPEG2000"
    data = dicoms.dicom(picture(Image.new("RGB", (64, 64)), form), RGB, syntax)
    raised = refusal(data)
    assert (raised.reason, raised.detail) == (Reason.DAMAGED, "a frame of (64, 64) instead of (16, 16) pixels")


def test_a_codestream_larger_than_its_frame_is_not_decoded():
    frame = bytearray(picture(Image.new("RGB", (16, 16)), "JPEG2000"))
    at = frame.index(b"\xff\x4f\xff\x51") + 8
    frame[at : at + 8] = struct.pack(">II", 20_000, 20_000)
    raised = refusal(dicoms.dicom(bytes(frame), RGB, dicoms.JPEG_2000))
    assert raised.reason is Reason.DAMAGED and "the codestream 20000 x 20000 pixels" in raised.detail


def test_limits_are_checked_against_the_header_and_cut_files_are_damaged():
    data = dicoms.grey(TWELVE)
    assert refusal(data, LimitsSpec(pixels=24 * 20 - 1)).reason is Reason.TOO_MANY_PIXELS
    assert refusal(dicoms.grey(TWELVE, rows=60_000, columns=60_000)).reason is Reason.TOO_MANY_PIXELS
    for size in (133, 150, 250, len(data) - 10):
        assert refusal(data[:size]).reason is Reason.DAMAGED


@pytest.mark.parametrize("end", [b"\x28\0\x10\0US", b"\xe0\x7f\x10\0OW"], ids=["rows", "pixels"])
def test_a_file_without_rows_or_pixels_is_not_an_image(end):
    """Reports, plans and directories are DICOM files too."""
    data = dicoms.grey(TWELVE)
    assert refusal(data[: data.index(end)]).reason is Reason.NOT_AN_IMAGE


def test_runs_beyond_the_end_of_the_frame_are_not_expanded():
    about = RGB | {"samples": 1, "photometric": "MONOCHROME2"}
    runs = bytes([129, 7]) * 32_768
    data = dicoms.dicom(struct.pack("<16I", 1, 64, *[0] * 14) + runs, about, dicoms.RUN_LENGTHS)
    assert (grey(data) == 7).all()


def test_the_claim_covers_the_file_the_frame_and_the_result():
    claims, data = [], dicoms.grey(TWELVE)
    decode(data, LIMITS, lambda *claim: claims.append(claim))
    assert claims == [(24, 20, len(data) + 24 * 20 * (2 * 2 + 8 + 3))]


def test_a_frame_whose_decoder_would_take_too_much_memory_is_refused():
    data = dicoms.dicom(picture(Image.fromarray(COLOURS), "JPEG2000"), RGB, dicoms.JPEG_2000)  # 35 bytes per pixel
    raised = refusal(data, LimitsSpec(pixels=16 * 16))
    assert raised.reason is Reason.TOO_MANY_PIXELS and "pixels takes 8960 bytes; the limit is" in raised.detail
    assert (decode(data, LimitsSpec(pixels=2 * 16 * 16)) == COLOURS).all()


def test_the_decoder_is_pydicom():
    assert decoder_of(dicoms.grey(RAMP)) == f"pydicom {pydicom.__version__}"


REAL = Path(pydicom.__file__).parent / "data" / "test_files"  # scans and screens of several makers, part of the package
SCANS = [
    "693_J2KI", "CT_small", "J2K_pixelrep_mismatch", "MR_small", "MR_small_RLE", "MR_small_bigendian", "MR_small_expb",
    "MR_small_implicit", "MR_small_jp2klossless", "MR_small_padded", "examples_overlay",
]  # fmt: skip
SCREENS = [
    "SC_jpeg_no_color_transform", "SC_rgb_dcmtk_+eb+cr", "SC_rgb_dcmtk_+eb+cy+n1", "SC_rgb_dcmtk_+eb+cy+s2", "SC_rgb_gdcm_KY",
    "SC_rgb_jpeg_app14_dcmd", "SC_rgb_rle", "SC_rgb_rle_2frame", "SC_rgb_small_odd", "examples_jpeg2k", "examples_rgb_color",
    "examples_ybr_color",
]  # fmt: skip


@pytest.mark.parametrize("name", SCANS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_scans_have_the_grey_that_pydicom_gives_them(name):
    from pydicom.pixels.processing import apply_modality_lut, apply_windowing

    data = (REAL / f"{name}.dcm").read_bytes()
    header = pydicom.dcmread(io.BytesIO(data))
    values = apply_modality_lut(header.pixel_array, header)
    if "WindowWidth" not in header:
        assert (grey(data) == spread(values)).all()
        return
    bits, slope, intercept = header.BitsStored, header.get("RescaleSlope", 1), header.get("RescaleIntercept", 0)
    start = -(1 << bits - 1) if header.PixelRepresentation else 0
    low, high = (float(slope) * end + float(intercept) for end in (start, start + (1 << bits) - 1))
    assert np.abs(grey(data) - (apply_windowing(values, header) - low) / (high - low) * 255).max() <= 0.51


@pytest.mark.parametrize("name", SCREENS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_screens_have_the_colours_that_pydicom_gives_them(name):
    from pydicom.pixels.utils import pixel_array

    data = (REAL / f"{name}.dcm").read_bytes()
    wanted = pixel_array(io.BytesIO(data), index=0)
    assert np.abs(shown(data).astype(int) - wanted).max() <= 1  # of brightness and chroma, rounding
