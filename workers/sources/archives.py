"""Members of tar archives. Takes the uri of a member, gives its bytes; reads only the parts of the archive that hold them."""

import gzip
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

from cachetools import LRUCache, TTLCache

from workers import files
from workers.errors import Reason, StaleFile
from workers.files import is_local
from workers.sources import archive_uris, versions

BLOCK_BYTES = 4 << 20
BLOCKS = 8  # of an archive that are kept, so that threads may read a little out of order
ARCHIVES = 2  # of which blocks are kept
VERSION_S = 10.0  # how long the version of an archive in a bucket counts as known
COMPRESSED = (".gz", ".tgz")


def is_compressed(archive: str) -> bool:
    """Whether an archive is compressed by gzip, by its name."""
    return archive.endswith(COMPRESSED)


def version_of(filesystem: Any, path: str) -> str:  # noqa: ANN401 - fsspec has no types
    """The etag of an archive.

    Raises:
        OSError: the archive does not exist or cannot be read.
    """
    if is_local(filesystem):
        return versions.of_status(os.stat(path))
    filesystem.invalidate_cache(path)
    return versions.of_info(filesystem.info(path))


class ArchiveMembers:
    """Reads members of tar archives by ranges of bytes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: TTLCache[str, str] = TTLCache(256, VERSION_S)
        self._readers: LRUCache[tuple[str, str], _Blocks] = LRUCache(ARCHIVES)

    def reads(self, uri: str) -> bool:
        """Whether a uri is that of a member."""
        return archive_uris.is_member(uri)

    def read(self, uri: str, expected_bytes: int, etag: str) -> bytes:
        """The bytes of a member; see `Access`."""
        _, archive, offset = archive_uris.parse(uri)
        current = self._version(archive)
        if etag and current != etag:
            raise _changed_error(uri)
        data = self._blocks(archive, current).read(offset, expected_bytes)
        if len(data) != expected_bytes or (etag and self._version(archive) != etag):
            raise _changed_error(uri)
        return data

    def staleness(self, uri: str, expected_bytes: int, etag: str) -> Reason | None:
        """Whether a member's archive has vanished or changed; see `Access`."""
        del expected_bytes  # the version of the archive covers its members
        try:
            changed = etag and self._version(archive_uris.parse(uri).archive) != etag
        except (FileNotFoundError, NotADirectoryError):
            return Reason.VANISHED
        return Reason.CHANGED if changed else None

    def first_byte(self, uri: str) -> None:
        """Read one byte of the archive; see `Access`."""
        filesystem, path = files.filesystem(archive_uris.parse(uri).archive)
        filesystem.cat_file(path, start=0, end=1)

    def corpus_exists(self, uri: str, image_id: str) -> bool:
        """Whether the folder of the archive exists; see `Access`."""
        del image_id
        filesystem, path = files.filesystem(archive_uris.parse(uri).archive)
        filesystem.invalidate_cache()
        return bool(filesystem.exists(path.rpartition("/")[0] or filesystem.root_marker))

    def _version(self, archive: str) -> str:
        """The etag of an archive; that of a local one is never older than the call."""
        filesystem, path = files.filesystem(archive)
        if is_local(filesystem):
            return version_of(filesystem, path)
        with self._lock:
            known = self._known.get(archive)
        if known is None:
            known = version_of(filesystem, path)
            with self._lock:
                self._known[archive] = known
        return known

    def _blocks(self, archive: str, version: str) -> "_Blocks":
        with self._lock:
            reader = self._readers.get((archive, version))
            if reader is None:
                reader = self._readers[archive, version] = _Blocks(_fetcher(archive), is_compressed(archive))
        return reader


@dataclass(eq=False)
class _Blocks:
    """An archive in blocks, of which the latest are kept. One thread at a time fetches.

    Attributes:
        fetch: gives the bytes [start, stop) of the archive; fewer at its end.
        forward: whether blocks are fetched in order, without gaps.
    """

    fetch: Callable[[int, int], bytes]
    forward: bool
    _next: int = 0
    _kept: LRUCache[int, bytes] = field(default_factory=lambda: LRUCache(BLOCKS))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, offset: int, length: int) -> bytes:
        """The bytes [offset, offset + length); fewer at the end of the archive."""
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


def _fetcher(archive: str) -> Callable[[int, int], bytes]:
    filesystem, path = files.filesystem(archive)
    if is_compressed(archive):
        return _Decompressed(lambda: filesystem.open(path, "rb"))
    return lambda start, stop: bytes(filesystem.cat_file(path, start=start, end=stop))


class _Decompressed:
    """A compressed archive, read forward. Reading before the current place starts again at the beginning."""

    def __init__(self, open_file: Callable[[], IO[bytes]]) -> None:
        self._open = open_file
        self._stream: gzip.GzipFile | None = None

    def __call__(self, start: int, stop: int) -> bytes:
        """The decompressed bytes [start, stop)."""
        if self._stream is None:
            self._stream = gzip.GzipFile(fileobj=self._open())
        self._stream.seek(start)
        return self._stream.read(stop - start)


def _changed_error(uri: str) -> StaleFile:
    return StaleFile(
        Reason.CHANGED,
        f"the archive of {uri} has changed since it was listed; use a new --run to list the corpus again",
    )
