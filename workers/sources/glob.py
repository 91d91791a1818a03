"""Corpora that are globs. Takes a glob of any file system, gives an entry for each file that it matches."""

from collections.abc import Iterator
from pathlib import PurePath

from workers import locations
from workers.host.hangs import Limit
from workers.sources import globs
from workers.sources.dataset_folder import DatasetFolder
from workers.sources.finding import find
from workers.sources.single_files import SINGLE_FILES, is_folder, make_entries, open_corpus
from workers.sources.source import Access, Request, SourceEntry, Tally


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
            return DatasetFolder().entries(request, limit, tally)
        return make_entries(
            find(filesystem, request, path, limit, tally), globs.common_base(globs.expand(path)), filesystem
        )
