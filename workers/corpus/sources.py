"""Where images come from. Takes a corpus spec, gives one entry per file, streaming; takes a uri, gives bytes."""

import glob
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import PurePosixPath
from typing import Any

import fsspec

from workers import files, retrying
from workers.corpus import versions
from workers.corpus.decode import EXTENSIONS
from workers.corpus.hangs import Limit
from workers.errors import CorpusError, ReadError, Reason, StaleFile
from workers.patterns import Pattern
from workers.retrying import retried
from workers.spec import CorpusSpec

READ_HANG_S = 120.0
BULK_S = 3600.0  # for one question that lists a whole bucket or glob, which may be millions of files
SLOWEST_BYTES_PER_S = 1 << 20


@dataclass(frozen=True)
class Listed:
    """One file of the corpus as the listing saw it; the columns of a manifest row but for `removed`."""

    image_id: str
    uri: str
    bytes: int
    etag: str
    label: str | None
    group: str | None
    refused: str | None


@dataclass(frozen=True)
class _Found:
    path: str
    bytes: int
    etag: str


def listing(corpus: CorpusSpec, limit: Limit | None = None) -> Iterator[Listed]:
    """All images of a folder (recursive, known extensions, nothing hidden) or all files that a glob matches.

    Args:
        corpus: what to list.
        limit: how long the storage may be silent; every answer restarts it, whether it names an image or not.

    Raises:
        CorpusError: the source does not exist, is a file, or of a kind that has no folders.
    """
    if any(link.startswith(("http://", "https://")) for link in corpus.source.split("::")):
        raise CorpusError(
            f"corpus {corpus.source!r} cannot be listed: http has no folders; give one of this machine, or a bucket"
        )
    limit, (filesystem, path) = limit or Limit(READ_HANG_S), _filesystem(corpus.source)
    if glob.has_magic(path):
        base = path[: re.search(r"[*?\[]", path).start()].rpartition("/")[0]  # type: ignore[union-attr]
        found = _globbed(filesystem, path, base, limit)
    else:
        base = path.rstrip("/")
        found = _walked(filesystem, base, corpus.source, limit)
    describe = _describer(corpus, base, filesystem)
    return (describe(entry) for entry in found)


def read(
    uri: str,
    expected_bytes: int,
    etag: str = "",
    patience_s: float = 0.0,
    begin: Callable[[], None] = lambda: None,
) -> bytes:
    """The bytes of a listed file, if it still is the file that was listed.

    Args:
        uri: where it is.
        expected_bytes: its size then.
        etag: of the version that was listed; empty if it is not known.
        patience_s: how long failures that may pass are tried again, seconds; 0 tries once.
        begin: is called before each try.

    Raises:
        StaleFile: it is gone, or another file now.
        ReadError: it cannot be read.
        StoreError: it could not be read for as long as there was patience.
    """

    def attempt() -> bytes:
        begin()
        return _read_once(uri, expected_bytes, etag)

    with naming(uri):
        try:
            return _patiently(attempt, f"reading {uri}", patience_s)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise versions.vanished(uri) from error


@contextmanager
def naming(uri: str) -> Iterator[None]:
    """Turn whatever a storage raises, which need not be an OSError, into a ReadError that names the file."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and not retrying.may_pass(error):
            raise
        raise ReadError(f"{uri} cannot be read: {retrying.reason(error)}") from error


def staleness(uri: str, expected_bytes: int, etag: str) -> Reason | None:
    """Whether a listed file is gone or has changed, without reading it; None if it is as it was listed.

    Raises:
        OSError: it cannot be known.
    """
    filesystem, path = files.filesystem(uri)
    try:
        if _is_local(filesystem):
            versions.check_status(uri, os.stat(path), expected_bytes, etag)
        else:
            versions.check_object(uri, filesystem, path, expected_bytes, etag)
    except (FileNotFoundError, NotADirectoryError):
        return Reason.VANISHED
    except StaleFile as stale:
        return stale.reason
    return None


def first_byte(uri: str) -> None:
    """Prove that a file can be opened and read from here, or raise OSError."""
    filesystem, path = files.filesystem(uri)
    with _opened(uri, path) if _is_local(filesystem) else filesystem.open(path, "rb") as file:
        file.read(1)


def read_limit(size_bytes: int, limit_s: float) -> float:
    """How long one read of so many bytes may take, seconds: a slow storage is not a dead one."""
    return limit_s + size_bytes / SLOWEST_BYTES_PER_S


def _patiently(attempt: Callable[[], bytes], what: str, patience_s: float) -> bytes:
    """Almost every read succeeds at once, and the retry policy alone costs as much as reading a small file."""
    try:
        return attempt()
    except Exception as error:
        if patience_s <= 0 or not retrying.may_pass(error):
            raise
    return retried(attempt, what, patience_s)


def _read_once(uri: str, expected_bytes: int, etag: str) -> bytes:
    filesystem, path = files.filesystem(uri)
    if _is_local(filesystem):
        return _read_local(uri, path, expected_bytes, etag)
    data = files.read(uri)
    versions.check_size(uri, len(data), expected_bytes)
    # The etag of an object that was stored in one piece is its MD5, which saves asking the store once more.
    if etag and hashlib.md5(data, usedforsecurity=False).hexdigest() != etag.strip('"'):
        versions.check_object(uri, filesystem, path, expected_bytes, etag)
    return data


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


def _filesystem(source: str) -> tuple[Any, str]:
    try:
        return files.filesystem(source)
    except (ValueError, ImportError) as error:
        raise CorpusError(f"corpus {source!r} cannot be listed: {error}") from error


def _globbed(filesystem: Any, pattern: str, base: str, limit: Limit) -> Iterator[_Found]:  # noqa: ANN401 - fsspec has no types
    filesystem.exists(base)  # whatever the answer: a dead storage gives none, and need not be waited for in bulk
    with limit.extended(BULK_S):
        found = filesystem.glob(pattern, detail=True)
    for path, info in found.items():
        limit.restart()
        if info["type"] == "file":
            yield _found(filesystem, path, info)


def _walked(filesystem: Any, base: str, source: str, limit: Limit) -> Iterator[_Found]:  # noqa: ANN401
    is_there = filesystem.exists(base)
    with limit.extended(BULK_S):  # some stores list a whole folder to say that it is one
        is_folder = filesystem.isdir(base)
    if not is_folder:
        what = "is a file, not a folder" if is_there else "does not exist"
        raise CorpusError(f"corpus {source!r} {what}; give a folder or a glob such as '{source}/**/*.jpg'")
    found = _scan_local(base, set(), limit) if _is_local(filesystem) else _scan_remote(filesystem, base, limit)
    return (entry for entry in found if _has_image_extension(entry.path))


def _scan_local(folder: str, above: set[tuple[int, int]], limit: Limit) -> Iterator[_Found]:
    """Files below a folder, streaming; a link back to a folder above is not followed."""
    status = os.stat(folder)
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            limit.restart()
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                folders.append(entry.path)
            elif entry.is_file():
                try:
                    about = entry.stat()
                except FileNotFoundError:  # it has gone since the folder was read
                    continue
                yield _Found(entry.path, about.st_size, versions.of_status(about))
    for below in folders:
        yield from _scan_local(below, above | {here}, limit)


def _scan_remote(filesystem: Any, base: str, limit: Limit) -> Iterator[_Found]:  # noqa: ANN401
    for found in _folders(filesystem, base, limit):
        for info in found.values():
            relative = str(info["name"])[len(base) :]
            if "/." not in relative:
                yield _found(filesystem, info["name"], info)


def _folders(filesystem: Any, base: str, limit: Limit) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    """The files of one folder after another, each folder in one answer."""
    walk = filesystem.walk(base, detail=True)
    while True:
        with limit.extended(BULK_S):
            folder = next(walk, None)
        if folder is None:
            return
        yield folder[2]


def _found(filesystem: Any, path: str, info: dict[str, Any]) -> _Found:  # noqa: ANN401
    if _is_local(filesystem):
        about = os.stat(path)
        return _Found(path, about.st_size, versions.of_status(about))
    return _Found(path, int(info["size"]), versions.of_info(info))


def _describer(corpus: CorpusSpec, base: str, filesystem: Any) -> Callable[[_Found], Listed]:  # noqa: ANN401
    local = _is_local(filesystem)
    pattern = None if corpus.group in ("none", "folder") else Pattern(corpus.group)

    def describe(entry: _Found) -> Listed:
        path = _readable(entry.path)
        image_id = path[len(_readable(base)) :].lstrip("/")
        folder = PurePosixPath(image_id).parent.name or None
        return Listed(
            image_id=image_id,
            uri=path if local else filesystem.unstrip_protocol(path),
            bytes=entry.bytes,
            etag=entry.etag,
            label=folder if corpus.label == "folder" else None,
            group=folder if corpus.group == "folder" else pattern.first(image_id) if pattern else None,
            refused=None if path == entry.path else Reason.BAD_NAME,
        )

    return describe


def _readable(path: str) -> str:
    """The path as text; bytes that are no UTF-8 are written as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _has_image_extension(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in EXTENSIONS


def _is_local(filesystem: Any) -> bool:  # noqa: ANN401
    return isinstance(filesystem, fsspec.get_filesystem_class("file"))
