"""Parquet files that carry their own hash. Takes the bytes of one, seals them; says whether bytes are the ones that were sealed.

Page checksums cover neither footers nor page headers; a footer with one flipped bit can crash pyarrow, or have it loop for ever.
"""

import hashlib

NAME = b"deconvoy.sha256"  # of the footer's entry
BLANK = b"0" * 64  # its value while the hash is taken
_TYPE_AND_LENGTH = 2  # bytes between the entry's name and its value


def seal(data: bytes) -> bytes:
    """A file whose footer's entry is blank, with its hash there."""
    at = data.rindex(BLANK)
    return b"".join((data[:at], hashlib.sha256(data).hexdigest().encode(), data[at + len(BLANK) :]))


def is_broken(data: bytes) -> bool:
    """Whether a file says that it was sealed and is not what was sealed. An older version sealed none."""
    at = data.rfind(NAME)
    if at < 0:
        return False
    start = at + len(NAME) + _TYPE_AND_LENGTH
    whole, hashed = memoryview(data), hashlib.sha256()
    for piece in (whole[:start], BLANK, whole[start + len(BLANK) :]):
        hashed.update(piece)
    return hashed.hexdigest().encode() != data[start : start + len(BLANK)]
