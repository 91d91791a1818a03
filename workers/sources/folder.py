"""Corpora that are folders. Takes a folder of any file system, gives an entry for each image below it."""

from collections.abc import Iterator
from pathlib import PurePath

from workers import locations
from workers.host.hangs import Limit
from workers.sources.single_files import SINGLE_FILES, make_entries, open_corpus
from workers.sources.source import Access, SourceEntry
from workers.sources.walking import walk_folder


class FolderSource:
    """All images below a folder: files with a known extension that are not hidden."""

    access: Access = SINGLE_FILES

    def accepts(self, source: str) -> bool:
        """Always true: this is the last source of the registry."""
        del source
        return True

    def absolute(self, source: str, folder: PurePath) -> str:
        """The path, resolved against `folder` if relative."""
        return locations.absolute(source, folder)

    def places(self, source: str) -> tuple[str, ...]:
        """The folder itself."""
        return (source,)

    def entries(self, source: str, limit: Limit) -> Iterator[SourceEntry]:
        """An entry for each image; see `Source`."""
        filesystem, path = open_corpus(source)
        base = path.rstrip("/")
        return make_entries(walk_folder(filesystem, base, source, limit), base, filesystem)
