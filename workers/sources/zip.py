"""Corpora that are ZIP archives. Takes an archive, gives an entry per image; reads members by their place."""

import bz2
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from workers.errors import CorpusError, Reason, Rejected
from workers.sources.blocks import Blocks, open_blocks
from workers.sources.containers import Container, ContainerSource
from workers.sources.member_uris import MemberUri
from workers.sources.members import Members
from workers.sources.source import Alive, PassedOver, SourceEntry, nothing
from workers.sources.walking import is_hidden

SCHEME = "zip"
_HEADER = struct.Struct(
    "<4s5H3I2H"
)  # of a member: signature, 5 fields with the method third, CRC, two sizes, two lengths
_SIGNATURE = b"PK\3\4"
_ENCRYPTED = 1  # bit of a member's flags
_SYMLINK = 0o120000
_CRC_FOLLOWS = 1 << 3  # bit of a member's flags: its checksum stands behind its data
_DESCRIPTOR = b"PK\7\x08"
_MOST_OVERHEAD = 4096  # bytes by which a compressed member may be larger than its image


def _stored(data: bytes, most_bytes: int) -> bytes:
    return data[:most_bytes]


def _inflate(data: bytes, most_bytes: int) -> bytes:
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, most_bytes)


def _unpack_bz2(data: bytes, most_bytes: int) -> bytes:
    return bz2.BZ2Decompressor().decompress(data, most_bytes)


# By the number of the method, a function of the compressed bytes and the most bytes to give.
METHODS: dict[int, Callable[[bytes, int], bytes]] = {
    zipfile.ZIP_STORED: _stored,
    zipfile.ZIP_DEFLATED: _inflate,
    zipfile.ZIP_BZIP2: _unpack_bz2,
}


def _images(container: Container) -> Iterator[SourceEntry]:
    """The images of one archive, in the order of its central directory.

    Raises:
        CorpusError: the archive is damaged, or changed while it was being listed.
    """
    with container.open() as (file, etag):
        try:
            members = zipfile.ZipFile(file).infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            raise CorpusError(f"archive {container.place!r} is damaged or not a ZIP archive: {error}") from error
        for member in members:
            container.limit.restart()
            if member.header_offset < 0:
                problem = "its central directory is not where the end record says"
                raise CorpusError(f"archive {container.place!r} is damaged: {problem}")
            if not member.is_dir() and _is_wanted(member, container):
                name = member.filename.removeprefix("./")
                yield SourceEntry(
                    image_id=container.prefix + name,
                    uri=str(MemberUri(SCHEME, name, container.place, f"{member.header_offset}+{member.compress_size}")),
                    bytes=member.file_size,
                    etag=etag,
                    path=name,
                )


def _is_wanted(member: zipfile.ZipInfo, container: Container) -> bool:
    """Whether a member is listed; if not, it is counted as skipped."""
    reason = _reason_against(member, container)
    if reason:
        container.tally.add(reason)
        return False
    return container.wanted.accepts(member.filename, container.tally)


def _reason_against(member: zipfile.ZipInfo, container: Container) -> PassedOver | None:
    """Why a member is not listed, whatever its extension; None if there is no reason."""
    if not container.wanted.hidden and is_hidden(member.filename):
        return PassedOver.HIDDEN
    if (member.external_attr >> 16) & 0o170000 == _SYMLINK:
        return PassedOver.NOT_A_FILE
    if member.flag_bits & _ENCRYPTED:
        return PassedOver.ENCRYPTED
    return None if member.compress_type in METHODS else PassedOver.COMPRESSION


@dataclass(frozen=True)
class _ZipReader:
    """Reads members by the offset of their header and their compressed size."""

    blocks: Blocks

    def read(self, member: MemberUri, expected_bytes: int, alive: Alive = nothing) -> bytes:
        """The bytes of a member; see `MemberReader`.

        Raises:
            Rejected: the member is damaged.
        """
        del alive
        offset, size = map(int, member.place.split("+"))
        header = self.blocks.range(offset, _HEADER.size)
        if len(header) < _HEADER.size or not header.startswith(_SIGNATURE):
            raise Rejected(Reason.DAMAGED, "the archive has no member at this place")
        if size > expected_bytes + expected_bytes // 8 + _MOST_OVERHEAD:
            raise Rejected(
                Reason.DAMAGED,
                f"the archive's member has {size} compressed bytes for {expected_bytes} uncompressed ones",
            )
        _, _, flags, method, _, _, crc, _, _, name, extra = _HEADER.unpack(header)
        start = offset + _HEADER.size + name + extra
        data = _unpack(method, self.blocks.range(start, size), expected_bytes)
        if flags & _CRC_FOLLOWS:
            crc = _checksum(self.blocks.range(start + size, 8))
        if zlib.crc32(data) != crc:
            raise Rejected(Reason.DAMAGED, "the archive's member does not match its checksum")
        return data


def _unpack(method: int, packed: bytes, expected_bytes: int) -> bytes:
    """The data of a member.

    Raises:
        Rejected: the data are damaged.
    """
    try:
        data = METHODS[method](packed, expected_bytes + 1)
    except (zlib.error, OSError, KeyError, EOFError) as error:
        raise Rejected(Reason.DAMAGED, f"the archive's member cannot be decompressed: {error}") from error
    if len(data) != expected_bytes:
        raise Rejected(Reason.DAMAGED, f"the archive's member has {len(data)} bytes instead of {expected_bytes}")
    return data


def _checksum(following: bytes) -> int:
    """The checksum in the bytes behind a member's data, which may begin with a signature."""
    return int.from_bytes(following[4:8] if following.startswith(_DESCRIPTOR) else following[:4], "little")


ZIP = ContainerSource(
    "archive", (".zip",), _images, Members(SCHEME, lambda archive, _: _ZipReader(open_blocks(archive)))
)
