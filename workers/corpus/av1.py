"""Sizes that AVIF files are coded in. Takes a file's bytes, gives the frame sizes that its AV1 sequence headers allow.

The box `ispe` says how large an image is, but the decoder allocates frames of the size in the sequence header, and scales them
afterwards. ISO/IEC 14496-12 and 23008-12 describe the boxes, the AV1 bitstream specification (5.5) the header.
"""

from collections.abc import Iterator

from workers.errors import Reason, Rejected

Span = tuple[int, int]  # bytes [start, stop) of a file
Size = tuple[int, int]  # width and height

_SEQUENCE_HEADER = 1  # a type of units of the bitstream
# Far more than in any image; a damaged file could keep a loop in Python busy for minutes.
_MOST_BOXES = _MOST_ITEMS = _MOST_UNITS = 10_000
_MOST_COPIES = 4  # of the bytes of a file, among the data of its items
_HEADER_BYTES = 512  # more than a sequence header has
_IN_FILE, _IN_META = 0, 1  # where the data of an item is
_TABLES = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def sequence_sizes(data: bytes) -> list[Size]:
    """The largest frames that the coded images of a file may have.

    Raises:
        Rejected: the file has no coded images where its boxes say.
    """
    sizes = [size for part in (*_items(data), *_first_samples(data)) for size in _sizes_in(part)]
    if not sizes:
        raise Rejected(Reason.DAMAGED, "the file has no AV1 sequence header")
    return sizes


def _boxes(data: bytes, start: int, stop: int) -> Iterator[tuple[bytes, Span]]:
    """The boxes in a span: their names, and the spans of their contents."""
    for _ in range(_MOST_BOXES):
        if start + 8 > stop:
            return
        size, name, head = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        end = stop if size == 0 else start + size
        if (size and size < head) or end > stop:
            return
        yield name, (start + head, end)
        start = end


def _children(data: bytes, names: tuple[bytes, ...], span: Span) -> Iterator[Span]:
    """The spans of all boxes at a path of names."""
    first, *rest = names
    for name, inner in _boxes(data, *span):
        if name == first:
            yield from _children(data, tuple(rest), inner) if rest else (inner,)


def _items(data: bytes) -> Iterator[bytes]:
    """The coded data of all AV1 images among a file's items."""
    for start, stop in _children(data, (b"meta",), (0, len(data))):
        inner = dict(_boxes(data, start + 4, stop))
        if b"iinf" in inner and b"iloc" in inner:
            coded = set(_coded_items(data, *inner[b"iinf"]))
            for number, spans in _locations(data, inner[b"iloc"], inner.get(b"idat", (0, 0))[0]):
                if number in coded:
                    yield b"".join(data[slice(*span)] for span in spans)


def _limit(count: int, most: int, what: str) -> int:
    """A number of things, if there are not too many."""
    if count > most:
        raise Rejected(Reason.DAMAGED, f"an AVIF file with {count} {what}")
    return count


def _coded_items(data: bytes, start: int, stop: int) -> Iterator[int]:
    """The numbers of the items of type av01."""
    start += 4 + (2 if data[start] == 0 else 4)
    for name, (inner, _) in _boxes(data, start, stop):
        wide = 2 if data[inner] == 3 else 0
        if name == b"infe" and data[inner + 8 + wide : inner + 12 + wide] == b"av01":
            yield int.from_bytes(data[inner + 4 : inner + 6 + wide], "big")


def _locations(data: bytes, span: Span, idat: int) -> Iterator[tuple[int, list[Span]]]:
    """The numbers of items, and where their data is."""
    reader = _Bytes(data, *span)
    version, _ = reader.number(1), reader.number(3)
    sizes = reader.number(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    wide, left = 4 if version == 2 else 2, _MOST_COPIES * len(data)
    for _ in range(_limit(reader.number(wide), _MOST_ITEMS, "items in its iloc box")):
        number = reader.number(wide)
        method = reader.number(2) & 15 if version else _IN_FILE
        _, base = reader.number(2), reader.number(base_size)
        spans = []
        for _ in range(reader.number(2)):
            _ = reader.number(index_size) if version else 0
            start = base + reader.number(offset_size) + (idat if method == _IN_META else 0)
            stop = min(len(data), start + (reader.number(length_size) or len(data)))
            left -= _limit(max(0, stop - start), left, "bytes in an iloc extent, beyond the limit for all extents")
            spans.append((start, stop))
        if method not in (_IN_FILE, _IN_META):
            raise Rejected(Reason.UNSUPPORTED_MODE, "an AVIF item whose data is in other items")
        yield number, spans


def _first_samples(data: bytes) -> Iterator[bytes]:
    """The coded data of the first image of each track."""
    for table in _children(data, _TABLES, (0, len(data))):
        inner = dict(_boxes(data, *table))
        places, wide = (b"co64", 8) if b"co64" in inner else (b"stco", 4)
        if places in inner and b"stsz" in inner:
            sizes, chunks = _Bytes(data, *inner[b"stsz"]), _Bytes(data, *inner[places])
            _, common, count = sizes.number(4), sizes.number(4), sizes.number(4)
            if count and chunks.number(8) & 0xFFFFFFFF:
                start = chunks.number(wide)
                yield data[start : start + (common or sizes.number(4))]


def _sizes_in(coded: bytes) -> Iterator[Size]:
    """The sizes in all sequence headers of a bitstream."""
    place, units = 0, 0
    while place < len(coded):
        units = _limit(units + 1, _MOST_UNITS, "units in its AV1 bitstream")
        head = coded[place]
        place += 1 + (head >> 2 & 1)
        size, place = _leb128(coded, place) if head & 2 else (len(coded) - place, place)
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            yield _size_of(_Bits(coded[place : place + min(size, _HEADER_BYTES)]))
        place += size


def _leb128(data: bytes, place: int) -> tuple[int, int]:
    """A number in groups of seven bits, and the place behind it."""
    number = 0
    for count in range(8):
        byte = data[place + count]
        number |= (byte & 0x7F) << 7 * count
        if not byte & 0x80:
            return number, place + count + 1
    raise Rejected(Reason.DAMAGED, "an unterminated size field in the AV1 bitstream")


def _size_of(bits: "_Bits") -> Size:
    """Width and height in a sequence header (AV1 specification, 5.5.1)."""
    bits.skip(4)  # profile, still_picture
    if bits.number(1):  # reduced_still_picture_header
        bits.skip(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.number(4) + 1, bits.number(4) + 1
    return bits.number(width_bits) + 1, bits.number(height_bits) + 1


def _skip_operating_points(bits: "_Bits") -> None:
    """Skip timing and operating points (5.5.1, 5.5.3 to 5.5.5)."""
    delay_bits = None
    if bits.number(1):  # timing_info_present_flag
        bits.skip(64)
        if bits.number(1):  # equal_picture_interval
            bits.skip_variable()
        if bits.number(1):  # decoder_model_info_present_flag
            delay_bits = bits.number(5) + 1
            bits.skip(42)
    has_display_delay = bits.number(1)
    for _ in range(bits.number(5) + 1):
        bits.skip(12)
        if bits.number(5) > 7:  # seq_level_idx
            bits.skip(1)
        if delay_bits is not None and bits.number(1):
            bits.skip(2 * delay_bits + 1)
        if has_display_delay and bits.number(1):
            bits.skip(4)


class _Bytes:
    """Reads big-endian numbers of whole bytes."""

    def __init__(self, data: bytes, start: int, stop: int) -> None:
        self._data, self._place, self._stop = data, start, stop

    def number(self, size: int) -> int:
        """The next number of so many bytes; 0 for none."""
        self._place += size
        if self._place > self._stop:
            raise Rejected(Reason.DAMAGED, "a box is truncated")
        return int.from_bytes(self._data[self._place - size : self._place], "big")


class _Bits:
    """Reads numbers of bits, the highest first."""

    def __init__(self, data: bytes) -> None:
        self._bits, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def number(self, size: int) -> int:
        """The next number of so many bits."""
        self.skip(size)
        return self._bits >> self._left & (1 << size) - 1

    def skip(self, size: int) -> None:
        """Skip so many bits."""
        self._left -= size
        if self._left < 0:
            raise Rejected(Reason.DAMAGED, "an AV1 sequence header is truncated")

    def skip_variable(self) -> None:
        """Skip a number that starts with as many zeros as it has further bits (4.10.3)."""
        zeros = 0
        while not self.number(1):
            zeros += 1
        self.skip(zeros)
