"""Corpora that are folders or single images. Takes a folder of any file system, gives an entry for each image below it."""

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from workers import locations
from workers.errors import CorpusError
from workers.host.hangs import Limit
from workers.sources.single_files import SINGLE_FILES, is_folder, make_entries, open_corpus
from workers.sources.source import Access, Request, SourceEntry, Tally
from workers.sources.walking import extension_of, extensions_of, folder_filter, found_file, walk


class FolderSource:
    """All images below a folder: files with a known extension that are not hidden. A single image is a corpus of one."""

    access: Access = SINGLE_FILES

    def accepts(self, source: str) -> bool:
        """Always true: this is the last source of the registry."""
        del source
        return True

    def absolute(self, source: str, folder: PurePath) -> str:
        """The path, resolved against `folder` if relative."""
        return locations.absolute(source, folder)

    def places(self, source: str, within: str | None = None) -> tuple[str, ...]:
        """The folder itself."""
        del within
        return (source,)

    def entries(self, request: Request, limit: Limit, tally: Tally) -> Iterator[SourceEntry]:
        """An entry for each image; see `Source`."""
        filesystem, path = open_corpus(request.source)
        if is_folder(filesystem, path, limit):
            base = path.rstrip("/")
            return make_entries(walk(filesystem, base, folder_filter(request), limit, tally), base, filesystem)
        _require_image(filesystem, path, request)
        return make_entries(iter([found_file(filesystem, path)]), path.rpartition("/")[0], filesystem)


def _require_image(filesystem: Any, path: str, request: Request) -> None:  # noqa: ANN401
    """Refuse a corpus that is not a folder, unless it is a file with the extension of an image."""
    try:
        filesystem.info(path)  # unlike `exists`, it does not take any error of a store for a missing file
    except (FileNotFoundError, NotADirectoryError):
        raise CorpusError(
            f"corpus {request.source!r} does not exist; give an existing folder, or a glob such as 'photos/**/*.jpg'"
        ) from None
    if extension_of(path) not in extensions_of(request) or not filesystem.isfile(path):
        raise CorpusError(
            f"corpus {request.source!r} is neither a folder nor a file with the extension of an image "
            f"({' '.join(sorted(extensions_of(request)))})"
        )
