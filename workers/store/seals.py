"""Parquet files that carry their own hash. Takes the bytes of one, seals them; says whether bytes are the ones that were sealed.

Page checksums cover neither footers nor page headers; a footer with one flipped bit can crash pyarrow, or have it loop for ever.
"""

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

NAME = b"deconvoy.sha256"  # of the footer's entry
BLANK = b"0" * 64  # its value while the hash is taken
_TAIL = 8  # bytes of the footer's length and of the magic number, at the end of a file
_TYPE_AND_LENGTH = 2  # bytes between the entry's name and its value


def seal(data: bytes) -> bytes:
    """A file whose footer's entry is blank, with its hash there."""
    at = data.rindex(BLANK)
    return b"".join((data[:at], hashlib.sha256(data).hexdigest().encode(), data[at + len(BLANK) :]))


def seal_file(path: Path) -> None:
    """Seal a local file in place."""
    with path.open("r+b") as file:
        hashed = hashlib.file_digest(file, "sha256").hexdigest()
        at = _blank_at(file)
        file.seek(at)
        file.write(hashed.encode())


def _blank_at(file: BinaryIO) -> int:
    """Where the blank entry is: in the footer, whose length stands before the last four bytes."""
    file.seek(-_TAIL, os.SEEK_END)
    footer_bytes = int.from_bytes(file.read(4), "little")
    start = file.seek(-_TAIL - footer_bytes, os.SEEK_END)
    return start + file.read(footer_bytes).rindex(BLANK)


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
