"""Files below a folder, or that a glob matches, of any file system. Takes a place, gives one entry per file, streaming."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from workers.errors import CorpusError
from workers.files import is_local
from workers.host.hangs import Limit
from workers.sources import versions

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
BULK_S = 3600.0  # for one question that lists a whole bucket or glob, which may be millions of files


@dataclass(frozen=True)
class Found:
    """One file, and what tells its versions apart."""

    path: str
    bytes: int
    etag: str


def globbed(filesystem: Any, pattern: str, base: str, limit: Limit) -> Iterator[Found]:  # noqa: ANN401 - fsspec has no types
    """The files that a glob matches.

    Args:
        filesystem: of fsspec.
        pattern: the glob.
        base: folder that all of them are below.
        limit: how long the storage may be silent.
    """
    filesystem.exists(base)  # whatever the answer: a dead storage gives none, and need not be waited for in bulk
    with limit.extended(BULK_S):
        found = filesystem.glob(pattern, detail=True)
    for path, info in found.items():
        limit.restart()
        if info["type"] == "file":
            yield _found(filesystem, path, info)


def walked(filesystem: Any, base: str, source: str, limit: Limit) -> Iterator[Found]:  # noqa: ANN401
    """The images below a folder: known extensions, nothing hidden.

    Args:
        filesystem: of fsspec.
        base: the folder.
        source: the corpus, for the error.
        limit: how long the storage may be silent.

    Raises:
        CorpusError: there is no such folder.
    """
    is_there = filesystem.exists(base)
    with limit.extended(BULK_S):  # some stores list a whole folder to say that it is one
        is_folder = filesystem.isdir(base)
    if not is_folder:
        what = "is a file, not a folder" if is_there else "does not exist"
        raise CorpusError(f"corpus {source!r} {what}; give a folder or a glob such as '{source}/**/*.jpg'")
    found = _scan_local(base, set(), limit) if is_local(filesystem) else _scan_remote(filesystem, base, limit)
    return (entry for entry in found if _has_image_extension(entry.path))


def _scan_local(folder: str, above: set[tuple[int, int]], limit: Limit) -> Iterator[Found]:
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
                yield Found(entry.path, about.st_size, versions.of_status(about))
    for below in folders:
        yield from _scan_local(below, above | {here}, limit)


def _scan_remote(filesystem: Any, base: str, limit: Limit) -> Iterator[Found]:  # noqa: ANN401
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


def _found(filesystem: Any, path: str, info: dict[str, Any]) -> Found:  # noqa: ANN401
    if is_local(filesystem):
        about = os.stat(path)
        return Found(path, about.st_size, versions.of_status(about))
    return Found(path, int(info["size"]), versions.of_info(info))


def _has_image_extension(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in EXTENSIONS
