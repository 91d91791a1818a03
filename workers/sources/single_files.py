"""Images stored as single files. Takes a path or URL, gives the bytes of the version that was listed."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from typing import Any

from workers import files
from workers.errors import CorpusError, Reason, StaleFile
from workers.files import is_local
from workers.host.hangs import Limit
from workers.sources import versions, walking
from workers.sources.source import Access, Alive, SourceEntry, nothing
from workers.sources.walking import FoundFile

_VERSION = "?versionId="  # in the name of an object: s3fs takes the rest for the version of another object


class SingleFiles:
    """Reads any file that fsspec can read."""

    def reads(self, uri: str) -> bool:
        """Always true: a uri of no other source is a file."""
        del uri
        return True

    def read(self, uri: str, expected_bytes: int, etag: str, alive: Alive = nothing) -> bytes:
        """The bytes of a file; see `Access`."""
        del alive
        filesystem, path = files.filesystem_of_key(uri)
        if is_local(filesystem):
            return _read_local(uri, path, expected_bytes, etag)
        data = files.read_key(uri)
        versions.check_size(uri, len(data), expected_bytes)
        # The etag of an object that was uploaded in one piece is its MD5; comparing it saves a request.
        if etag and hashlib.md5(data, usedforsecurity=False).hexdigest() != etag.strip('"'):
            versions.check_object(uri, filesystem, path, expected_bytes, etag)
        return data

    def staleness(self, uri: str, expected_bytes: int, etag: str) -> Reason | None:
        """Whether a file has vanished or changed; see `Access`."""
        filesystem, path = files.filesystem_of_key(uri)
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
        filesystem, path = files.filesystem_of_key(uri)
        with _open(uri, path) if is_local(filesystem) else filesystem.open(path, "rb") as file:
            file.read(1)

    def corpus_exists(self, uri: str, image_id: str) -> bool:
        """Whether the folder or bucket of the corpus exists; see `Access`."""
        filesystem, path = files.filesystem_of_key(uri)
        above = (
            path.removesuffix(image_id) if path.endswith(image_id) else path.rpartition("/")[0]
        )  # ids of a list are free
        base = above.rstrip("/") or filesystem.root_marker
        if not is_local(filesystem):
            filesystem.invalidate_cache()
            return bool(filesystem.exists(base))
        try:
            with os.scandir(base) as entries:
                return next(entries, None) is not None
        except (FileNotFoundError, NotADirectoryError):
            return False


SINGLE_FILES: Access = SingleFiles()


def open_corpus(source: str) -> tuple[Any, str]:
    """The file system of a corpus, and its path in it.

    Raises:
        CorpusError: the protocol is unknown, or has no folders.
    """
    if any(link.startswith(("http://", "https://")) for link in source.split("::")):
        raise CorpusError(f"corpus {source!r} cannot be listed: http has no folders; give a local folder or a bucket")
    if "://" in source and "::" in source:
        raise CorpusError(
            f"corpus {source!r} chains file systems (::), which is not supported; give an archive by its own path, such as "
            "photos.zip"
        )
    try:
        return files.filesystem(source)
    except (ValueError, ImportError) as error:
        raise CorpusError(f"corpus {source!r} cannot be listed: {error}") from error


def is_folder(filesystem: Any, path: str, limit: Limit) -> bool:  # noqa: ANN401 - fsspec has no types
    """Whether a path is a folder."""
    filesystem.exists(path)  # a dead storage exceeds the short limit here, before the long one begins
    with limit.extend(walking.BULK_S):  # some stores list a whole folder to find out that it is one
        return bool(filesystem.isdir(path))


def make_entries(files: Iterator[FoundFile], base: str, filesystem: Any) -> Iterator[SourceEntry]:  # noqa: ANN401
    """The entries of the files below a folder.

    Args:
        files: the files.
        base: the folder, as a path of the file system.
        filesystem: an fsspec file system.
    """
    local, start = is_local(filesystem), len(_as_text(base))
    for file in files:
        path = _as_text(file.path)
        is_key = path == file.path and (local or _VERSION not in path)
        yield SourceEntry(
            image_id=path[start:].lstrip("/"),
            uri=path if local else filesystem.unstrip_protocol(path),
            bytes=file.bytes,
            etag=file.etag,
            refused=None if is_key else Reason.BAD_NAME,
        )


def _read_local(uri: str, path: str, expected_bytes: int, etag: str) -> bytes:
    """The bytes of a file, whose version is checked before and after reading."""
    with _open(uri, path) as file:
        versions.check_status(uri, os.fstat(file.fileno()), expected_bytes, etag)
        data = file.readall()
        versions.check_size(uri, len(data), expected_bytes)
        versions.check_status(uri, os.fstat(file.fileno()), expected_bytes, etag)
    return data


@contextmanager
def _open(uri: str, path: str) -> Iterator[FileIO]:
    """Open a regular file. The type is checked first, because opening a FIFO waits for its writer."""
    versions.check_regular(uri, os.stat(path))
    with FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        versions.check_regular(uri, os.fstat(file.fileno()))
        yield file


def _as_text(path: str) -> str:
    """The path as text, with bytes that are not UTF-8 escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
