"""Corpora that are tar archives, WebDataset's among them. Takes an archive, a glob or a range, gives an entry per image."""

import gzip
import os
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import PurePath
from typing import IO, Any, Literal

import bracex

from workers import locations
from workers.errors import CorpusError, Reason
from workers.files import is_local
from workers.host.hangs import Limit
from workers.sources import archives
from workers.sources.archive_uris import MemberUri
from workers.sources.archives import ArchiveMembers
from workers.sources.folder import FolderSource
from workers.sources.sidecars import SIDECARS, Sample, sample_of
from workers.sources.single_files import open_corpus
from workers.sources.source import Access, SourceEntry
from workers.sources.walking import BULK_S, has_image_extension

SUFFIXES = (".tar", ".tar.gz", ".tgz")
MOST_ARCHIVES = 10_000  # that a range may name
_MARK = 512  # bytes of a block; an archive ends with blocks of zeros
_BLOCK = 1 << 20  # bytes read at once


class TarSource:
    """The images in tar archives: `photos.tar`, `shards/*.tar`, `shards/{0000..0999}.tar`.

    Members are streamed; their names are data and never become paths.
    """

    access: Access = ArchiveMembers()

    def accepts(self, source: str) -> bool:
        """Whether it ends like the name of an archive."""
        return source.endswith(SUFFIXES) and "::" not in source

    def absolute(self, source: str, folder: PurePath) -> str:
        """The path or glob, resolved against `folder` if relative."""
        return locations.absolute(source, folder)

    def places(self, source: str) -> tuple[str, ...]:
        """The archives, as they are given."""
        return tuple(_expand(source))

    def entries(self, source: str, limit: Limit) -> Iterator[SourceEntry]:
        """An entry for each image; see `Source`."""
        filesystem, path = open_corpus(source)
        limit.restart()
        if filesystem.isdir(path):  # a folder with the name of an archive
            return FolderSource().entries(source, limit)
        found = _find(filesystem, source, limit)
        base = _base(filesystem, source)
        return (
            entry
            for archive in found
            for entry in _images(
                filesystem, archive, "" if base is None else f"{archive[len(base) :].lstrip('/')}/", limit
            )
        )


def _expand(source: str) -> list[str]:
    try:
        return list(bracex.expand(source, keep_escapes=True, limit=MOST_ARCHIVES))
    except bracex.ExpansionLimitException:
        raise CorpusError(f"corpus {source!r} names more than {MOST_ARCHIVES:,} archives; use a glob") from None
    except RecursionError:
        raise CorpusError("the braces of the corpus are nested too deeply") from None


def _base(filesystem: Any, source: str) -> str | None:  # noqa: ANN401 - fsspec has no types
    """The folder below which archives are named in image ids; None for a single archive.

    It follows from the text alone: an image keeps its id when the glob matches another archive.
    """
    places = _expand(source)
    if places == [source] and not locations.is_pattern(source):
        return None
    paths = [locations.before_pattern(str(filesystem._strip_protocol(place))) for place in places]
    folders = [path.rpartition("/")[0] if path.endswith(SUFFIXES) else path for path in paths]
    return os.path.commonpath(folders)


def _find(filesystem: Any, source: str, limit: Limit) -> list[str]:  # noqa: ANN401 - fsspec has no types
    """The archives, sorted, as paths of the file system."""
    found: set[str] = set()
    for place in _expand(source):
        path = str(filesystem._strip_protocol(place))
        is_glob = locations.is_pattern(path)
        with limit.extend(BULK_S):
            matches = filesystem.glob(path, detail=True) if is_glob else {path: {"type": _kind(filesystem, path)}}
        archives_found = [str(match) for match, info in matches.items() if info["type"] == "file"]
        if not archives_found:
            problem = "matches no archive" if is_glob else f"names {path!r}, which is not a file"
            raise CorpusError(
                f"corpus {source!r} {problem}; give the path of a tar file, or a glob such as 'shards/*.tar'"
            )
        found.update(archives_found)
    chained = next((path for path in sorted(found) if "::" in path), None)
    if chained:
        raise CorpusError(f"archive {chained!r} cannot be read, because '::' in a name joins file systems; rename it")
    return sorted(found)


def _kind(filesystem: Any, path: str) -> str:  # noqa: ANN401 - fsspec has no types
    return "file" if filesystem.isfile(path) else "other"


def _images(filesystem: Any, path: str, prefix: str, limit: Limit) -> Iterator[SourceEntry]:  # noqa: ANN401
    """The images of one archive, in its order.

    Raises:
        CorpusError: the archive is damaged, or changed while it was being listed.
    """
    archive = path if is_local(filesystem) else str(filesystem.unstrip_protocol(path))
    etag = archives.version_of(filesystem, path)
    for sample in _samples(filesystem, path, archive, limit):
        label = sample.label()
        for member in sample.images:
            name = member.name.removeprefix("./")
            text = os.fsencode(name).decode("utf-8", "backslashreplace")
            yield SourceEntry(
                image_id=prefix + text,
                uri=str(MemberUri(text, archive, member.offset_data)),
                bytes=member.size,
                etag=etag,
                refused=None if text == name else Reason.BAD_NAME,
                label=label,
                path=text,
            )
    if archives.version_of(filesystem, path) != etag:
        raise CorpusError(f"archive {archive!r} changed while it was being listed; run the same command again")


def _samples(filesystem: Any, path: str, archive: str, limit: Limit) -> Iterator[Sample]:  # noqa: ANN401
    """The samples of an archive: consecutive members whose names are equal up to their first dot."""
    mode: Literal["r:gz", "r:"] = "r:gz" if archives.is_compressed(path) else "r:"
    count = 0
    try:
        with (
            filesystem.open(path, "rb") as file,
            tarfile.open(fileobj=file, mode=mode, errors="surrogateescape") as members,
        ):
            sample = Sample("")
            for member in _members(members):
                count += 1
                limit.restart()
                name = sample_of(member.name)
                if name != sample.name:
                    yield sample
                    sample = Sample(name)
                _add(sample, members, member)
            yield sample
            _require_end(members)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError) as error:
        raise CorpusError(f"archive {archive!r} is damaged after {count:,} members: {error}") from error


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """All members; each is forgotten once it is given, because an archive may have millions."""
    while (member := archive.next()) is not None:
        yield member
        archive.members = []  # type: ignore[attr-defined]


def _add(sample: Sample, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    if not member.isreg() or member.issparse() or _is_hidden(member.name):
        return
    if has_image_extension(member.name):
        sample.images.append(member)
    elif member.size <= SIDECARS.most_bytes and (kind := SIDECARS.kind(member.name)):
        file = archive.extractfile(member)
        sample.sidecars[kind] = file.read() if file else b""


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") and part.strip(".") for part in name.split("/"))


def _require_end(archive: tarfile.TarFile) -> None:
    """Require an archive to end where its members end.

    `tarfile` takes a damaged header, a cut file and the end of the first of several joined archives for the end.

    Raises:
        ReadError: there is no end mark, or something other than zeros follows it.
    """
    file: IO[bytes] = archive.fileobj  # type: ignore[assignment]
    file.seek(archive.offset)
    mark = file.read(_MARK)
    if mark.strip(b"\0"):
        raise tarfile.ReadError(f"the header at byte {archive.offset:,} is not valid")
    if len(mark) < _MARK:
        raise tarfile.ReadError("it has no end mark; it was probably cut off")
    while block := file.read(_BLOCK):
        if block.strip(b"\0"):
            raise tarfile.ReadError(
                f"more follows its end mark at byte {archive.offset:,}; if archives were joined, give them one by one"
            )
