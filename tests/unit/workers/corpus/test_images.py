"""Golden pixels of each format: literal bytes, or pixels that an encoder was given."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from workers import formats
from workers.corpus.decode import decode, decoder_of, require_fitting_name
from workers.corpus.pixels import PixelFormat, no_claim
from workers.errors import Reason, Rejected
from workers.spec.parts import LimitsSpec

LIMITS = LimitsSpec()
SHADES = np.add.outer(np.arange(32) * 3, np.arange(48) * 2).astype(np.uint8)  # smooth, so that lossy formats keep it
COLOURS = np.stack([SHADES, SHADES[::-1], SHADES[:, ::-1]], axis=-1)


def file(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def heic(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pytest.importorskip("pillow_heif").from_pillow(image).save(buffer, quality=-1, chroma=444, **options)
    return buffer.getvalue()


def shown(data: bytes, **form: Any) -> np.ndarray:
    return decode(data, LIMITS, no_claim, PixelFormat(**form))


def grey(data: bytes, **form: Any) -> list:
    return shown(data, channels=1, **form)[..., 0].tolist()


def refusal(data: bytes, limits: LimitsSpec = LIMITS, **form: Any) -> Rejected:
    with pytest.raises(Rejected) as caught:
        decode(data, limits, no_claim, PixelFormat(**form))
    return caught.value


@pytest.mark.parametrize(
    ("data", "pixels"),
    [
        (b"P1\n# bits\n3 1\n1 0 1\n", [[0, 255, 0]]),
        (b"P4\n3 2\n\xa0\x40", [[0, 255, 0], [255, 0, 255]]),
        (b"P2\n2 2\n255\n0 7\n200 255\n", [[0, 7], [200, 255]]),
        (b"P5 2 1 255\n\x05\xfa", [[5, 250]]),
        (b"P5 3 1 100\n\x00\x32\x64", [[0, 128, 255]]),
        (b"P5 3 1 4095\n\x00\x00\x08\x00\x0f\xff", [[0, 128, 255]]),
        (b"P2 3 1 4095\n0 2048 4095\n", [[0, 128, 255]]),
        (b"P5 3 1 65535\n\x00\x00\x80\x80\xff\xff", [[0, 128, 255]]),
    ],
)
def test_netpbm_grey_is_scaled_by_the_white_in_its_header(data, pixels):
    assert grey(data) == pixels


@pytest.mark.parametrize(
    ("data", "pixels"),
    [
        (b"P6 2 1 255\n\x01\x02\x03\xfd\xfe\xff", [[[1, 2, 3], [253, 254, 255]]]),
        (b"P3 1 1 255\n10 20 30\n", [[[10, 20, 30]]]),
        (b"P6 1 1 1023\n\x00\x00\x02\x00\x03\xff", [[[0, 128, 255]]]),
        (b"P6 1 1 65535\n\x00\x00\x80\x80\xff\xff", [[[0, 128, 255]]]),
    ],
)
def test_netpbm_colours(data, pixels):
    assert shown(data).tolist() == pixels


def test_a_network_of_16_bits_keeps_those_of_netpbm_grey_and_refuses_colours():
    assert grey(b"P5 3 1 4095\n\x00\x00\x08\x00\x0f\xff", bits=16) == [[0, 32776, 65535]]
    assert grey(b"P5 2 1 65535\n\x12\x34\xff\xff", bits=16) == [[0x1234, 65535]]
    assert grey(b"P5 2 1 255\n\x05\xfa", bits=16) == [[5 * 257, 250 * 257]]
    assert refusal(b"P6 1 1 65535\n" + bytes(6), bits=16).reason is Reason.UNSUPPORTED_MODE


def test_avif_has_the_colours_that_were_encoded():
    data = file(Image.fromarray(COLOURS), "AVIF", quality=95, subsampling="4:4:4")
    assert np.abs(shown(data).astype(int) - COLOURS).max() <= 4
    assert (
        np.abs(shown(file(Image.fromarray(SHADES), "AVIF", quality=95), channels=1)[..., 0] - SHADES.astype(int)).max()
        <= 3
    )


def test_transparent_avif_is_laid_over_white():
    clear = Image.fromarray(np.dstack([COLOURS, np.zeros((32, 48), np.uint8)]))
    assert (shown(file(clear, "AVIF", quality=90)) == 255).all()


@pytest.mark.parametrize("turn", [{}, {"orientation": 6}])
def test_heic_has_the_colours_that_were_encoded(turn):
    exif = Image.Exif()
    exif[0x0112] = turn.get("orientation", 1)
    pixels = shown(heic(Image.fromarray(COLOURS), exif=exif.tobytes()))
    wanted = np.rot90(COLOURS, -1) if turn else COLOURS
    assert pixels.shape == wanted.shape and np.abs(pixels.astype(int) - wanted).max() <= 2


def test_grey_heic_is_exact():
    assert (shown(heic(Image.fromarray(SHADES)), channels=1)[..., 0] == SHADES).all()


@pytest.mark.parametrize("form", [{}, {"no_jp2": True}, {"tile_size": (16, 16)}])
def test_jpeg_2000_has_the_colours_that_were_encoded(form):
    assert (shown(file(Image.fromarray(COLOURS), "JPEG2000", **form)) == COLOURS).all()
    assert (shown(file(Image.fromarray(SHADES), "JPEG2000", **form), channels=1)[..., 0] == SHADES).all()


def test_jpeg_2000_of_16_bits_is_scaled_or_kept():
    wide = np.random.default_rng(0).integers(0, 65536, (9, 7), np.uint16)
    data = file(Image.fromarray(wide), "JPEG2000")
    assert (shown(data, channels=1, bits=16)[..., 0] == wide).all()
    assert (shown(data, channels=1)[..., 0] == np.rint(wide / 257)).all()


def twelve_bits(values: np.ndarray) -> bytes:
    """A JPEG 2000 codestream of 12 bits.

    Before the wavelets, half of the range is subtracted. So with another number of bits in its header, a codestream of 16 bits
    gives values that differ by 32,768 - 2,048.
    """
    data = bytearray(file(Image.fromarray((values + 32768 - 2048).astype(np.uint16)), "JPEG2000", no_jp2=True))
    assert data[42] == 15
    data[42] = 11
    return bytes(data)


def test_jpeg_2000_of_12_bits_is_scaled_by_its_own_white():
    values = np.array([[0, 1, 16, 2048], [4000, 4080, 4094, 4095]])
    assert grey(twelve_bits(values), bits=16) == np.rint(values / 4095 * 65535).astype(int).tolist()
    assert grey(twelve_bits(values), white=255) == np.rint(values / 4095 * 255).astype(int).tolist()
    assert grey(twelve_bits(values), span=(0, 16)) == [[0, 16, 255, 255], [255] * 4]


def test_of_the_pictures_of_an_mpo_the_first_counts():
    first, second = Image.fromarray(COLOURS), Image.new("RGB", (48, 32), "red")
    data = file(first, "MPO", save_all=True, append_images=[second], quality=95)
    assert np.abs(shown(data).astype(int) - COLOURS).max() <= 8


def enlarged(form: str) -> bytes:
    """A file whose header announces 10,000 x 10,000 pixels, and which holds far fewer."""
    if form == "PPM":
        return b"P5 10000 10000 255\n"
    data = bytearray(heic(Image.fromarray(SHADES)) if form == "HEIF" else file(Image.fromarray(SHADES), form))
    at = data.index(b"ihdr") + 4 if form == "JPEG2000" else data.index(b"ispe") + 8
    data[at : at + 8] = struct.pack(">II", 10_000, 10_000)
    return bytes(data)


@pytest.mark.parametrize("form", ["JPEG2000", "PPM", "HEIF", "AVIF"])
def test_sizes_are_read_from_the_header(form):
    assert refusal(enlarged(form)).reason is Reason.TOO_MANY_PIXELS


def test_a_codestream_larger_than_its_header_says_is_not_decoded():
    data = bytearray(file(Image.fromarray(SHADES), "JPEG2000"))
    at = data.index(b"\xff\x4f\xff\x51") + 8
    data[at : at + 8] = struct.pack(">II", 20_000, 20_000)
    raised = refusal(bytes(data))
    assert (raised.reason, raised.detail) == (
        Reason.DAMAGED,
        "the header says 48 x 32, the codestream 20000 x 20000 pixels",
    )


def test_an_image_whose_decoder_would_take_too_much_memory_is_refused():
    data = file(Image.fromarray(COLOURS), "JPEG2000")  # 26 bytes of memory per pixel
    assert refusal(data, LimitsSpec(pixels=32 * 48)).reason is Reason.TOO_MANY_PIXELS
    assert (decode(data, LimitsSpec(pixels=2 * 32 * 48)) == COLOURS).all()


@pytest.mark.parametrize("form", ["AVIF", "JPEG2000", "PPM", "MPO"])
def test_cut_files_are_damaged(form):
    whole = file(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)), form)
    assert refusal(whole[: len(whole) // 2]).reason is Reason.DAMAGED
    whole = heic(Image.fromarray(COLOURS))
    assert refusal(whole[: len(whole) // 2]).reason is Reason.DAMAGED


def test_a_file_whose_package_is_missing_says_which_extra_installs_it(monkeypatch):
    data = heic(Image.fromarray(COLOURS))
    monkeypatch.setattr(formats, "version_of", lambda _: "")
    raised = refusal(data)
    assert raised.reason is Reason.MISSING_EXTRA
    assert raised.detail == "HEIC needs pillow-heif: pip install 'deconvoy[heic]'"


def test_each_image_names_the_software_that_decoded_it():
    assert decoder_of(file(Image.fromarray(COLOURS), "AVIF")).startswith("pillow 1")
    assert decoder_of(heic(Image.fromarray(COLOURS))).startswith("pillow-heif ")


def test_a_name_that_hides_the_need_of_a_package_is_refused():
    data = heic(Image.fromarray(COLOURS))
    for names in (("a.heic",), ("a.HIF",), ("noname", "/x/noname")):
        require_fitting_name(data, *names)
    require_fitting_name(file(Image.fromarray(COLOURS), "PNG"), "a.heic")
    for name in ("a.jpg", "a.dcm"):
        with pytest.raises(Rejected, match=r"a HEIC file with the extension of .*; rename it to \*.heic") as raised:
            require_fitting_name(data, name)
        assert raised.value.reason is Reason.BAD_NAME
