"""Files under a root as they are. Takes paths, gives hashes and stamps, moves a file within the root."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from workers.store.root import Root

BLOCK = 1 << 20
_STAMPS = ("ETag", "etag", "md5Hash", "crc32c", "ino", "mtime", "created", "LastModified", "last_modified")


@dataclass(frozen=True)
class Content:
    """What a file holds: its size in bytes and its SHA-256."""

    bytes: int
    sha256: str


def content(root: Root, rel: str) -> Content:
    """Read a whole file, in blocks. FileNotFoundError if there is none."""
    hashed, size = hashlib.sha256(), 0
    with root.open(rel) as file:
        while block := file.read(BLOCK):
            hashed.update(block)
            size += len(block)
    return Content(size, hashed.hexdigest())


def stamps(root: Root, folder: str) -> dict[str, str]:
    """What changes when a file changes, by name, of the files directly below a folder; one listing."""
    root.filesystem.invalidate_cache()
    try:
        entries = root.filesystem.ls(root.path(folder), detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {
        str(entry["name"]).rpartition("/")[2]: " ".join(f"{entry[key]}" for key in ("size", *_STAMPS) if key in entry)
        for entry in entries
        if entry["type"] == "file"
    }


def move(root: Root, rel: str, to: str) -> None:
    """Move a file within a root; it appears whole, and one that is there is replaced. FileNotFoundError if there is none."""
    if not root.is_local:
        root.filesystem.cp_file(root.path(rel), root.path(to))
        root.delete(rel)
        return
    target = Path(root.path(to))
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(root.path(rel), target)
    for folder in (target.parent, Path(root.path(rel)).parent):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
