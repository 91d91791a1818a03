"""The uris of images inside a larger file. Takes a kind, member, file and place, gives a uri, and back.

`tar://MEMBER::ARCHIVE#OFFSET`, `zip://MEMBER::ARCHIVE#OFFSET+LENGTH` and `parquet://COLUMN::FILE#ROW`. Without the place, those
of archives are fsspec's own chained URLs. With it, a member is read without reading the file from its start.
"""

import re
from typing import NamedTuple

_PLACE = re.compile(r"[0-9]+(?:\+[0-9]+)?")


class MemberUri(NamedTuple):
    """The place of one image.

    Attributes:
        scheme: kind of the file: tar, zip or parquet.
        member: name of the member, or of the column; may contain anything.
        file: path or URL of the file, without `::`.
        place: where in the file, in the words of its kind.
    """

    scheme: str
    member: str
    file: str
    place: str

    def __str__(self) -> str:
        """The uri."""
        return f"{self.scheme}://{self.member}::{self.file}#{self.place}"


def is_member(uri: str, scheme: str) -> bool:
    """Whether a uri is that of an image in a file of this kind."""
    head, _, place = uri.rpartition("#")
    return uri.startswith(f"{scheme}://") and "::" in head and _PLACE.fullmatch(place) is not None


def parse(uri: str) -> MemberUri:
    """The parts of a uri for which `is_member` is true."""
    head, _, place = uri.rpartition("#")
    scheme, _, rest = head.partition("://")
    member, _, file = rest.rpartition("::")
    return MemberUri(scheme, member, file, place)
