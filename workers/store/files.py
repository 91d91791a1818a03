"""Files under a root as they are. Takes paths, gives hashes and stamps, moves a file within the root."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

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


def stamp(root: Root, rel: str, file: BinaryIO) -> str:
    """What changes when an open file is replaced."""
    if root.is_local:
        stat = os.stat(root.path(rel))
        return f"{stat.st_dev} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns}"
    details: Any = getattr(file, "details", None) or root.filesystem.info(root.path(rel))
    return f"{root.filesystem.protocol} {details}"


def stamps(root: Root, folder: str, depth: int | None = None) -> dict[str, str]:
    """What changes when a file changes, by path under the root, of all files below a folder; empty if there is none.

    Args:
        root: where to look.
        folder: path under the root.
        depth: how many folders deep to look; all without it.
    """
    root.filesystem.invalidate_cache()
    below = root.filesystem.find(root.path(folder), maxdepth=depth, detail=True)
    found = {}
    for path, entry in below.items():
        rel = f"{folder}/{str(path).rpartition(f'/{folder}/')[2]}"
        found[rel] = _stamp(entry)
    return found


def stamps_beside(root: Root, folder: str) -> dict[str, str]:
    """As `stamps`, by name, of the files directly below a folder; unlike there a folder that cannot be read is an error."""
    return {Path(entry["name"]).name: _stamp(entry) for entry in root.entries(folder) if entry["type"] == "file"}


def _stamp(entry: Mapping[str, Any]) -> str:
    return " ".join(str(entry[key]) for key in ("size", *_STAMPS) if key in entry)


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
