"""The files that a glob matches. Takes a file system and a glob, gives the files, streaming."""

from collections.abc import Iterator
from typing import Any

from workers.files import is_local
from workers.host.hangs import Limit
from workers.sources import globs, walking
from workers.sources.globs import Globs
from workers.sources.source import PassedOver, Request, Tally
from workers.sources.walking import Filter, FoundFile, describe, walk


def find(filesystem: Any, request: Request, path: str, limit: Limit, tally: Tally) -> Iterator[FoundFile]:  # noqa: ANN401
    """The files that a glob with braces matches.

    Args:
        filesystem: an fsspec file system.
        request: the corpus.
        path: the glob, as a path of the file system.
        limit: how long the storage may be silent.
        tally: counts what matches but is not a file.

    Raises:
        CorpusError: the glob is not valid.
    """
    groups = globs.group(globs.expand(path))
    return (file for group in groups for file in _files(filesystem, group, request, limit, tally))


def _files(filesystem: Any, group: Globs, request: Request, limit: Limit, tally: Tally) -> Iterator[FoundFile]:  # noqa: ANN401
    wanted = Filter(True, request.extensions, request.in_order, group.matcher(), group.depth)
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
