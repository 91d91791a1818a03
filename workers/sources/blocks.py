"""Files in blocks. Takes a file, gives any range of its bytes; keeps the latest blocks, and decompresses gzip."""

import gzip
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO

from cachetools import LRUCache

from workers import files

BLOCK_BYTES = 4 << 20
BLOCKS = 8  # of a file that are kept, so that threads may read a little out of order
COMPRESSED = (".gz", ".tgz")


def is_compressed(file: str) -> bool:
    """Whether a file is compressed by gzip, by its name."""
    return file.endswith(COMPRESSED)


def open_blocks(file: str) -> "Blocks":
    """The blocks of a file, decompressed."""
    filesystem, path = files.filesystem(file)
    if is_compressed(file):
        return Blocks(_Decompressed(lambda: filesystem.open(path, "rb")), forward=True)
    return Blocks(lambda start, stop: bytes(filesystem.cat_file(path, start=start, end=stop)), forward=False)


@dataclass(eq=False)
class Blocks:
    """A file in blocks, of which the latest are kept. One thread at a time fetches.

    Attributes:
        fetch: gives the bytes [start, stop) of the file; fewer at its end.
        forward: whether blocks are fetched in order, without gaps.
    """

    fetch: Callable[[int, int], bytes]
    forward: bool
    _next: int = 0
    _kept: LRUCache[int, bytes] = field(default_factory=lambda: LRUCache(BLOCKS))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def range(self, offset: int, length: int) -> bytes:
        """The bytes [offset, offset + length); fewer at the end of the file."""
        first, last = offset // BLOCK_BYTES, (offset + max(length, 1) - 1) // BLOCK_BYTES
        whole = b"".join(self._block(number) for number in range(first, last + 1))
        start = offset - first * BLOCK_BYTES
        return whole[start : start + length]

    def _block(self, number: int) -> bytes:
        with self._lock:
            first = self._next if self.forward and self._next < number else number
            for missing in range(first, number + 1):
                if missing not in self._kept:
                    self._kept[missing] = self.fetch(missing * BLOCK_BYTES, (missing + 1) * BLOCK_BYTES)
                    self._next = missing + 1
            return self._kept[number]


class _Decompressed:
    """A compressed file, read forward. Reading before the current place starts again at the beginning."""

    def __init__(self, open_file: Callable[[], IO[bytes]]) -> None:
        self._open = open_file
        self._stream: gzip.GzipFile | None = None

    def __call__(self, start: int, stop: int) -> bytes:
        """The decompressed bytes [start, stop)."""
        if self._stream is None:
            self._stream = gzip.GzipFile(fileobj=self._open())
        self._stream.seek(start)
        return self._stream.read(stop - start)
