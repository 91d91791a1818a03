"""Which value is white: what the file declares, the depth of the corpus, or a range. Each by numpy as another road."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from workers.corpus.decode import decode
from workers.corpus.pixels import PixelFormat, no_claim
from workers.corpus.samples import Samples, scale
from workers.errors import Reason, Rejected
from workers.spec.parts import LimitsSpec

LIMITS = LimitsSpec()
TWELVE = (np.arange(256) * 4095 / 255).round().astype(np.uint16).reshape(16, 16)
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def file(pixels: np.ndarray, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pytest.importorskip("tifffile").imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def shown(data: bytes, **form: Any) -> np.ndarray:
    return decode(data, LIMITS, no_claim, PixelFormat(channels=1, **form))[..., 0]


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_12_bits_in_a_file_of_16_are_near_black_unless_the_depth_is_12(form):
    data = file(TWELVE, form)
    assert len(np.unique(shown(data))) == 17 and shown(data).max() == 16
    assert (shown(data, white=4095) == RAMP).all()
    assert (shown(data, white=4095, bits=16) == np.rint(TWELVE / 4095 * 65535)).all()


def test_8_bits_in_a_file_of_16_are_shown_as_they_are_with_depth_8():
    assert (shown(file(RAMP.astype(np.uint16), "PNG"), white=255) == RAMP).all()


def test_values_beyond_white_are_white():
    values = np.array([[0, 4095, 4096, 65535]], np.uint16)
    assert shown(file(values, "PNG"), white=4095).tolist() == [[0, 255, 255, 255]]


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_depth_does_not_change_images_of_8_bits_and_turns_inverted_ones(order):
    assert (shown(file(RAMP, "PNG"), white=4095) == RAMP).all()
    assert (shown(tiff(TWELVE, photometric="minisblack", byteorder=order), white=4095) == RAMP).all()
    if order == "<":
        assert (shown(tiff(TWELVE, photometric="miniswhite", byteorder=order), white=4095) == 255 - RAMP).all()


@pytest.mark.parametrize("span", [(0.0, 3000.0), (1000.0, 1001.0), (-500.0, 500.0), (12.5, 70000.25)])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_range_maps_its_ends_to_black_and_white(span, bits):
    values = np.random.default_rng(0).integers(0, 65536, (9, 7), np.uint16)
    low, high = span
    largest = 255 if bits == 8 else 65535
    wanted = np.floor(np.clip((values - low) / (high - low), 0, 1) * largest + 0.5)
    assert (shown(file(values, "PNG"), span=span, bits=bits) == wanted).all()


def test_a_range_shows_floating_point_and_32_bit_images_and_nan_is_black():
    values = np.array([[0.0, 0.25, 0.5, 1.0, 2.0, np.nan, np.inf, -np.inf]], np.float32)
    assert shown(file(values, "TIFF"), span=(0.0, 1.0)).tolist() == [[0, 64, 128, 255, 255, 0, 255, 0]]
    whole = np.array([[-100_000, 0, 100_000]], np.int32)
    assert shown(file(whole, "TIFF"), span=(-100_000.0, 100_000.0)).tolist() == [[0, 128, 255]]
    for data in (file(values, "TIFF"), file(whole, "TIFF")):
        with pytest.raises(Rejected, match=r"mode [IF]: its values have no known colours"):
            shown(data, white=4095)


def test_the_transparent_value_is_white_under_any_depth():
    values = np.array([[0, 7, 4095]], np.uint16)
    data = file(values, "PNG", transparency=7)
    assert shown(data, white=4095).tolist() == [[0, 255, 255]]
    assert shown(data, span=(0.0, 8190.0)).tolist() == [[0, 255, 128]]


def file_of_colours(samples: np.ndarray) -> bytes:
    """A PNG of 16-bit colours."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = samples.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in samples)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def test_16_bit_colours_of_a_tiff_follow_the_depth():
    colours = np.stack([TWELVE, TWELVE.T, TWELVE[::-1]], axis=-1)
    data = tiff(colours, photometric="rgb", compression="zlib")
    wanted = np.stack([RAMP, RAMP.T, RAMP[::-1]], axis=-1)
    assert (decode(data, LIMITS, no_claim, PixelFormat(white=4095)) == wanted).all()
    halves = np.floor(np.clip(colours / 2000.0, 0, 1) * 255 + 0.5)
    assert (decode(data, LIMITS, no_claim, PixelFormat(span=(0.0, 2000.0))) == halves).all()
    with pytest.raises(Rejected, match="only with --depth 16"):
        shown(data, white=4095)  # grey of them would be that of the upper 8 bits


def test_16_bit_colours_are_refused_if_their_white_is_not_65535():
    """Pillow keeps the upper 8 bits: with 12 bits of values, 4."""
    deep = file_of_colours(np.repeat(TWELVE[..., None], 3, axis=-1))
    assert decode(deep, LIMITS).max() == 15
    for form in (PixelFormat(white=4095), PixelFormat(span=(0.0, 4095.0))):
        with pytest.raises(Rejected, match=r"16-bit colour or alpha.* only with --depth 16") as raised:
            decode(deep, LIMITS, no_claim, form)
        assert raised.value.reason is Reason.UNSUPPORTED_MODE


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=20), st.sampled_from([255, 4095, 65535]), st.booleans())
def test_scaling_is_monotone_and_exact_at_its_ends(values, white, deep):
    form = PixelFormat(white=white, bits=16 if deep else 8)
    scaled = scale(np.array(sorted([*values, 0, white]), np.uint16), Samples(), form)
    assert (np.diff(scaled.astype(int)) >= 0).all() and scaled[0] == 0 and scaled[-1] == form.largest
    inverted = scale(np.array(values, np.uint16), Samples(inverted=True), form)
    assert (inverted == form.largest - scale(np.array(values, np.uint16), Samples(), form)).all()


@given(st.integers(0, 65535), st.integers(1, 65535))
def test_a_white_is_the_range_from_0_to_it(value, white):
    declared = scale(np.array([value]), Samples(white, declared=True), PixelFormat())
    assert declared == scale(np.array([value]), Samples(), PixelFormat(span=(0.0, float(white))))
