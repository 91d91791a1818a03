"""Images that are files of their own. Takes a path or URL, gives the bytes of the version that was listed."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from typing import Any

from workers import files
from workers.errors import CorpusError, Reason, StaleFile
from workers.files import is_local
from workers.sources import versions
from workers.sources.source import Access, Entry
from workers.sources.walking import Found


class SingleFiles:
    """Reads any file that fsspec can read."""

    def reads(self, uri: str) -> bool:
        """Always: what belongs to no other source is a file."""
        del uri
        return True

    def read(self, uri: str, expected_bytes: int, etag: str) -> bytes:
        """The bytes of a file; see `Access`."""
        filesystem, path = files.filesystem(uri)
        if is_local(filesystem):
            return _read_local(uri, path, expected_bytes, etag)
        data = files.read(uri)
        versions.check_size(uri, len(data), expected_bytes)
        # The etag of an object that was stored in one piece is its MD5, which saves asking the store once more.
        if etag and hashlib.md5(data, usedforsecurity=False).hexdigest() != etag.strip('"'):
            versions.check_object(uri, filesystem, path, expected_bytes, etag)
        return data

    def staleness(self, uri: str, expected_bytes: int, etag: str) -> Reason | None:
        """Whether a file is gone or has changed; see `Access`."""
        filesystem, path = files.filesystem(uri)
        try:
            if is_local(filesystem):
                versions.check_status(uri, os.stat(path), expected_bytes, etag)
            else:
                versions.check_object(uri, filesystem, path, expected_bytes, etag)
        except (FileNotFoundError, NotADirectoryError):
            return Reason.VANISHED
        except StaleFile as stale:
            return stale.reason
        return None

    def first_byte(self, uri: str) -> None:
        """Read one byte of a file; see `Access`."""
        filesystem, path = files.filesystem(uri)
        with _opened(uri, path) if is_local(filesystem) else filesystem.open(path, "rb") as file:
            file.read(1)

    def is_corpus_there(self, uri: str, image_id: str) -> bool:
        """Whether the folder or bucket that a file's path lies below is there; see `Access`."""
        filesystem, path = files.filesystem(uri)
        base = path.removesuffix(image_id).rstrip("/") or filesystem.root_marker
        if not is_local(filesystem):
            filesystem.invalidate_cache()
            return bool(filesystem.exists(base))
        try:
            with os.scandir(base) as entries:
                return next(entries, None) is not None
        except (FileNotFoundError, NotADirectoryError):
            return False


SINGLE_FILES: Access = SingleFiles()


def listable(source: str) -> tuple[Any, str]:
    """The file system of a corpus, and its path there.

    Raises:
        CorpusError: its protocol is unknown, or has no folders.
    """
    if any(link.startswith(("http://", "https://")) for link in source.split("::")):
        raise CorpusError(
            f"corpus {source!r} cannot be listed: http has no folders; give one of this machine, or a bucket"
        )
    try:
        return files.filesystem(source)
    except (ValueError, ImportError) as error:
        raise CorpusError(f"corpus {source!r} cannot be listed: {error}") from error


def entries_below(found: Iterator[Found], base: str, filesystem: Any) -> Iterator[Entry]:  # noqa: ANN401 - fsspec has no types
    """The entries of files that were found below a folder.

    Args:
        found: the files.
        base: the folder, as a path of the file system.
        filesystem: of fsspec.
    """
    local, start = is_local(filesystem), len(_readable(base))
    for file in found:
        path = _readable(file.path)
        yield Entry(
            image_id=path[start:].lstrip("/"),
            uri=path if local else filesystem.unstrip_protocol(path),
            bytes=file.bytes,
            etag=file.etag,
            refused=None if path == file.path else Reason.BAD_NAME,
        )


def _read_local(uri: str, path: str, expected_bytes: int, etag: str) -> bytes:
    """The bytes of one version of a file: it has the listed etag before they are read and after."""
    with _opened(uri, path) as file:
        versions.check_status(uri, os.fstat(file.fileno()), expected_bytes, etag)
        data = file.readall()
        versions.check_size(uri, len(data), expected_bytes)
        versions.check_status(uri, os.fstat(file.fileno()), expected_bytes, etag)
    return data


@contextmanager
def _opened(uri: str, path: str) -> Iterator[FileIO]:
    """A regular file, opened; of anything else not even that: opening a FIFO waits for its writer."""
    versions.check_regular(uri, os.stat(path))
    with FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        versions.check_regular(uri, os.fstat(file.fileno()))
        yield file


def _readable(path: str) -> str:
    """The path as text; bytes that are no UTF-8 are written as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
