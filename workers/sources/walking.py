"""Listing of folders and globs on any file system. Takes a folder or glob, gives its files, streaming."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from workers.errors import CorpusError
from workers.files import is_local
from workers.formats import EXTENSIONS
from workers.host.hangs import Limit
from workers.sources import versions

BULK_S = 3600.0  # for one request that lists a whole bucket or glob, which may be millions of files


@dataclass(frozen=True)
class FoundFile:
    """One file, with its size and etag."""

    path: str
    bytes: int
    etag: str


def glob_files(filesystem: Any, pattern: str, base: str, limit: Limit) -> Iterator[FoundFile]:  # noqa: ANN401
    """The files that a glob matches.

    Args:
        filesystem: an fsspec file system.
        pattern: the glob.
        base: the folder before the first wildcard.
        limit: how long the storage may be silent.
    """
    filesystem.exists(base)  # a dead storage exceeds the short limit here, before the long one begins
    with limit.extend(BULK_S):
        matches = filesystem.glob(pattern, detail=True)
    for path, info in matches.items():
        limit.restart()
        if info["type"] == "file":
            yield _make_file(filesystem, path, info)


def walk_folder(filesystem: Any, base: str, source: str, limit: Limit) -> Iterator[FoundFile]:  # noqa: ANN401
    """The images below a folder: files with a known extension that are not hidden.

    Args:
        filesystem: an fsspec file system.
        base: the folder.
        source: the corpus, for the error.
        limit: how long the storage may be silent.

    Raises:
        CorpusError: the folder does not exist.
    """
    exists = filesystem.exists(base)
    with limit.extend(BULK_S):  # some stores list a whole folder to find out that it is one
        is_folder = filesystem.isdir(base)
    if not is_folder:
        problem = "is a file, not a folder" if exists else "does not exist"
        raise CorpusError(f"corpus {source!r} {problem}; give a folder or a glob such as '{source}/**/*.jpg'")
    files = _walk_local(base, set(), limit) if is_local(filesystem) else _walk_remote(filesystem, base, limit)
    return (file for file in files if has_image_extension(file.path))


def _walk_local(folder: str, ancestors: set[tuple[int, int]], limit: Limit) -> Iterator[FoundFile]:
    """The files below a folder, streaming; links back to an ancestor are not followed."""
    status = os.stat(folder)
    key = (status.st_dev, status.st_ino)
    if key in ancestors:
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
                    file_status = entry.stat()
                except FileNotFoundError:  # removed since the folder was read
                    continue
                yield FoundFile(entry.path, file_status.st_size, versions.of_status(file_status))
    for child in folders:
        yield from _walk_local(child, ancestors | {key}, limit)


def _walk_remote(filesystem: Any, base: str, limit: Limit) -> Iterator[FoundFile]:  # noqa: ANN401
    for folder in _walk_folders(filesystem, base, limit):
        for info in folder.values():
            relative = str(info["name"])[len(base) :]
            if "/." not in relative:
                yield _make_file(filesystem, info["name"], info)


def _walk_folders(filesystem: Any, base: str, limit: Limit) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    """The files of each folder; a folder's files arrive in one answer."""
    walk = filesystem.walk(base, detail=True)
    while True:
        with limit.extend(BULK_S):
            folder = next(walk, None)
        if folder is None:
            return
        yield folder[2]


def _make_file(filesystem: Any, path: str, info: dict[str, Any]) -> FoundFile:  # noqa: ANN401
    if is_local(filesystem):
        status = os.stat(path)
        return FoundFile(path, status.st_size, versions.of_status(status))
    return FoundFile(path, int(info["size"]), versions.of_info(info))


def has_image_extension(path: str) -> bool:
    """Whether a path has a known extension."""
    return os.path.splitext(path)[1].lower() in EXTENSIONS
