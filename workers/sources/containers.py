"""Corpora of files that hold many images. Takes a path, a glob or a range, gives the files and where they stand in ids."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import IO, Any

from workers import locations
from workers.errors import CorpusError, Reason
from workers.files import is_local
from workers.host.hangs import Limit
from workers.sources import globs, members
from workers.sources.columns import as_text
from workers.sources.finding import find
from workers.sources.folder import FolderSource
from workers.sources.single_files import is_folder, open_corpus
from workers.sources.source import Access, Request, SourceEntry, Tally
from workers.sources.walking import Filter, extension_of, folder_filter, walk


@dataclass(frozen=True)
class Container:
    """One file that holds images.

    Attributes:
        filesystem: its fsspec file system.
        path: its path there.
        prefix: what the ids of its images begin with.
        request: the corpus that names it.
        limit: how long the storage may be silent.
        tally: counts what is skipped.
    """

    filesystem: Any
    path: str
    prefix: str
    request: Request
    limit: Limit
    tally: Tally

    @cached_property
    def wanted(self) -> Filter:
        """Which names in it are listed."""
        return folder_filter(self.request)

    @cached_property
    def place(self) -> str:
        """Its path or URL, as in uris."""
        return self.path if is_local(self.filesystem) else str(self.filesystem.unstrip_protocol(self.path))

    @contextmanager
    def open(self) -> Iterator[tuple[IO[bytes], str]]:
        """The open file and its etag.

        Raises:
            CorpusError: it changes within the `with` block.
        """
        with self.unchanged() as etag, self.filesystem.open(self.path, "rb") as file:
            yield file, etag

    @contextmanager
    def unchanged(self) -> Iterator[str]:
        """The etag of the file.

        Raises:
            CorpusError: the file changes within the `with` block.
        """
        etag = members.version_of(self.filesystem, self.path)
        yield etag
        if members.version_of(self.filesystem, self.path) != etag:
            raise CorpusError(f"file {self.place!r} changed while it was being listed; run the same command again")


@dataclass(frozen=True)
class ContainerSource:
    """A corpus of files of one kind, each of which holds images; a `Source`.

    Attributes:
        what: the kind of file, for errors.
        suffixes: what the names of such files end with.
        images: the images of one file.
        access: reads these images.
        may_be_list: whether the file may name its images instead of holding them.
    """

    what: str
    suffixes: tuple[str, ...]
    images: Callable[[Container], Iterator[SourceEntry]]
    access: Access
    may_be_list: bool = False

    def accepts(self, source: str) -> bool:
        """Whether it ends like the name of such a file."""
        given = globs.expand(source)
        return bool(given) and all(map(self._is_own, given)) and "://" not in source.partition("://")[2]

    def absolute(self, source: str, folder: PurePath) -> str:
        """The path or glob, resolved against `folder` if relative."""
        return locations.absolute(source, folder)

    def places(self, source: str, within: str | None = None) -> tuple[str, ...]:
        """The files, as they are given, and the folder of the images that they name."""
        given = globs.expand(source)
        if not self.may_be_list:
            return tuple(given)
        folders = [within] if within else [globs.base_of(place) for place in given]
        return tuple(dict.fromkeys([*given, *folders]))

    def entries(self, request: Request, limit: Limit, tally: Tally) -> Iterator[SourceEntry]:
        """An entry for each image; see `Source`."""
        filesystem, path = open_corpus(request.source)
        if is_folder(filesystem, path, limit):  # Spark, for one, writes folders with the names of Parquet files
            return self.in_folder(request, limit, tally)
        found = find_containers(filesystem, request, path, self.what, limit, tally)
        return (entry for container in found for entry in self.images(container))

    def in_folder(self, request: Request, limit: Limit, tally: Tally) -> Iterator[SourceEntry]:
        """An entry for each image of a folder, or, if there is no image, for those in its files of this kind."""
        return images_or_files(FolderSource().entries(request, limit, tally), (self,), request, limit, tally)

    def files_in_folder(self, request: Request, limit: Limit, tally: Tally) -> Iterator[SourceEntry]:
        """An entry for each image in the files of this kind below a folder."""
        filesystem, base = open_corpus(request.source)
        wanted = Filter(request.hidden, None, ordered=True, matches=self._is_own)
        for path in sorted(file.path for file in walk(filesystem, base.rstrip("/"), wanted, limit, Tally())):
            tally.take_back(extension_of(path))
            name = path[len(base.rstrip("/")) :].lstrip("/")
            if "::" in path or as_text(name) != name:
                yield SourceEntry(as_text(name), as_text(path), 0, "", refused=Reason.BAD_NAME)
            else:
                yield from self.images(Container(filesystem, path, f"{name}/", request, limit, tally))

    def _is_own(self, path: str) -> bool:
        """Whether a name ends like that of such a file."""
        return path.lower().endswith(self.suffixes)


def images_or_files(
    images: Iterator[SourceEntry],
    kinds: tuple[ContainerSource, ...],
    request: Request,
    limit: Limit,
    tally: Tally,
) -> Iterator[SourceEntry]:
    """The images of a folder; if it has none, those in its files of these kinds."""
    first = next(images, None)
    if first is not None:
        yield first
        yield from images
        return
    for kind in kinds:
        yield from kind.files_in_folder(request, limit, tally)


def find_containers(
    filesystem: Any,  # noqa: ANN401 - fsspec has no types
    request: Request,
    path: str,
    what: str,
    limit: Limit,
    tally: Tally,
) -> list[Container]:
    """The files that a corpus names, sorted.

    Image ids begin with a file's path below the folder that the globs of the corpus share. That folder follows from the text
    alone: an image keeps its id when the glob matches another file. With a single file, ids have no such beginning.

    Args:
        filesystem: an fsspec file system.
        request: the corpus.
        path: its path in the file system.
        what: the kind of file, for errors.
        limit: how long the storage may be silent.
        tally: counts what is skipped.

    Raises:
        CorpusError: there is no such file.
    """
    given = globs.expand(path)
    found = {file for glob in given for file in _files(filesystem, request, glob, what, limit, tally)}
    for name in sorted(found):
        if "::" in name:
            raise CorpusError(f"{what} {name!r} cannot be read, because '::' in a name chains file systems; rename it")
        if as_text(name) != name:
            raise CorpusError(f"{what} {as_text(name)!r} cannot be read, because its name is not UTF-8; rename it")
    base = None if given == [path] and not globs.is_glob(path) else globs.common_base(given)
    return [
        Container(filesystem, name, "" if base is None else f"{name[len(base) :].lstrip('/')}/", request, limit, tally)
        for name in sorted(found)
    ]


def _files(
    filesystem: Any,  # noqa: ANN401 - fsspec has no types
    request: Request,
    glob: str,
    what: str,
    limit: Limit,
    tally: Tally,
) -> list[str]:
    """The files of one glob, or of one path.

    Raises:
        CorpusError: there is none.
    """
    limit.restart()
    if globs.is_glob(glob):
        found = [file.path for file in find(filesystem, Request(request.source), glob, limit, tally)]
        if not found:
            raise CorpusError(f"corpus {request.source!r} matches no {what}; give the path of one, or another glob")
        return found
    try:
        filesystem.info(glob)  # unlike `isfile`, it does not take any error of a store for a missing file
    except (FileNotFoundError, NotADirectoryError):
        raise CorpusError(f"corpus {request.source!r} names {glob!r}, which does not exist") from None
    if not filesystem.isfile(glob):
        raise CorpusError(f"corpus {request.source!r} names {glob!r}, which is not a file")
    return [glob]
