"""Corpora that are globs. Takes a glob of any file system, gives an entry for each file that it matches."""

from collections.abc import Iterator
from pathlib import PurePath

from workers import locations
from workers.host.hangs import Limit
from workers.sources.folder import Folder
from workers.sources.single_files import SINGLE_FILES, entries_below, listable
from workers.sources.source import Access, Entry
from workers.sources.walking import globbed


class Glob:
    """All files that a glob matches, whatever their names."""

    access: Access = SINGLE_FILES

    def accepts(self, source: str) -> bool:
        """Whether there is a sign of a glob in it."""
        return locations.is_pattern(source)

    def absolute(self, source: str, folder: PurePath) -> str:
        """A relative glob below `folder`."""
        return locations.absolute(source, folder)

    def places(self, source: str) -> tuple[str, ...]:
        """The glob itself."""
        return (source,)

    def entries(self, source: str, limit: Limit) -> Iterator[Entry]:
        """An entry for each file; see `Source`."""
        filesystem, path = listable(source)
        if not locations.is_pattern(path):  # the signs are in the archive's name of a chain
            return Folder().entries(source, limit)
        base = locations.before_pattern(path)
        return entries_below(globbed(filesystem, path, base, limit), base, filesystem)
