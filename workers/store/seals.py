"""Parquet files that contain their own hash. Takes a file's bytes, gives sealed bytes; checks whether a seal is intact.

Page checksums cover neither footers nor page headers. A footer with one flipped bit can crash pyarrow, or make it loop forever.
"""

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

NAME = b"deconvoy.sha256"  # name of the footer's entry
BLANK = b"0" * 64  # value of the entry while the hash is computed
_TAIL = 8  # bytes of the footer's length and of the magic number, at the end of a file
_TYPE_AND_LENGTH = 2  # bytes between the entry's name and its value


def seal(data: bytes) -> bytes:
    """Replace the blank entry in the footer by the file's hash."""
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
    """Offset of the blank entry in the footer. The footer's length is stored before the last four bytes."""
    file.seek(-_TAIL, os.SEEK_END)
    footer_bytes = int.from_bytes(file.read(4), "little")
    start = file.seek(-_TAIL - footer_bytes, os.SEEK_END)
    return start + file.read(footer_bytes).rindex(BLANK)


def is_broken(data: bytes) -> bool:
    """Whether a file is sealed and its hash differs. Files of older versions are not sealed."""
    at = data.rfind(NAME)
    if at < 0:
        return False
    start = at + len(NAME) + _TYPE_AND_LENGTH
    view, hashed = memoryview(data), hashlib.sha256()
    for piece in (view[:start], BLANK, view[start + len(BLANK) :]):
        hashed.update(piece)
    return hashed.hexdigest().encode() != data[start : start + len(BLANK)]
