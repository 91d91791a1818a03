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

from workers import files
from workers.corpus import versions
from workers.corpus.hangs import Limit
from workers.corpus.walking import Found, globbed, is_local, walked
from workers.errors import CorpusError, ReadError, Reason, StaleFile
from workers.host import retrying
from workers.host.retrying import retried
from workers.spec.parts import CorpusSpec
from workers.spec.patterns import Pattern

READ_HANG_S = 120.0
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
        found = globbed(filesystem, path, base, limit)
    else:
        base = path.rstrip("/")
        found = walked(filesystem, base, corpus.source, limit)
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
        if is_local(filesystem):
            versions.check_status(uri, os.stat(path), expected_bytes, etag)
        else:
            versions.check_object(uri, filesystem, path, expected_bytes, etag)
    except (FileNotFoundError, NotADirectoryError):
        return Reason.VANISHED
    except StaleFile as stale:
        return stale.reason
    return None


def is_corpus_there(uri: str, image_id: str) -> bool:
    """Whether the folder or bucket of a corpus exists and, as far as that can be asked, holds something.

    Args:
        uri: of one of its files.
        image_id: of that file, which is its path below the corpus.
    """
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


def first_byte(uri: str) -> None:
    """Prove that a file can be opened and read from here, or raise OSError."""
    filesystem, path = files.filesystem(uri)
    with _opened(uri, path) if is_local(filesystem) else filesystem.open(path, "rb") as file:
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
    if is_local(filesystem):
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


def _describer(corpus: CorpusSpec, base: str, filesystem: Any) -> Callable[[Found], Listed]:  # noqa: ANN401
    local = is_local(filesystem)
    pattern = None if corpus.group in ("none", "folder") else Pattern(corpus.group)

    def describe(entry: Found) -> Listed:
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
