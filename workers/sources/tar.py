"""Corpora that are tar archives, WebDataset's among them. Takes an archive, a glob or a range, gives an entry per image."""

import gzip
import os
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Literal

from workers.errors import CorpusError, Reason
from workers.sources.blocks import Blocks, is_compressed, open_blocks
from workers.sources.containers import Container, ContainerSource
from workers.sources.member_uris import MemberUri
from workers.sources.members import Members
from workers.sources.sidecars import SIDECARS, Sample, sample_of
from workers.sources.source import Alive, PassedOver, SourceEntry, nothing
from workers.sources.walking import extension_of, is_hidden

SCHEME = "tar"
_MARK = 512  # bytes of a block; an archive ends with blocks of zeros
_BLOCK = 1 << 20  # bytes read at once


def _images(container: Container) -> Iterator[SourceEntry]:
    """The images of one archive, in its order.

    Raises:
        CorpusError: the archive is damaged, or changed while it was being listed.
    """
    with container.open() as (file, etag):
        for sample in _samples(container, file):
            label = sample.label()
            for member in sample.images:
                name = member.name.removeprefix("./")
                text = os.fsencode(name).decode("utf-8", "backslashreplace")
                yield SourceEntry(
                    image_id=container.prefix + text,
                    uri=str(MemberUri(SCHEME, text, container.place, str(member.offset_data))),
                    bytes=member.size,
                    etag=etag,
                    refused=None if text == name else Reason.BAD_NAME,
                    label=label,
                    path=text,
                )


def _samples(container: Container, file: IO[bytes]) -> Iterator[Sample]:
    """The samples of an archive: consecutive members whose names are equal up to their first dot."""
    mode: Literal["r:gz", "r:"] = "r:gz" if is_compressed(container.path) else "r:"
    count = 0
    try:
        with tarfile.open(fileobj=file, mode=mode, errors="surrogateescape") as archive:
            sample = Sample("")
            for member in _members(archive):
                count += 1
                container.limit.restart()
                name = sample_of(member.name)
                if name != sample.name:
                    yield sample
                    sample = Sample(name)
                _add(sample, archive, member, container)
            yield sample
            _require_end(archive)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError) as error:
        raise CorpusError(f"archive {container.place!r} is damaged after {count:,} members: {error}") from error


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """All members; each is forgotten once it is given, because an archive may have millions."""
    while (member := archive.next()) is not None:
        yield member
        archive.members = []  # type: ignore[attr-defined]


def _add(sample: Sample, archive: tarfile.TarFile, member: tarfile.TarInfo, container: Container) -> None:
    """Add a member to its sample, or count it as skipped; folders are neither."""
    wanted, tally = container.wanted, container.tally
    if member.isdir():
        return
    if not wanted.hidden and is_hidden(member.name):
        tally.add(PassedOver.HIDDEN)
    elif not member.isreg() or member.issparse():
        tally.add(PassedOver.NOT_A_FILE)
    elif member.size <= SIDECARS.most_bytes and (kind := SIDECARS.kind(member.name)):
        tally.add(extension_of(member.name))
        data = archive.extractfile(member)
        sample.sidecars[kind] = data.read() if data else b""
    elif wanted.accepts(member.name, tally):
        sample.images.append(member)


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
        raise tarfile.ReadError("it has no end-of-archive marker; it was probably truncated")
    while block := file.read(_BLOCK):
        if block.strip(b"\0"):
            raise tarfile.ReadError(
                f"data follows the end-of-archive marker at byte {archive.offset:,}; if archives were joined, give them one "
                "by one"
            )


@dataclass(frozen=True)
class _TarReader:
    """Reads members by the offset of their first byte in the decompressed archive."""

    blocks: Blocks

    def read(self, member: MemberUri, expected_bytes: int, alive: Alive = nothing) -> bytes:
        """The bytes of a member; see `MemberReader`."""
        del alive
        return self.blocks.range(int(member.place), expected_bytes)


# `photos.tar`, `shards/*.tar`, `shards/{0000..0999}.tar`. Members are streamed; their names are data and never become paths.
TAR = ContainerSource(
    "archive",
    (".tar", ".tar.gz", ".tgz"),
    _images,
    Members(SCHEME, lambda archive, _: _TarReader(open_blocks(archive))),
)
