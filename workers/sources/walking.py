"""Listing of files on any file system. Takes a folder and a filter, gives the files, streaming; counts what it passes over."""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workers.files import is_local
from workers.formats import EXTENSIONS
from workers.host.hangs import Limit
from workers.sources import versions
from workers.sources.source import PassedOver, Request, Tally

if TYPE_CHECKING:
    from os import _ScandirIterator

    ScandirIterator = _ScandirIterator[str]

_Inode = tuple[int, int]  # device and number

BULK_S = 3600.0  # for one request that lists a whole bucket or glob, which may be millions of files


@dataclass(frozen=True)
class FoundFile:
    """One file, with its size and etag."""

    path: str
    bytes: int
    etag: str


@dataclass(frozen=True)
class Filter:
    """Which files below a folder are listed.

    Attributes:
        hidden: whether hidden files and folders are listed.
        extensions: accepted extensions, in lower case with a dot; None accepts all.
        ordered: whether the files of each folder come sorted by name.
        matches: whether a path belongs to the corpus at all; others are not counted as skipped.
        depth: folders below the first that are searched; None for all.
    """

    hidden: bool
    extensions: frozenset[str] | None
    ordered: bool
    matches: Callable[[str], object] = lambda _: True
    depth: int | None = None

    def accepts(self, path: str, tally: Tally) -> bool:
        """Whether a file has an accepted extension; if not, it is counted."""
        extension = extension_of(path)
        if self.extensions is None or extension in self.extensions:
            return True
        tally.add(extension or PassedOver.NO_EXTENSION)
        return False


def folder_filter(request: Request) -> Filter:
    """The files that a corpus lists below a folder: those with an image's extension."""
    return Filter(request.hidden, extensions_of(request), request.in_order)


def extensions_of(request: Request) -> frozenset[str]:
    """The extensions of images in a corpus."""
    return EXTENSIONS if request.extensions is None else request.extensions


def extension_of(path: str) -> str:
    """The extension of a path, in lower case with its dot; empty if it has none."""
    return os.path.splitext(path)[1].lower()


def is_hidden(path: str) -> bool:
    """Whether a relative path has a part that begins with a dot."""
    return any(part.startswith(".") and part.strip(".") for part in path.split("/"))


def walk(filesystem: Any, base: str, wanted: Filter, limit: Limit, tally: Tally) -> Iterator[FoundFile]:  # noqa: ANN401
    """The files below a folder. Links are followed, but not those that lead back to a folder above them.

    Args:
        filesystem: an fsspec file system.
        base: the folder.
        wanted: which files.
        limit: how long the storage may be silent.
        tally: counts what is skipped.

    Raises:
        OSError: the folder itself cannot be listed.
    """
    if is_local(filesystem):
        return _LocalWalk(wanted, limit, tally).files(base)
    return _walk_remote(filesystem, base, wanted, limit, tally)


@dataclass(frozen=True)
class _LocalWalk:
    """A walk through local folders."""

    wanted: Filter
    limit: Limit
    tally: Tally

    def files(self, base: str) -> Iterator[FoundFile]:
        """The files below a folder: first its own, then those of its folders.

        Raises:
            OSError: the folder cannot be read. Folders below it that cannot be read are counted.
        """
        waiting: list[tuple[str, tuple[_Inode, ...]]] = [(base, ())]
        while waiting:
            folder, above = waiting.pop()
            opened = self._open(folder, above)
            if opened is None:
                continue
            inode, entries = opened
            children: list[str] = []
            with entries as found:
                yield from self._direct_files(found, children)
            if self.wanted.depth is None or len(above) < self.wanted.depth:
                waiting.extend((child, (*above, inode)) for child in reversed(children))

    def _open(self, folder: str, above: tuple[_Inode, ...]) -> "tuple[_Inode, ScandirIterator] | None":
        """A folder's inode and entries; None if it is skipped."""
        try:
            status = os.stat(folder)
            inode = status.st_dev, status.st_ino
            if inode in above:
                self.tally.add(PassedOver.LINK_LOOP)
                return None
            return inode, os.scandir(folder)
        except (PermissionError, FileNotFoundError) as error:
            if not above:
                raise
            if isinstance(error, PermissionError):  # the folder has not just been removed
                self.tally.add(PassedOver.UNREADABLE_FOLDER)
            return None

    def _direct_files(self, entries: "ScandirIterator", children: list[str]) -> Iterator[FoundFile]:
        """The files among a folder's entries; its folders are added to `children`."""
        for entry in sorted(entries, key=lambda entry: entry.name) if self.wanted.ordered else entries:
            self.limit.restart()
            if not self.wanted.hidden and entry.name.startswith("."):
                self.tally.add(PassedOver.HIDDEN)
                continue
            reason = _reason_not_to_open(entry)
            if reason is None and entry.is_dir():
                children.append(entry.path)
            elif self.wanted.matches(entry.path):
                yield from self._file(entry, reason)

    def _file(self, entry: "os.DirEntry[str]", reason: PassedOver | None) -> Iterator[FoundFile]:
        """The file of an entry that is not a folder; nothing if it is skipped."""
        if reason is not None:
            self.tally.add(reason)
        elif self.wanted.accepts(entry.path, self.tally):
            try:
                status = entry.stat()
            except FileNotFoundError:  # removed since the folder was read
                return
            yield FoundFile(entry.path, status.st_size, versions.of_status(status))


def _reason_not_to_open(entry: "os.DirEntry[str]") -> PassedOver | None:
    """Why an entry is neither a file nor a folder; None if it is one of them."""
    try:
        if entry.is_dir() or entry.is_file():
            return None
    except PermissionError:
        return PassedOver.UNREADABLE_LINK
    except OSError as error:
        if error.errno == errno.ELOOP:
            return PassedOver.LINK_LOOP
        raise
    return PassedOver.DANGLING_LINK if entry.is_symlink() and not os.path.exists(entry.path) else PassedOver.NOT_A_FILE


def _walk_remote(
    filesystem: Any,  # noqa: ANN401 - fsspec has no types
    base: str,
    wanted: Filter,
    limit: Limit,
    tally: Tally,
) -> Iterator[FoundFile]:
    for folder in _walk_folders(filesystem, base, limit):
        infos = [info for entry in folder.values() for info in _with_empty_folders(filesystem, entry, limit)]
        for info in sorted(infos, key=lambda info: str(info["name"])) if wanted.ordered else infos:
            if not wanted.hidden and is_hidden(str(info["name"])[len(base) :]):
                tally.add(PassedOver.HIDDEN)
            elif wanted.accepts(str(info["name"]), tally):
                yield describe(info)


def _walk_folders(filesystem: Any, base: str, limit: Limit) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    """The files of each folder; a folder's files arrive in one answer."""
    folders = filesystem.walk(base, detail=True)
    while True:
        with limit.extend(BULK_S):
            folder = next(folders, None)
        if folder is None:
            return
        yield folder[2]


def _with_empty_folders(filesystem: Any, info: dict[str, Any], limit: Limit) -> list[dict[str, Any]]:  # noqa: ANN401
    """The file itself, or the files below a folder without a name: an object store may have keys with `//`."""
    name = str(info["name"])
    if info["type"] != "directory":
        return [info]
    with limit.extend(BULK_S):
        below: dict[str, dict[str, Any]] = filesystem.find(name, detail=True)
    return [found for path, found in below.items() if path.startswith(f"{name.rstrip('/')}//")]


def found_file(filesystem: Any, path: str) -> FoundFile:  # noqa: ANN401
    """One file.

    Raises:
        OSError: it does not exist or cannot be read.
    """
    if is_local(filesystem):
        status = os.stat(path)
        return FoundFile(path, status.st_size, versions.of_status(status))
    return describe(filesystem.info(path))


def describe(info: dict[str, Any]) -> FoundFile:
    """The file that a store describes."""
    return FoundFile(str(info["name"]), int(info["size"]), versions.of_info(info))
