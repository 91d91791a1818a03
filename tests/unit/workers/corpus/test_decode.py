"""Every mode on purpose, every damage a reject."""

import io
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tests.support import dicoms, peaks
from workers.corpus import images, pixels
from workers.corpus.decode import decode
from workers.corpus.pixels import PixelFormat, no_claim
from workers.corpus.samples import Samples
from workers.errors import Reason, Rejected
from workers.formats import FORMATS, Format
from workers.spec.parts import LimitsSpec

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


def tiff(pixels: np.ndarray, **options) -> bytes:
    """A TIFF by another writer than the decoder's library."""
    tifffile = pytest.importorskip("tifffile")
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def png(colour_type: int, samples: np.ndarray, transparent: tuple[int, ...] = ()) -> bytes:
    """A PNG with 16-bit samples (height, width, samples), chunk by chunk."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = samples.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in samples)
    extra = chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)) if transparent else b""
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


WIDE = RAMP.astype(np.uint16) * 257


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("pixels", [RAMP, WIDE], ids=["8 bits", "16 bits"])
def test_a_tiff_whose_zero_is_white_is_turned_round_or_refused(pixels, order):
    assert (decode(tiff(pixels, photometric="minisblack", byteorder=order), LIMITS) == RAMP[..., None]).all()
    turned = tiff(pixels, photometric="miniswhite", byteorder=order)
    if pixels is WIDE and order == ">":  # Pillow does not know this kind
        assert reason(turned) is Reason.UNSUPPORTED_MODE
    else:
        assert (decode(turned, LIMITS) == 255 - RAMP[..., None]).all()


def test_12_bits_are_scaled_by_their_own_white():
    """Two samples in three bytes, as cameras and microscopes write them."""
    samples = (np.arange(256) * 4095 / 255).round().astype(np.uint32).reshape(16, 16)
    pairs = (samples[:, ::2] << 12) | samples[:, 1::2]
    packed = np.stack([pairs >> 16, pairs >> 8 & 255, pairs & 255], axis=-1).astype(np.uint8).tobytes()
    tags = [
        (256, 16), (257, 16), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 16), (279, len(packed)),
    ]  # fmt: skip
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    data = b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + directory + b"\0\0\0\0"
    assert np.abs(decode(data, LIMITS).astype(int) - RAMP[..., None]).max() <= 1


def test_16_bit_colours_keep_their_values_within_one_level():
    colours = np.stack([WIDE, WIDE.T, WIDE[::-1]], axis=-1)
    wanted = np.stack([RAMP, RAMP.T, RAMP[::-1]], axis=-1)
    for data in (png(2, colours), tiff(colours, photometric="rgb")):
        assert np.abs(decode(data, LIMITS).astype(int) - wanted).max() <= 1


def test_the_transparent_value_of_a_16_bit_png_is_laid_over_white_or_refused():
    pixels = decode(png(0, WIDE[..., None], transparent=(257 * 7,)), LIMITS)
    wanted = np.where(RAMP == 7, 255, RAMP)
    assert (pixels == wanted[..., None]).all()
    colours = np.repeat(WIDE[..., None], 3, axis=-1)
    assert reason(png(2, colours, transparent=(0, 0, 0))) is Reason.UNSUPPORTED_MODE


def test_16_bit_alpha_is_laid_over_white():
    grey = np.zeros((4, 4, 2), np.uint16)
    grey[..., 1] = 0x8080
    assert (decode(png(4, grey), LIMITS) == 127).all()


@pytest.mark.parametrize("photometric", ["miniswhite", "minisblack"])
def test_one_bit_is_black_and_white(photometric):
    bits = RAMP > 100
    wanted = bits if photometric == "minisblack" else ~bits
    assert (decode(tiff(bits, photometric=photometric), LIMITS) == wanted[..., None] * 255).all()


def grey(data: bytes, bits: int = 8) -> np.ndarray:
    return decode(data, LIMITS, no_claim, PixelFormat(1, bits))


COLOURS = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))


@pytest.mark.parametrize(
    ("mode", "form"),
    [
        ("RGB", "PNG"),
        ("RGB", "JPEG"),
        ("L", "PNG"),
        ("L", "JPEG"),
        ("P", "GIF"),
        ("CMYK", "TIFF"),
        ("1", "PNG"),
        ("RGB", "WEBP"),
    ],
)
def test_grey_is_what_pillow_makes_of_an_image(mode, form):
    data = file(COLOURS.convert(mode), form)
    assert (grey(data)[..., 0] == np.asarray(Image.open(io.BytesIO(data)).convert("L"))).all()


def test_transparency_is_laid_over_white_in_grey_too():
    clear = np.dstack([np.asarray(COLOURS), np.full((16, 16), 0, np.uint8)])
    assert (grey(file(Image.fromarray(clear))) == 255).all()


def test_grey_is_turned_by_exif_as_colours_are():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = file(Image.fromarray(RAMP[:8]), "PNG", exif=exif)
    assert (grey(data)[..., 0] == decode(data, LIMITS)[..., 0]).all() and grey(data).shape == (16, 8, 1)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bits_are_kept_where_the_network_takes_them(form):
    wide = np.random.default_rng(0).integers(0, 65536, (9, 7), np.uint16)
    data = file(Image.fromarray(wide), form)
    assert (grey(data, 16)[..., 0] == wide).all() and grey(data, 16).dtype == np.uint16
    assert (decode(data, LIMITS, no_claim, PixelFormat(3, 16)) == wide[..., None]).all()
    assert (grey(data)[..., 0] == np.rint(wide / 257)).all()


def test_8_bits_are_scaled_to_16_and_16_bit_colours_refused():
    assert (grey(file(Image.fromarray(RAMP)), 16)[..., 0] == RAMP.astype(np.uint16) * 257).all()
    deep = png(2, np.random.default_rng(0).integers(0, 65536, (4, 4, 3)))
    with pytest.raises(Rejected, match="16-bit colours or alpha, of which the decoder keeps 8 bits"):
        decode(deep, LIMITS, no_claim, PixelFormat(3, 16))


def test_four_channels_are_the_bands_of_the_file():
    bands = np.random.default_rng(0).integers(0, 256, (6, 5, 4), np.uint8)
    for data in (file(Image.fromarray(bands)), file(Image.fromarray(bands), "TIFF"), tiff(bands, photometric="rgb")):
        assert (decode(data, LIMITS, no_claim, PixelFormat(4)) == bands).all()
    two = np.random.default_rng(0).integers(0, 256, (6, 5, 2), np.uint8)
    assert (decode(file(Image.fromarray(two, "LA")), LIMITS, no_claim, PixelFormat(2)) == two).all()


@pytest.mark.parametrize(
    ("mode", "form", "channels", "line"),
    [
        ("RGB", "PNG", 4, "mode RGB, 3 bands; the network takes 4 channels"),
        ("CMYK", "TIFF", 4, "mode CMYK, 4 bands; the network takes 4 channels"),
        ("L", "PNG", 2, "mode L, 1 band; the network takes 2 channels"),
        ("RGBA", "PNG", 7, "mode RGBA, 4 bands; the network takes 7 channels"),
    ],
)
def test_other_bands_than_the_network_takes_are_rejects(mode, form, channels, line):
    with pytest.raises(Rejected, match=line) as caught:
        decode(file(COLOURS.convert(mode), form), LIMITS, no_claim, PixelFormat(channels))
    assert caught.value.reason is Reason.UNSUPPORTED_MODE


@pytest.mark.parametrize(("colour_type", "bands", "channels"), [(4, 2, 2), (4, 2, 4), (6, 4, 4)])
def test_16_bit_bands_are_rejects(colour_type, bands, channels):
    """Pillow opens grey with alpha as RGBA, and keeps 8 bits of each band."""
    deep = png(colour_type, np.random.default_rng(0).integers(0, 65536, (4, 4, bands)))
    with pytest.raises(Rejected, match="16-bit colours or alpha, of which the decoder keeps 8 bits") as caught:
        decode(deep, LIMITS, no_claim, PixelFormat(channels))
    assert caught.value.reason is Reason.UNSUPPORTED_MODE


def test_lab_is_refused():
    assert reason(file(Image.new("LAB", (8, 8)), "TIFF")) is Reason.UNSUPPORTED_MODE


def test_cmyk_jpegs_are_not_negatives():
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    red, green, blue = decode(file(image, "JPEG", quality=95), LIMITS)[8, 8].astype(int)
    assert red > 245 and green < 10 and blue < 10


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


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_known_format_with_a_damaged_header_is_damaged(form):
    assert reason(file(Image.fromarray(RAMP), form)[:13] + bytes(40)) is Reason.DAMAGED


def test_the_limits_alone_say_how_large_an_image_may_be():
    """Pillow refuses 2 x 89 million pixels by itself; a larger limit of ours stands above that."""
    huge = bytearray(file(Image.fromarray(RAMP), "BMP"))
    huge[18:26] = struct.pack("<ii", 20_000, 20_000)
    assert reason(bytes(huge)) is Reason.TOO_MANY_PIXELS
    assert reason(bytes(huge), LimitsSpec(pixels=10**9)) is Reason.DAMAGED  # it holds 256 of them


def test_a_small_tiff_with_huge_tiles_costs_no_memory():
    data = bytearray(tiff(RAMP, tile=(16, 16)))
    for tag in (322, 323):
        place = data.index(struct.pack("<HHII", tag, 4, 1, 16))
        data[place + 8 : place + 12] = struct.pack("<I", 1 << 14)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert reason(bytes(data)) is Reason.TOO_MANY_PIXELS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def encoded(form: Format) -> bytes:
    """A small file of a format."""
    if form.name == "DICOM":
        return dicoms.grey(RAMP, centre=100, width=200)
    if form.name == "HEIF":
        buffer = io.BytesIO()
        pytest.importorskip("pillow_heif").from_pillow(Image.fromarray(RAMP)).save(buffer)
        return buffer.getvalue()
    return file(Image.fromarray(RAMP), form.name)


@given(st.sampled_from(FORMATS), st.booleans(), st.data())
@pytest.mark.filterwarnings("ignore::UserWarning")  # of pydicom, on odd values
def test_damaged_bytes_are_rejected_and_nothing_else(form, select, data):
    whole, wanted = bytearray(encoded(form)), PixelFormat(bands=(1, 1, 1) if select else ())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        assert decode(cut, LimitsSpec(pixels=1 << 20), no_claim, wanted).dtype == np.uint8
    except Rejected as rejected:
        assert rejected.detail


ALL = """
import sys
from pathlib import Path
from workers.corpus.decode import decode, prepare_decoder
from workers.corpus.pixels import PixelFormat
from workers.errors import Rejected
from workers.spec.parts import LimitsSpec
FORMS = [PixelFormat(), PixelFormat(bands=(3, 2, 1)), PixelFormat(4), PixelFormat(convert=True)]
FORMS += [PixelFormat(1, 16, span=(0.0, 9.0))]
prepare_decoder()
counts = [0, 0]
for path in sorted(Path(sys.argv[1]).iterdir()):
    for form in FORMS:
        try:
            decode(path.read_bytes(), LimitsSpec(), form=form); counts[0] += 1
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
    assert decoded + rejected == 5 * len(list((shared / "hostile").iterdir()))
    assert rejected > 2_500 and decoded > 1_000


def whole(data: bytes) -> np.ndarray:
    """The pixels by another road: turned by Pillow, and converted at once."""
    with Image.open(io.BytesIO(data)) as image:
        turned = ImageOps.exif_transpose(image)
        if turned.mode == "I;16":
            return np.repeat(np.rint(np.array(turned) / 257).astype(np.uint8)[..., None], 3, axis=-1)
        return np.array(images._to_mode(turned, Samples(), "RGB"))


def kinds() -> dict[str, Image.Image]:
    """One image of each mode that can be used, higher than it is wide."""
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 256, (37, 23, 3), dtype=np.uint8))
    alpha = Image.fromarray(rng.integers(0, 256, (37, 23), dtype=np.uint8))
    clear = colours.copy()
    clear.putalpha(alpha)
    return {
        "1": colours.convert("1"), "L": colours.convert("L"), "P": colours.convert("P"), "RGB": colours, "RGBA": clear,
        "LA": clear.convert("LA"), "I;16": Image.fromarray(rng.integers(0, 65536, (37, 23), dtype=np.uint16)),
    }  # fmt: skip


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", kinds())
def test_an_image_in_bands_has_the_pixels_of_the_whole_one(monkeypatch, mode, orientation):
    monkeypatch.setattr(pixels, "BAND_PIXELS", 100)
    exif = Image.Exif()
    exif[0x0112] = orientation
    transparent = {"transparency": 3} if mode in ("L", "P") else {}
    data = file(kinds()[mode], "PNG", exif=exif, **transparent)
    assert (decode(data, LIMITS) == whole(data)).all()
    assert decode(data, LIMITS).flags.c_contiguous
    if mode == "RGB":
        for form in ("JPEG", "WEBP", "TIFF"):
            assert (
                decode(file(kinds()[mode], form, exif=exif), LIMITS) == whole(file(kinds()[mode], form, exif=exif))
            ).all()
        cmyk = file(kinds()[mode].convert("CMYK"), "JPEG", exif=exif)
        assert (decode(cmyk, LIMITS) == whole(cmyk)).all()


PEAKS = """
import os, re, sys
from pathlib import Path
from tests.support import peaks
from workers.core.preprocess import Preprocessing
from workers.corpus.decode import decode
from workers.corpus.pixels import PixelFormat
from workers.spec.parts import Interpolation, LimitsSpec
status = lambda name: int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
least = Preprocessing(256, 224, *[(0.5,) * 3] * 2, Interpolation.BILINEAR).resized_size
def measure(image, small, kind, size):
    claimed, data = [], Path(image).read_bytes()
    form = PixelFormat(bands=(4, 3, 2) if kind == "bands" else (), least=least if size == "reduced" else None)
    decode(Path(small).read_bytes(), LimitsSpec(), form=form)
    before = status("VmRSS")
    pixels = decode(data, LimitsSpec(), lambda height, width, working: claimed.append(working), form)
    print(status("VmHWM") - before, claimed[0], flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        measure(*line[:-1].split("\\t"))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.fixture(scope="module")
def measuring() -> Iterator["subprocess.Popen[str]"]:
    """A process that forks a new one for each image: one that starts from nothing takes seconds."""
    command = [sys.executable, "-c", PEAKS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.stdin.close()


KINDS = ["1-bit", "16-bit", "netpbm", "bands", "dicom", "heic", *peaks.ENCODED]
REDUCED = [kind for kind, (form, *_) in peaks.ENCODED.items() if form == "JPEG"]


@pytest.mark.parametrize(
    ("kind", "size"), [*((kind, "full") for kind in KINDS), *((kind, "reduced") for kind in REDUCED)]
)
def test_decoding_takes_no_more_memory_than_its_header_announces(tmp_path, measuring, kind, size):
    (tmp_path / "image").write_bytes(peaks.photo(kind, 16))
    (tmp_path / "small").write_bytes(peaks.photo(kind, 0.01))
    print(tmp_path / "image", tmp_path / "small", kind, size, sep="\t", file=measuring.stdin, flush=True)
    taken, announced = map(int, measuring.stdout.readline().split())
    assert taken < announced + 24 * 2**20  # bands, and the decoder itself
