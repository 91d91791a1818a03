"""Colour profiles, made byte by byte, against the arithmetic of matrices and curves."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from workers.corpus import pixels
from workers.corpus.decode import decode
from workers.corpus.pixels import PixelFormat, no_claim
from workers.spec.parts import LimitsSpec

LIMITS = LimitsSpec()
CONVERT = PixelFormat(convert=True)
GAMMA = 2.0
# Primaries adapted to D50: of a wide space (Adobe RGB) and of sRGB, as columns (X, Y, Z).
WIDE = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
COLOURS = np.random.default_rng(0).integers(40, 216, (24, 20, 3), np.uint8)


def fixed(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))


def profile(space: bytes) -> bytes:
    """An ICC profile of version 2 with a gamma of 2, for RGB by the wide primaries or for grey."""
    curve = b"curv" + bytes(4) + struct.pack(">IHH", 1, round(GAMMA * 256), 0)
    white = b"XYZ " + bytes(4) + fixed(0.9642, 1.0, 0.8249)
    tags = {b"wtpt": white, b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"wide\0" + bytes(78)}
    if space == b"RGB ":
        tags |= {b"%cXYZ" % name: b"XYZ " + bytes(4) + fixed(*WIDE[:, n]) for n, name in enumerate(b"rgb")}
        tags |= {b"%cTRC" % name: curve for name in b"rgb"}
    else:
        tags[b"kTRC"] = curve
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value + b"\0" * (-len(value) % 4)
    size = start + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, b"mntr", space, b"XYZ ") + bytes(12) + b"acsp"
    head += bytes(28) + fixed(0.9642, 1.0, 0.8249) + bytes(48)
    return head[:128].ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def encode(linear: np.ndarray) -> np.ndarray:
    """Linear light in sRGB as 8 bits."""
    clipped = np.clip(linear, 0, 1)
    return 255 * np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)


def converted(colours: np.ndarray) -> np.ndarray:
    """The colours in sRGB, by hand."""
    linear = (colours / 255) ** GAMMA
    return encode(linear @ WIDE.T @ np.linalg.inv(SRGB).T)


def file(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def shown(data: bytes, form: PixelFormat = CONVERT) -> np.ndarray:
    return decode(data, LIMITS, no_claim, form)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_colours_are_converted_by_the_profile_in_the_file_or_not_at_all(form):
    data = file(Image.fromarray(COLOURS), form, icc_profile=profile(b"RGB "))
    assert (shown(data, PixelFormat()) == COLOURS).all()
    assert np.abs(shown(data) - converted(COLOURS)).max() <= 2
    assert np.abs(converted(COLOURS) - COLOURS).max() > 20  # the profile matters


def test_grey_is_converted_by_a_grey_profile():
    shades = COLOURS[..., 0]
    data = file(Image.fromarray(shades), icc_profile=profile(b"GRAY"))
    wanted = encode((shades / 255) ** GAMMA)
    assert np.abs(shown(data) - wanted[..., None]).max() <= 2
    assert np.abs(shown(data, PixelFormat(1, convert=True))[..., 0] - wanted).max() <= 2


def test_transparency_is_laid_over_white_after_the_conversion():
    alpha = np.full((24, 20, 1), 128, np.uint8)
    data = file(Image.fromarray(np.concatenate([COLOURS, alpha], axis=-1)), icc_profile=profile(b"RGB "))
    wanted = converted(COLOURS) * (128 / 255) + 255 * (127 / 255)
    assert np.abs(shown(data) - wanted).max() <= 2
    shades = Image.merge("LA", [Image.fromarray(COLOURS[..., 0]), Image.fromarray(alpha[..., 0])])
    data = file(shades, icc_profile=profile(b"GRAY"))
    wanted = encode((COLOURS[..., :1] / 255) ** GAMMA) * (128 / 255) + 127
    assert np.abs(shown(data) - wanted).max() <= 2


def test_palettes_are_converted():
    palette = Image.fromarray(COLOURS).quantize(16)
    data = file(palette, icc_profile=profile(b"RGB "))
    assert np.abs(shown(data) - converted(np.asarray(palette.convert("RGB")))).max() <= 2


def test_a_conversion_in_bands_is_that_of_the_whole(monkeypatch):
    data = file(Image.fromarray(COLOURS), icc_profile=profile(b"RGB "))
    whole = shown(data)
    monkeypatch.setattr(pixels, "BAND_PIXELS", 50)
    assert (shown(data) == whole).all()


def test_an_image_in_srgb_stays_as_it_is():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.abs(shown(file(Image.fromarray(COLOURS), icc_profile=srgb)).astype(int) - COLOURS).max() <= 1


@pytest.mark.parametrize("damage", ["cut", "noise", "other colours"])
def test_a_damaged_profile_or_one_of_other_colours_counts_as_none(damage):
    whole = profile(b"RGB ")
    data = {"cut": whole[:100], "noise": b"no profile", "other colours": profile(b"GRAY")}[damage]
    assert (shown(file(Image.fromarray(COLOURS), icc_profile=data)) == COLOURS).all()


def test_16_bit_grey_has_no_conversion():
    wide = COLOURS[..., 0].astype(np.uint16) * 257
    data = file(Image.fromarray(wide), icc_profile=profile(b"GRAY"))
    assert (shown(data) == COLOURS[..., :1]).all()
