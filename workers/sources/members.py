"""Images inside larger files. Takes the uri of a member, gives its bytes; reads only the parts of the file that hold them."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from cachetools import LRUCache, TTLCache

from workers import files
from workers.errors import Reason, StaleFile
from workers.files import is_local
from workers.sources import member_uris, versions
from workers.sources.member_uris import MemberUri
from workers.sources.source import Alive, nothing

OPEN_FILES = 2  # whose readers are kept
VERSION_S = 10.0  # how long the version of a file in a bucket counts as known


class MemberReader(Protocol):
    """Reads the members of one version of a file. Must be thread-safe."""

    def read(self, member: MemberUri, expected_bytes: int, alive: Alive) -> bytes:
        """The bytes of a member; fewer if the file ends before. See `Access` for `alive`.

        Raises:
            Rejected: the member is damaged.
        """


def version_of(filesystem: Any, path: str) -> str:  # noqa: ANN401 - fsspec has no types
    """The etag of a file.

    Raises:
        OSError: the file does not exist or cannot be read.
    """
    if is_local(filesystem):
        return versions.of_status(os.stat(path))
    filesystem.invalidate_cache(path)
    return versions.of_info(filesystem.info(path))


def require_version(filesystem: Any, path: str, version: str) -> None:  # noqa: ANN401 - fsspec has no types
    """Raise an error unless a file still has this etag; an empty etag is not compared.

    Raises:
        StaleFile: the file has changed.
    """
    if version and version_of(filesystem, path) != version:
        raise _changed_error(path)


@dataclass(eq=False)
class Members:
    """Reads the images inside files of one kind; an `Access`.

    Attributes:
        scheme: scheme of their uris.
        open: makes the reader of a file, given its path or URL and its etag.
    """

    scheme: str
    open: Callable[[str, str], MemberReader]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _known: TTLCache[str, str] = field(default_factory=lambda: TTLCache(256, VERSION_S))
    _readers: LRUCache[tuple[str, str], MemberReader] = field(default_factory=lambda: LRUCache(OPEN_FILES))

    def reads(self, uri: str) -> bool:
        """Whether a uri is that of a member of such a file."""
        return member_uris.is_member(uri, self.scheme)

    def read(self, uri: str, expected_bytes: int, etag: str, alive: Alive = nothing) -> bytes:
        """The bytes of a member; see `Access`."""
        member = member_uris.parse(uri)
        current = self._version(member.file)
        if etag and current != etag:
            raise _changed_error(uri)
        data = self._reader(member.file, current).read(member, expected_bytes, alive)
        if expected_bytes not in (len(data), versions.UNKNOWN_BYTES) or (etag and self._version(member.file) != etag):
            raise _changed_error(uri)
        return data

    def staleness(self, uri: str, expected_bytes: int, etag: str) -> Reason | None:
        """Whether a member's file has vanished or changed; see `Access`."""
        del expected_bytes  # the version of the file covers its members
        try:
            changed = etag and self._version(member_uris.parse(uri).file) != etag
        except (FileNotFoundError, NotADirectoryError):
            return Reason.VANISHED
        return Reason.CHANGED if changed else None

    def first_byte(self, uri: str) -> None:
        """Read one byte of the file; see `Access`."""
        filesystem, path = files.filesystem(member_uris.parse(uri).file)
        filesystem.cat_file(path, start=0, end=1)

    def corpus_exists(self, uri: str, image_id: str) -> bool:
        """Whether the folder of the file exists; see `Access`."""
        del image_id
        filesystem, path = files.filesystem(member_uris.parse(uri).file)
        filesystem.invalidate_cache()
        return bool(filesystem.exists(path.rpartition("/")[0] or filesystem.root_marker))

    def _version(self, file: str) -> str:
        """The etag of a file; that of a local one is never older than the call."""
        filesystem, path = files.filesystem(file)
        if is_local(filesystem):
            return version_of(filesystem, path)
        with self._lock:
            known = self._known.get(file)
        if known is None:
            known = version_of(filesystem, path)
            with self._lock:
                self._known[file] = known
        return known

    def _reader(self, file: str, version: str) -> MemberReader:
        with self._lock:
            reader = self._readers.get((file, version))
            if reader is None:
                reader = self._readers[file, version] = self.open(file, version)
        return reader


def _changed_error(uri: str) -> StaleFile:
    return StaleFile(
        Reason.CHANGED,
        f"the file of {uri} has changed since it was listed; use a new --run to list the corpus again",
    )
