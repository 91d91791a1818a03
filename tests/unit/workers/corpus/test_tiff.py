"""Bands of TIFF files: written by tifffile or by hand, chosen by numpy."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from workers.corpus import pixels, tiff
from workers.corpus.decode import decode
from workers.corpus.pixels import PixelFormat, no_claim
from workers.errors import Reason, Rejected
from workers.spec.parts import LimitsSpec

tifffile = pytest.importorskip("tifffile")

LIMITS = LimitsSpec()
RNG = np.random.default_rng(0)
BANDS = RNG.integers(0, 256, (37, 23, 7), np.uint8)
DEEP = RNG.integers(0, 65536, (37, 23, 7), np.uint16)


def written(bands: np.ndarray, *, apart: bool = False, **options: Any) -> bytes:
    """A TIFF with bands (height, width, bands), grey by its header as GDAL writes it."""
    buffer = io.BytesIO()
    stored = np.ascontiguousarray(np.moveaxis(bands, -1, 0)) if apart else bands
    layout = {"photometric": "minisblack", "planarconfig": "separate" if apart else "contig"}
    tifffile.imwrite(buffer, stored, **layout | options)
    return buffer.getvalue()


def shown(data: bytes, *bands: int, channels: int = 3, **form: Any) -> np.ndarray:
    return decode(data, LIMITS, no_claim, PixelFormat(channels, bands=bands, **form))


def refusal(data: bytes, *bands: int, limits: LimitsSpec = LIMITS, channels: int = 3, **form: Any) -> Rejected:
    with pytest.raises(Rejected) as caught:
        decode(data, limits, no_claim, PixelFormat(channels, bands=bands, **form))
    return caught.value


STORED = [
    {},
    {"rowsperstrip": 5},
    {"tile": (16, 32)},
    {"compression": "zlib"},
    {"compression": "zlib", "rowsperstrip": 8},
    {"compression": "zlib", "predictor": 2, "rowsperstrip": 8},
    {"compression": "zlib", "predictor": 2, "tile": (16, 16)},
    {"bigtiff": True},
]


@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
@pytest.mark.parametrize(
    ("order", "options"),
    [
        (order, options) for order in "<>" for options in STORED if (order, options) != (">", {"bigtiff": True})
    ],  # Pillow
)
def test_bands_are_chosen_by_their_numbers_however_they_are_stored(options, order, apart):
    data = written(BANDS, apart=apart, byteorder=order, **options)
    assert (shown(data, 4, 3, 2) == BANDS[..., [3, 2, 1]]).all()
    assert (shown(data, 7, channels=1) == BANDS[..., [6]]).all()
    data = written(DEEP, apart=apart, byteorder=order, **options)
    assert (shown(data, 1, 7, 1) == np.rint(DEEP[..., [0, 6, 0]] / 257)).all()
    assert (shown(data, 5, 6, 7, bits=16) == DEEP[..., 4:]).all()


def test_lzw_with_differences_between_pixels():
    """Pillow writes it; the differences of four bands are to the pixel before, not to the band before."""
    colours = BANDS[..., :4]
    buffer = io.BytesIO()
    Image.fromarray(colours).save(buffer, "TIFF", compression="tiff_lzw", tiffinfo={317: 2})
    assert (shown(buffer.getvalue(), 4, 3, 2) == colours[..., [3, 2, 1]]).all()


def test_a_network_takes_all_bands_of_files_that_have_as_many_as_it_has_channels():
    assert (shown(written(BANDS), channels=7) == BANDS).all()
    assert (shown(written(DEEP[..., :4]), channels=4) == np.rint(DEEP[..., :4] / 257)).all()
    assert (shown(written(DEEP[..., :2], apart=True), channels=2) == np.rint(DEEP[..., :2] / 257)).all()
    raised = refusal(written(BANDS), channels=13)
    assert (raised.reason, raised.detail) == (
        Reason.UNSUPPORTED_MODE,
        "7 bands of 8 bits (type u1); the network takes 13 channels: select 13 bands with --bands",
    )


def test_a_depth_or_a_range_maps_the_values_of_bands():
    twelve = (DEEP >> 4).astype(np.uint16)
    assert (
        shown(written(twelve), 4, 3, 2, white=4095) == (twelve[..., [3, 2, 1]] * 255.0 / 4095 + 0.5).astype(int)
    ).all()
    wanted = np.floor(np.clip((twelve[..., [3, 2, 1]] - 1000.0) / 2000, 0, 1) * 255 + 0.5)
    assert (shown(written(twelve), 4, 3, 2, span=(1000.0, 3000.0)) == wanted).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32, np.uint32])
@pytest.mark.parametrize("order", ["<", ">"])
def test_values_of_other_types_need_a_range(dtype, order):
    values = RNG.integers(0, 3000, (9, 8, 5)).astype(dtype)
    data = written(values, byteorder=order, compression="zlib")
    wanted = np.floor(np.clip(values[..., [4, 0, 0]] / 2000.0, 0, 1) * 255 + 0.5)
    assert (shown(data, 5, 1, 1, span=(0.0, 2000.0)) == wanted).all()
    raised = refusal(data, 5, 1, 1)
    assert raised.reason is Reason.UNSUPPORTED_MODE and "the values of black and white are unknown" in raised.detail


def test_a_band_that_the_file_does_not_have_is_named():
    raised = refusal(written(BANDS), 8, 1, 1)
    assert (raised.reason, raised.detail) == (Reason.UNSUPPORTED_MODE, "band 8 was requested; the image has 7")


def test_a_file_with_many_bands_and_no_choice_is_unsupported_not_damaged():
    raised = refusal(written(BANDS))
    assert raised.reason is Reason.UNSUPPORTED_MODE and raised.detail.endswith("select bands")


@pytest.mark.parametrize(
    ("mode", "bands", "wanted"),
    [("RGB", (3, 2, 1), [2, 1, 0]), ("RGBA", (4, 4, 1), [3, 3, 0]), ("L", (1, 1, 1), [0, 0, 0])],
)
def test_bands_of_other_formats_are_those_of_the_image(mode, bands, wanted):
    colours = BANDS[..., : len(mode)]
    buffer = io.BytesIO()
    Image.fromarray(colours.squeeze()).save(buffer, "PNG")
    assert (shown(buffer.getvalue(), *bands) == colours[..., wanted]).all()
    assert (shown(buffer.getvalue(), *bands, bits=16) == colours[..., wanted].astype(int) * 257).all()
    raised = refusal(buffer.getvalue(), 5, 1, 1)
    assert raised.detail == f"band 5 was requested; the image has {len(mode)}"


def test_bands_of_palettes_are_no_values_of_pixels():
    buffer = io.BytesIO()
    Image.fromarray(BANDS[..., :3]).quantize(8).save(buffer, "PNG")
    assert refusal(buffer.getvalue(), 1, 1, 1).reason is Reason.UNSUPPORTED_MODE


def test_the_only_band_of_16_bit_grey_can_be_chosen():
    buffer = io.BytesIO()
    Image.fromarray(DEEP[..., 0]).save(buffer, "PNG")
    assert (shown(buffer.getvalue(), 1, 1, 1) == np.rint(DEEP[..., :1] / 257)).all()
    assert refusal(buffer.getvalue(), 2, 1, 1).detail == "band 2 was requested; the image has 1"


def test_the_orientation_applies_to_bands():
    data = written(BANDS, extratags=[(274, 3, 1, 6, True)])
    assert (shown(data, 4, 3, 2) == np.rot90(BANDS[..., [3, 2, 1]], -1)).all()


@pytest.mark.parametrize("options", [{}, {"tile": (16, 16), "compression": "zlib", "predictor": 2}], ids=str)
def test_bands_in_bands_of_rows_are_those_of_the_whole(monkeypatch, options):
    monkeypatch.setattr(pixels, "BAND_PIXELS", 100)
    assert (shown(written(DEEP, **options), 3, 2, 1, bits=16) == DEEP[..., [2, 1, 0]]).all()


def test_samples_of_all_bands_count_for_the_limit():
    assert refusal(written(DEEP), 1, 2, 3, limits=LimitsSpec(pixels=37 * 23 * 3)).reason is Reason.TOO_MANY_PIXELS
    assert decode(written(DEEP), LimitsSpec(pixels=37 * 23 * 4), no_claim, PixelFormat(bands=(1, 2, 3))).shape == (
        37,
        23,
        3,
    )


def test_a_small_file_with_huge_tiles_is_refused():
    data = bytearray(written(BANDS, tile=(16, 16)))
    for tag in (322, 323):
        place = data.index(struct.pack("<HHI", tag, 4, 1))
        data[place + 8 : place + 12] = struct.pack("<I", 1 << 15)
    assert refusal(bytes(data), 1, 2, 3).reason is Reason.TOO_MANY_PIXELS


@pytest.mark.parametrize("apart", [False, True])
def test_the_claim_covers_a_copy_of_the_file_the_rows_and_the_result(apart):
    claims = []
    data = written(DEEP, apart=apart)
    decode(data, LIMITS, lambda *claim: claims.append(claim), PixelFormat(bands=(4, 3, 2)))
    held = (3 + 1) * 2 if apart else 2 * 7 * 2
    assert claims == [(37, 23, len(data) + 37 * 23 * (held + 3))]


@pytest.mark.parametrize("cut", [20, 200, 3000])
def test_cut_files_are_damaged(cut):
    assert refusal(written(DEEP, compression="zlib")[:cut], 1, 2, 3).reason is Reason.DAMAGED


@pytest.mark.parametrize(("changed", "value"), [(277, 60_000), (258, 9_999), (256, 0), (262, 77)])
def test_headers_that_make_no_sense_are_rejects(changed, value):
    data = bytearray(written(BANDS))
    layout = tiff.read_layout(bytes(data))
    assert (layout.bands, layout.dtype) == (7, "u1")
    place = next(at for at in range(8, len(data)) if data[at : at + 2] == struct.pack("<H", changed))
    data[place + 8 : place + 12] = struct.pack("<I", value)
    assert refusal(bytes(data), 1, 2, 3).reason in (Reason.DAMAGED, Reason.UNSUPPORTED_MODE)
