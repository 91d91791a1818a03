"""Bands of TIFF files. Takes a file with any number of bands, gives the chosen ones as upright pixels.

Pillow opens only a few combinations of bands. But libtiff, which Pillow calls, decompresses the rows of any of them: here they
are opened as rows of plain bytes, under a directory of our own. If a file stores its bands apart, each band that is wanted is
opened by itself. Otherwise a row holds all bands of all its pixels.
"""

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from workers.corpus.pixels import Claim, PixelFormat, Pixels, assemble
from workers.corpus.samples import Samples, scale
from workers.errors import Reason, Rejected
from workers.spec.parts import LimitsSpec

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIPS, ORIENTATION, SAMPLES, STRIP_ROWS, STRIP_SIZES, PLANAR, PREDICTOR = 273, 274, 277, 278, 279, 284, 317
TILE_WIDTH, TILE_HEIGHT, TILES, TILE_SIZES, SAMPLE_FORMAT = 322, 323, 324, 325, 339
PLACES = (STRIPS, STRIP_SIZES, TILES, TILE_SIZES)  # tags with a value for each strip or tile
COPIED = (HEIGHT, COMPRESSION, FILL_ORDER, STRIP_ROWS, TILE_HEIGHT)
LONG = 4  # a type of the values of tags
PLAIN = (1, 5, 8, 32773, 32946, 50000)  # compressions that restore every byte: none, LZW, Deflate, PackBits, Zstandard
BLACK_IS_ZERO, COLOURS, SEPARATED = 1, 2, 5  # photometric interpretations
APART, NO_DIFFERENCES, DIFFERENCES = 2, 1, 2  # planar configuration; predictors
MOST_BANDS, MOST_BITS = 65_535, 64
KINDS = {1: "u", 2: "i", 3: "f"}  # sample formats, as numpy calls them
TYPES = ("u1", "u2", "u4", "i2", "i4", "f4", "f8")
KEPT_BY_PILLOW = {(4, COLOURS), (2, BLACK_IS_ZERO)}  # channels and interpretation of 8-bit files that Pillow opens


@dataclass(frozen=True)
class Layout:
    """How a TIFF stores its samples.

    Attributes:
        width: columns.
        height: rows.
        bands: number of samples of a pixel.
        bits: bits of each sample.
        tags: all tags of the first directory.
    """

    width: int
    height: int
    bands: int
    bits: tuple[int, ...]
    tags: Any

    @property
    def dtype(self) -> str:
        """The type of the samples, as numpy calls it; empty if they have several types, or no whole bytes."""
        kinds = set(self.tags.get(SAMPLE_FORMAT, (1,)))
        is_uniform = len(kinds) == 1 and len(set(self.bits)) == 1 and self.bits[0] % 8 == 0
        return f"{KINDS.get(min(kinds), '')}{self.bits[0] // 8}" if is_uniform else ""

    @property
    def is_apart(self) -> bool:
        """Whether each band is stored by itself."""
        return bool(self.tags.get(PLANAR, 1) == APART)

    @property
    def is_readable(self) -> bool:
        """Whether its bands can be read here."""
        return (
            self.is_plausible
            and self.dtype in TYPES
            and self.tags.get(PHOTOMETRIC) in (BLACK_IS_ZERO, COLOURS, SEPARATED)
            and self.tags.get(COMPRESSION, 1) in PLAIN
            and self.tags.get(PREDICTOR, NO_DIFFERENCES) in (NO_DIFFERENCES, DIFFERENCES)
            and len(self.bits) in (1, self.bands)
        )

    @property
    def is_plausible(self) -> bool:
        """Whether its numbers could be those of an image; in a damaged header they are anything."""
        return self.bands <= MOST_BANDS and all(1 <= bits <= MOST_BITS for bits in self.bits)

    def suits(self, form: PixelFormat) -> bool:
        """Whether its bands are to be read here: a spec selects some, or Pillow would not open them or keep their bits."""
        meaning = self.tags.get(PHOTOMETRIC)
        if form.bands or not self.is_readable:
            return self.is_readable
        if form.channels in (1, 3):
            return (form.channels, self.bands, meaning, self.dtype) == (3, 3, COLOURS, "u2") and form.has_depth
        return meaning != SEPARATED and not (self.dtype == "u1" and (form.channels, meaning) in KEPT_BY_PILLOW)

    def __str__(self) -> str:
        """A phrase for messages."""
        bits = "/".join(map(str, sorted(set(self.bits))))
        return f"{self.bands} band{'s' if self.bands > 1 else ''} of {bits} bits (type {self.dtype or 'unknown'})"


def read_layout(data: bytes) -> Layout | None:
    """The layout of a TIFF; None if its first directory gives no size.

    Raises:
        Exception: the directory is damaged.
    """
    tags: Any = ImageFileDirectory_v2(data[:16] if data[2] == ord("+") else data[:8])
    file = io.BytesIO(data)
    file.seek(tags.next)
    tags.load(file)
    width, height, bands = tags.get(WIDTH), tags.get(HEIGHT), tags.get(SAMPLES, 1)
    if not all(isinstance(number, int) and number > 0 for number in (width, height, bands)):
        return None
    return Layout(width, height, bands, tuple(tags.get(BITS, (1,))), tags)


def decode_bands(data: bytes, layout: Layout, limits: LimitsSpec, claim: Claim, form: PixelFormat) -> Pixels:
    """The bands that a spec selects, or all if a network takes as many.

    Raises:
        Rejected: the file has other bands, is too large, or its values have no known black and white.
        Exception: the file is damaged.
    """
    wanted = form.bands or tuple(range(1, layout.bands + 1))
    _require_bands(layout, wanted, form)
    _require_size(layout, limits)
    opened = sorted(set(wanted)) if layout.is_apart else [0]
    claim(layout.height, layout.width, len(data) + _working_bytes(layout, len(opened), form))
    planes = [_open_rows(data, layout, band) for band in opened]
    places = [opened.index(band) if layout.is_apart else band - 1 for band in wanted]

    def convert(top: int, bottom: int) -> Pixels:
        rows = [_read_rows(plane, layout, top, bottom, data[:2] == b"MM") for plane in planes]
        return _to_pixels(np.concatenate(rows, axis=-1)[..., places], form)

    return assemble(layout.height, layout.width, convert, form, layout.tags.get(ORIENTATION, 1))


def _require_bands(layout: Layout, wanted: tuple[int, ...], form: PixelFormat) -> None:
    if len(wanted) != form.channels:
        detail = f"{layout}; the network takes {form.channels} channels: select {form.channels} bands with --bands"
        raise Rejected(Reason.UNSUPPORTED_MODE, detail)
    if max(wanted) > layout.bands:
        raise Rejected(Reason.UNSUPPORTED_MODE, f"band {max(wanted)} was requested; the image has {layout.bands}")
    if layout.dtype not in ("u1", "u2") and form.span is None:
        detail = f"{layout}: the values of black and white are unknown; give them, for example with --depth range:0-1"
        raise Rejected(Reason.UNSUPPORTED_MODE, detail)


def _require_size(layout: Layout, limits: LimitsSpec) -> None:
    """Refuse images over the limit. Samples of all bands count too: four bytes as much as a pixel."""
    tile = layout.tags.get(TILE_WIDTH, 0), layout.tags.get(TILE_HEIGHT, 0)
    pixel = layout.bands * layout.bits[0] // 8
    for prefix, (width, height) in (("", (layout.width, layout.height)), ("tiles of ", tile)):
        if width * height * max(1.0, pixel / 4) > limits.pixels:
            detail = (
                f"{prefix}{width} x {height} pixels at {pixel} bytes each; the limit is {limits.pixels} pixels at 4 bytes "
                "each"
            )
            raise Rejected(Reason.TOO_MANY_PIXELS, detail)


def _working_bytes(layout: Layout, planes: int, form: PixelFormat) -> int:
    """The peak memory beside a copy of the file: the rows, a strip that may hold as many, and the result."""
    sample = layout.bits[0] // 8
    held = (planes + 1) * sample if layout.is_apart else 2 * layout.bands * sample
    return layout.height * layout.width * (held + form.pixel_bytes)


def _open_rows(data: bytes, layout: Layout, band: int) -> Image.Image:
    """The decompressed rows as an image of bytes; those of one band, from 1, if bands are stored apart."""
    row_bytes = layout.bits[0] // 8 * (1 if layout.is_apart else layout.bands)
    tags: dict[int, tuple[int, ...]] = {tag: (layout.tags[tag],) for tag in COPIED if tag in layout.tags}
    tags |= {WIDTH: (layout.width * row_bytes,), BITS: (8,), PHOTOMETRIC: (BLACK_IS_ZERO,), SAMPLES: (1,)}
    if TILE_WIDTH in layout.tags:
        tags[TILE_WIDTH] = (layout.tags[TILE_WIDTH] * row_bytes,)
    for tag in PLACES:
        if tag in layout.tags:
            tags[tag] = _places_of(layout.tags[tag], layout, band)
    with Image.open(io.BytesIO(_with_directory(data, tags)), formats=("TIFF",)) as image:
        image.load()
        return image


def _places_of(values: tuple[int, ...], layout: Layout, band: int) -> tuple[int, ...]:
    """The values of the strips or tiles of one band, if bands are stored apart; else all."""
    if not layout.is_apart:
        return tuple(values)
    count = len(values) // layout.bands
    return tuple(values[(band - 1) * count : band * count])


def _with_directory(data: bytes, tags: Mapping[int, tuple[int, ...]]) -> bytes:
    """A TIFF with these tags, all of type LONG, in front of the bytes of another one."""
    order = "<" if data[:2] == b"II" else ">"
    start = 8 + 2 + 12 * len(tags) + 4
    shift = start + sum(4 * len(values) for values in tags.values() if len(values) > 1)
    entries, arrays = b"", b""
    for tag, values in sorted(tags.items()):
        moved = [value + shift if tag in (STRIPS, TILES) else value for value in values]
        packed = struct.pack(f"{order}{len(moved)}I", *moved)
        if len(moved) == 1:
            entries += struct.pack(f"{order}HHI", tag, LONG, 1) + packed
        else:
            entries += struct.pack(f"{order}HHII", tag, LONG, len(moved), start + len(arrays))
            arrays += packed
    head = data[:2] + struct.pack(f"{order}HIH", 42, 8, len(tags))
    return b"".join((head, entries, b"\0\0\0\0", arrays, data))


def _read_rows(plane: Image.Image, layout: Layout, top: int, bottom: int, is_big_endian: bool) -> Pixels:
    """Samples of rows [top, bottom), (rows, columns, bands), in the byte order of this machine."""
    stored = np.asarray(plane.crop((0, top, plane.width, bottom)))
    order = ">" if is_big_endian else "<"
    samples = stored.view(f"{order}{layout.dtype}").reshape(bottom - top, layout.width, -1)
    values: Pixels = samples.astype(f"={layout.dtype}")
    if layout.tags.get(PREDICTOR, NO_DIFFERENCES) == DIFFERENCES:
        step = layout.tags.get(TILE_WIDTH, layout.width)
        for left in range(0, layout.width, step):
            part = values[:, left : left + step]
            np.cumsum(part, axis=1, dtype=values.dtype, out=part)
    return values


def _to_pixels(values: Pixels, form: PixelFormat) -> Pixels:
    """Samples as values of pixels."""
    if values.dtype == np.uint8:
        return values if form.bits == 8 else values.astype(np.uint16) * 257
    return scale(values, Samples(deep=True), form).astype(form.dtype)
