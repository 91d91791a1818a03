"""Corpora that are globs. Takes a glob of any file system, gives an entry for each file that it matches."""

from collections.abc import Iterator
from pathlib import PurePath

from workers import locations
from workers.formats import FRAME
from workers.host.hangs import Limit
from workers.sources import globs
from workers.sources.dataset_folder import DatasetFolder
from workers.sources.finding import find
from workers.sources.single_files import SINGLE_FILES, is_folder, make_entries, open_corpus
from workers.sources.source import Access, Request, SourceEntry, Tally
from workers.sources.walking import extension_of


class GlobSource:
    """All files that a glob matches, whatever their names, but no videos. An existing folder of that name is a folder."""

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
        found = (file for file in find(filesystem, request, path, limit, tally) if _is_image(file.path, request, tally))
        return make_entries(found, globs.common_base(globs.expand(path)), filesystem)


def _is_image(path: str, request: Request, tally: Tally) -> bool:
    """Whether a file may be an image: any but a video, unless the corpus names that extension. A video is counted."""
    extension = extension_of(path)
    if extension not in FRAME.extensions or extension in (request.extensions or ()):
        return True
    tally.add(extension)
    return False
