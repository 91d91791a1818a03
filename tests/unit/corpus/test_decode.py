"""Every mode on purpose, every damage a reject."""

import io
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from workers.corpus.decode import decode
from workers.errors import Reason, Rejected
from workers.spec import LimitsSpec

LIMITS = LimitsSpec()
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def file(image: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def reason(data: bytes, limits: LimitsSpec = LIMITS) -> Reason:
    with pytest.raises(Rejected) as caught:
        decode(data, limits)
    return caught.value.reason


def test_grey_is_three_equal_channels():
    assert (decode(file(Image.fromarray(RAMP)), LIMITS) == RAMP[..., None]).all()


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_a_16_bit_ramp_stays_a_ramp(form):
    wide = (RAMP.astype(np.uint16) * 257).astype(np.uint16)
    assert (decode(file(Image.fromarray(wide), form), LIMITS) == RAMP[..., None]).all()


def test_transparency_is_laid_over_white():
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert (decode(file(clear), LIMITS) == 255).all()
    assert (decode(file(half), LIMITS) == 127).all()


def test_a_palette_with_transparency_is_laid_over_white():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([200, 0, 0, 0, 200, 0])
    image.putpixel((1, 1), 1)
    pixels = decode(file(image, transparency=0), LIMITS)
    assert pixels[0, 0].tolist() == [255, 255, 255] and pixels[1, 1].tolist() == [0, 200, 0]


def test_cmyk_becomes_its_colours():
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    pixels = decode(file(image, "TIFF"), LIMITS)
    assert pixels[0, 0].tolist() == [255, 0, 0]


def test_the_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise
    image = Image.new("RGB", (20, 10))
    image.paste((255, 255, 255), (0, 0, 10, 10))
    pixels = decode(file(image, exif=exif), LIMITS)
    assert pixels.shape == (20, 10, 3) and pixels[0, 0, 0] == 255 and pixels[19, 0, 0] == 0


def test_of_several_frames_the_first_counts():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    pixels = decode(file(frames[0], "GIF", save_all=True, append_images=frames[1:]), LIMITS)
    assert pixels[0, 0].tolist() == [255, 0, 0]


def test_floating_point_is_refused():
    assert reason(file(Image.fromarray(RAMP.astype(np.float32)), "TIFF")) is Reason.UNSUPPORTED_MODE


def test_each_damage_has_its_reason():
    good = file(Image.fromarray(RAMP))
    assert reason(b"") is Reason.EMPTY
    assert reason(b"no image at all") is Reason.NOT_AN_IMAGE
    noise = file(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)))
    assert reason(noise[: len(noise) // 2]) is Reason.DAMAGED
    assert reason(good, LimitsSpec(bytes=10)) is Reason.TOO_MANY_BYTES
    assert reason(good, LimitsSpec(pixels=255)) is Reason.TOO_MANY_PIXELS


@given(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]), st.data())
def test_damaged_bytes_are_rejected_and_nothing_else(form, data):
    whole = bytearray(file(Image.fromarray(RAMP), form))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        assert decode(cut, LIMITS).dtype == np.uint8
    except Rejected as rejected:
        assert rejected.detail


ALL = """
import sys
from pathlib import Path
from workers.corpus.decode import decode, prepare_decoder
from workers.errors import Rejected
from workers.spec import LimitsSpec
prepare_decoder()
counts = [0, 0]
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        decode(path.read_bytes(), LimitsSpec()); counts[0] += 1
    except Rejected:
        counts[1] += 1
print(*counts)
"""


@pytest.mark.shared
def test_hostile_files_decode_or_are_rejected_and_never_crash(shared):
    result = subprocess.run(
        [sys.executable, "-c", ALL, str(shared / "hostile")], capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr[-2000:]
    decoded, rejected = map(int, result.stdout.split())
    assert decoded + rejected == len(list((shared / "hostile").iterdir()))
    assert rejected > 500
