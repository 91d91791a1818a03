"""Corpora that are folders. Takes a folder of any file system, gives an entry for each image below it."""

from collections.abc import Iterator
from pathlib import PurePath

from workers import locations
from workers.host.hangs import Limit
from workers.sources.single_files import SINGLE_FILES, entries_below, listable
from workers.sources.source import Access, Entry
from workers.sources.walking import walked


class Folder:
    """All images below a folder: known extensions, nothing hidden."""

    access: Access = SINGLE_FILES

    def accepts(self, source: str) -> bool:
        """Always: what is nothing else is a folder."""
        del source
        return True

    def absolute(self, source: str, folder: PurePath) -> str:
        """A relative path below `folder`."""
        return locations.absolute(source, folder)

    def places(self, source: str) -> tuple[str, ...]:
        """The folder itself."""
        return (source,)

    def entries(self, source: str, limit: Limit) -> Iterator[Entry]:
        """An entry for each image; see `Source`."""
        filesystem, path = listable(source)
        base = path.rstrip("/")
        return entries_below(walked(filesystem, base, source, limit), base, filesystem)
