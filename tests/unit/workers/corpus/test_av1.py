"""The sizes that AVIF files are coded in: of files by libavif, and of sequence headers written bit by bit."""

import io
import re
import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from workers.corpus import av1
from workers.corpus.decode import decode
from workers.errors import Reason, Rejected
from workers.spec.parts import LimitsSpec

PICTURE = Image.new("RGB", (300, 200), "red")


def avif(image: Image.Image = PICTURE, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "AVIF", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("size", [(1, 1), (33, 11), (300, 200), (1025, 64)])
def test_the_size_of_a_file_is_in_its_bitstream(size):
    assert av1.sequence_sizes(avif(PICTURE.resize(size))) == [size]


def test_transparency_and_the_tracks_of_a_sequence_are_coded_too():
    clear = PICTURE.copy()
    clear.putalpha(100)
    assert av1.sequence_sizes(avif(clear)) == [(300, 200)] * 2
    moving = avif(save_all=True, append_images=[PICTURE.transpose(Image.Transpose.FLIP_LEFT_RIGHT)])
    assert moving[8:12] == b"avis" and set(av1.sequence_sizes(moving)) == {(300, 200)}


def test_a_header_that_says_less_than_is_coded_does_not_hide_it():
    """libavif would decode 300 x 200 pixels and scale them to 8 x 8."""
    data = bytearray(avif())
    for match in list(re.finditer(rb"ispe\0\0\0\0", bytes(data))):
        data[match.end() : match.end() + 8] = struct.pack(">II", 8, 8)
    claims: list[int] = []
    assert decode(bytes(data), LimitsSpec(), lambda *claim: claims.append(claim[2])).shape == (8, 8, 3)
    assert claims == [300 * 200 * 18]
    with pytest.raises(Rejected, match=r"coded as 300 x 200 pixels; the limit is 59999") as raised:
        decode(bytes(data), LimitsSpec(pixels=59_999))
    assert raised.value.reason is Reason.TOO_MANY_PIXELS


def header(*fields: tuple[int, int]) -> bytes:
    """A unit of the bitstream with a sequence header of these (number, bits)."""
    text = "".join(f"{number:0{bits}b}" for number, bits in fields if bits)
    body = int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")
    return bytes([0x0A, len(body)]) + body


SIZES = ((11, 4), (9, 4), (1919, 12), (799, 10))  # of 1,920 x 800, in 12 and 10 bits
REDUCED = ((0, 3), (1, 1), (1, 1), (8, 5))
PLAIN = ((0, 3), (0, 1), (0, 1), (0, 1), (0, 1))  # no timing, no display delay
TIMED = (
    (0, 3),
    (0, 1),
    (0, 1),
    (1, 1),
    (1, 32),
    (25, 32),
    (1, 1),
    (5, 5),
    (1, 1),
    (9, 5),
    (1, 32),
    (3, 5),
    (3, 5),
    (1, 1),
)
# Two operating points: one below and one above level 7; the second has the parameters of a decoder model, and a delay.
POINTS = (
    (1, 5),
    (0, 12),
    (7, 5),
    (0, 1),
    (0, 1),
    (0, 12),
    (8, 5),
    (1, 1),
    (1, 1),
    (1, 10),
    (2, 10),
    (0, 1),
    (1, 1),
    (6, 4),
)


@pytest.mark.parametrize(
    "fields",
    [(*REDUCED, *SIZES), (*PLAIN, (0, 5), (0, 12), (4, 5), *SIZES), (*TIMED, *POINTS, *SIZES)],
    ids=["reduced", "plain", "timed"],
)
def test_the_size_stands_behind_all_that_may_come_before_it(fields):
    assert list(av1._sizes_in(b"\x12\x00" + header(*fields) + b"\x32\x01\x00")) == [(1920, 800)]


def test_every_sequence_header_counts():
    assert list(av1._sizes_in(header(*REDUCED, *SIZES) * 3)) == [(1920, 800)] * 3


@pytest.mark.parametrize("data", [b"", b"\0\0\0\x10ftypavif", avif()[:200], avif().replace(b"av01", b"av02")])
def test_a_file_without_coded_images_is_damaged(data):
    with pytest.raises(Rejected) as raised:
        av1.sequence_sizes(data)
    assert raised.value.reason is Reason.DAMAGED


@pytest.mark.parametrize("units", [b"\x12\x00" * 20_000, b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x0a\x01\xff"])
def test_bitstreams_without_end_are_refused(units):
    with pytest.raises(Rejected) as raised:
        list(av1._sizes_in(units))
    assert raised.value.reason is Reason.DAMAGED


def test_items_that_repeat_the_bytes_of_a_file_are_refused():
    data = bytearray(avif())
    at = data.index(b"iloc") + 8
    assert data[at : at + 4] == b"\x44\0\0\x01"  # offsets and lengths of four bytes, one item
    extents = at + 8
    count = 10
    table = struct.pack(">H", count) + struct.pack(">II", 0, len(data)) * count
    with pytest.raises(Rejected, match="bytes in an iloc extent"):
        list(av1._locations(b"\0\0\0\0" + bytes(data[at : at + 4]) + b"\0\1\0\0" + table + bytes(data), (0, 1000), 0))
    assert struct.unpack_from(">H", data, extents) == (1,)


@given(st.data())
def test_damaged_boxes_are_rejects(data):
    whole = bytearray(avif())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    with suppress(Rejected, IndexError):  # the decoder turns any error into a reject
        assert all(width * height for width, height in av1.sequence_sizes(bytes(whole)))
