"""The uris of members of archives. Takes archive, member and offset, gives a uri, and back.

`tar://MEMBER::ARCHIVE#OFFSET`: without the offset it is fsspec's own chained URL. The offset is that of the member's first
byte in the (decompressed) archive, so that a member is read without reading the archive from its start.
"""

import re
from typing import NamedTuple

SCHEME = "tar://"
_OFFSET = re.compile(r"#(\d+)$")


class MemberUri(NamedTuple):
    """The place of one member."""

    member: str
    archive: str
    offset: int

    def __str__(self) -> str:
        """The uri."""
        return f"{SCHEME}{self.member}::{self.archive}#{self.offset}"


def is_member(uri: str) -> bool:
    """Whether a uri is that of a member."""
    return uri.startswith(SCHEME) and "::" in uri and _OFFSET.search(uri) is not None


def parse(uri: str) -> MemberUri:
    """The parts of a member's uri. The name of a member may contain anything, the path of an archive no `::`."""
    head, _, offset = uri.rpartition("#")
    member, _, archive = head.removeprefix(SCHEME).rpartition("::")
    return MemberUri(member, archive, int(offset))
