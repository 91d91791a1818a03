"""Corpora that are globs. Takes a glob of any file system, gives an entry for each file that it matches."""

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from workers import locations
from workers.files import is_local
from workers.host.hangs import Limit
from workers.sources import globs, walking
from workers.sources.folder import FolderSource
from workers.sources.globs import Globs
from workers.sources.single_files import SINGLE_FILES, is_folder, make_entries, open_corpus
from workers.sources.source import Access, PassedOver, Request, SourceEntry, Tally
from workers.sources.walking import Filter, FoundFile, describe, walk


class GlobSource:
    """All files that a glob matches, whatever their names. An existing folder of that name is a folder."""

    access: Access = SINGLE_FILES

    def accepts(self, source: str) -> bool:
        """Whether it contains a wildcard or braces."""
        return globs.is_glob(source)

    def absolute(self, source: str, folder: PurePath) -> str:
        """The glob, resolved against `folder` if relative."""
        return locations.absolute(source, folder)

    def places(self, source: str, within: str | None = None) -> tuple[str, ...]:
        """The globs that it stands for."""
        del within
        return tuple(globs.expand(source))

    def entries(self, request: Request, limit: Limit, tally: Tally) -> Iterator[SourceEntry]:
        """An entry for each file; see `Source`."""
        filesystem, path = open_corpus(request.source)
        if not globs.is_glob(path) or is_folder(filesystem, path, limit):
            return FolderSource().entries(request, limit, tally)
        return make_entries(
            find(filesystem, request, path, limit, tally), globs.common_base(globs.expand(path)), filesystem
        )


def find(filesystem: Any, request: Request, path: str, limit: Limit, tally: Tally) -> Iterator[FoundFile]:  # noqa: ANN401
    """The files that a glob with braces matches.

    Args:
        filesystem: an fsspec file system.
        request: the corpus.
        path: the glob, as a path of the file system.
        limit: how long the storage may be silent.
        tally: counts what matches and is no file.

    Raises:
        CorpusError: the glob is not valid.
    """
    groups = globs.group(globs.expand(path))
    return (file for group in groups for file in _files(filesystem, group, request, limit, tally))


def _files(filesystem: Any, group: Globs, request: Request, limit: Limit, tally: Tally) -> Iterator[FoundFile]:  # noqa: ANN401
    wanted = Filter(True, request.extensions, request.most is not None, group.matcher(), group.depth)
    filesystem.exists(group.base)  # a dead storage exceeds the short limit here, before the long one begins
    if not is_local(filesystem):
        yield from _remote_files(filesystem, group, wanted, limit, tally)
    elif filesystem.isdir(group.base):
        yield from walk(filesystem, group.base, wanted, limit, tally)


def _remote_files(filesystem: Any, group: Globs, wanted: Filter, limit: Limit, tally: Tally) -> Iterator[FoundFile]:  # noqa: ANN401
    found: dict[str, dict[str, Any]] = {}
    for glob in group.globs:
        with limit.extend(walking.BULK_S):
            found.update(filesystem.glob(glob, detail=True))
    for path, info in sorted(found.items()):
        limit.restart()
        if info["type"] == "file" and wanted.accepts(path, tally):
            yield describe(info)
        elif info["type"] not in ("file", "directory"):
            tally.add(PassedOver.NOT_A_FILE)
