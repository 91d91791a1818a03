"""Where images come from. Takes a corpus spec, gives one entry per file, streaming; takes a uri, gives bytes."""

import glob
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import fsspec

from workers import files
from workers.corpus.decode import EXTENSIONS
from workers.errors import CorpusError, ReadError, Reason
from workers.patterns import Pattern
from workers.spec import CorpusSpec

RETRIES = 4
FIRST_PAUSE_S = 0.2


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


def listing(corpus: CorpusSpec) -> Iterator[Listed]:
    """All images of a folder (recursive, known extensions, nothing hidden) or all files that a glob matches.

    Raises:
        CorpusError: the source does not exist, is a file, or of a kind that has no folders.
    """
    if any(link.startswith(("http://", "https://")) for link in corpus.source.split("::")):
        raise CorpusError(
            f"corpus {corpus.source!r} cannot be listed: http has no folders; give one of this machine, or a bucket"
        )
    filesystem, path = _filesystem(corpus.source)
    if glob.has_magic(path):
        base = path[: re.search(r"[*?\[]", path).start()].rpartition("/")[0]  # type: ignore[union-attr]
        found = _globbed(filesystem, path)
    else:
        base = path.rstrip("/")
        found = _walked(filesystem, base, corpus.source)
    describe = _describer(corpus, base, filesystem)
    return (describe(entry) for entry in found)


def read(uri: str, expected_bytes: int) -> bytes:
    """The bytes of a listed file; failed reads are tried again.

    Raises:
        ReadError: it cannot be read, or is no longer the file that was listed.
    """
    for attempt in range(RETRIES):
        try:
            data = files.read(uri)
            break
        except FileNotFoundError as error:
            raise ReadError(f"{uri} was listed and is gone; give another --run to list the corpus again") from error
        except OSError as error:
            if attempt == RETRIES - 1:
                raise ReadError(f"{uri} cannot be read after {RETRIES} tries: {error}") from error
            time.sleep(FIRST_PAUSE_S * 2**attempt)
    if len(data) != expected_bytes:
        raise ReadError(
            f"{uri} has changed since it was listed ({expected_bytes} bytes then, {len(data)} now); "
            "give another --run to list the corpus again"
        )
    return data


def first_byte(uri: str) -> None:
    """Prove that a file can be opened and read from here, or raise OSError."""
    filesystem, path = files.filesystem(uri)
    with filesystem.open(path, "rb") as file:
        file.read(1)


def _filesystem(source: str) -> tuple[Any, str]:
    try:
        return files.filesystem(source)
    except (ValueError, ImportError) as error:
        raise CorpusError(f"corpus {source!r} cannot be listed: {error}") from error


def _globbed(filesystem: Any, pattern: str) -> Iterator[_Found]:  # noqa: ANN401 - fsspec has no types
    for path, info in filesystem.glob(pattern, detail=True).items():
        if info["type"] == "file":
            yield _found(filesystem, path, info)


def _walked(filesystem: Any, base: str, source: str) -> Iterator[_Found]:  # noqa: ANN401
    if not filesystem.isdir(base):
        what = "is a file, not a folder" if filesystem.exists(base) else "does not exist"
        raise CorpusError(f"corpus {source!r} {what}; give a folder or a glob such as '{source}/**/*.jpg'")
    found = _scan_local(base, set()) if _is_local(filesystem) else _scan_remote(filesystem, base)
    return (entry for entry in found if _has_image_extension(entry.path))


def _scan_local(folder: str, above: set[tuple[int, int]]) -> Iterator[_Found]:
    """Files below a folder, streaming; a link back to a folder above is not followed."""
    status = os.stat(folder)
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                folders.append(entry.path)
            elif entry.is_file():
                about = entry.stat()
                yield _Found(entry.path, about.st_size, f"{about.st_mtime_ns}:{about.st_ctime_ns}")
    for below in folders:
        yield from _scan_local(below, above | {here})


def _scan_remote(filesystem: Any, base: str) -> Iterator[_Found]:  # noqa: ANN401
    for _, _, found in filesystem.walk(base, detail=True):
        for info in found.values():
            relative = str(info["name"])[len(base) :]
            if "/." not in relative:
                yield _found(filesystem, info["name"], info)


def _found(filesystem: Any, path: str, info: dict[str, Any]) -> _Found:  # noqa: ANN401
    if _is_local(filesystem):
        about = os.stat(path)
        return _Found(path, about.st_size, f"{about.st_mtime_ns}:{about.st_ctime_ns}")
    marks = [
        str(info[key])
        for key in ("ETag", "etag", "md5Hash", "checksum", "mtime", "LastModified", "created")
        if info.get(key)
    ]
    return _Found(path, int(info["size"]), marks[0] if marks else "")


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


def batched(entries: Iterable[Listed], size: int) -> Iterator[list[Listed]]:
    """The entries in lists of at most `size`."""
    waiting: list[Listed] = []
    for entry in entries:
        waiting.append(entry)
        if len(waiting) == size:
            yield waiting
            waiting = []
    if waiting:
        yield waiting
