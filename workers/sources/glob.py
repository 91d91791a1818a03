"""Corpora that are globs. Takes a glob of any file system, gives an entry for each file that it matches."""

from collections.abc import Iterator
from pathlib import PurePath

from workers import locations
from workers.host.hangs import Limit
from workers.sources.folder import FolderSource
from workers.sources.single_files import SINGLE_FILES, make_entries, open_corpus
from workers.sources.source import Access, SourceEntry
from workers.sources.walking import glob_files


class GlobSource:
    """All files that a glob matches, whatever their names."""

    access: Access = SINGLE_FILES

    def accepts(self, source: str) -> bool:
        """Whether it contains a wildcard."""
        return locations.is_pattern(source)

    def absolute(self, source: str, folder: PurePath) -> str:
        """The glob, resolved against `folder` if relative."""
        return locations.absolute(source, folder)

    def places(self, source: str) -> tuple[str, ...]:
        """The glob itself."""
        return (source,)

    def entries(self, source: str, limit: Limit) -> Iterator[SourceEntry]:
        """An entry for each file; see `Source`."""
        filesystem, path = open_corpus(source)
        if not locations.is_pattern(path):  # the wildcards are in the name of the archive of a chained URL
            return FolderSource().entries(source, limit)
        base = locations.before_pattern(path)
        return make_entries(glob_files(filesystem, path, base, limit), base, filesystem)
