"""Content and versions of files under a root. Takes paths, gives hashes, and stamps that change when a file is replaced."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from workers.store.root import Root

BLOCK = 1 << 20
# Names of file properties in various file systems; when a file changes, at least one of them changes.
VERSIONS = (
    "ETag",
    "etag",
    "generation",
    "md5Hash",
    "crc32c",
    "ino",
    "mtime",
    "created",
    "LastModified",
    "last_modified",
)


@dataclass(frozen=True)
class Content:
    """The content of a file: its size in bytes and its SHA-256."""

    bytes: int
    sha256: str


def content(root: Root, rel: str) -> Content:
    """Read and hash a whole file. FileNotFoundError if there is no file."""
    with root.open(rel) as file:
        return content_of(file)


def content_of(file: BinaryIO) -> Content:
    """Read and hash the rest of an open file, in blocks."""
    hashed, size = hashlib.sha256(), 0
    while block := file.read(BLOCK):
        hashed.update(block)
        size += len(block)
    return Content(size, hashed.hexdigest())


def stamp(root: Root, rel: str) -> str:
    """A text that changes when a file changes: its size in bytes and its versions. FileNotFoundError if there is no file."""
    return _stamp(root.info(rel))


def stamps(root: Root, folder: str, depth: int | None = None) -> dict[str, str]:
    """The stamps of all files below a folder, by path under the root; empty if there is no folder.

    Args:
        root: the root.
        folder: path under the root.
        depth: maximum depth of folders; None for no limit.
    """
    return {rel: _stamp(info) for rel, info in root.below(folder, depth).items()}


def stamps_beside(root: Root, folder: str) -> dict[str, str]:
    """The stamps of the files directly below a folder, by name."""
    directly = ((rel.removeprefix(f"{folder}/"), stamp) for rel, stamp in stamps(root, folder, 1).items())
    return {name: stamp for name, stamp in directly if "/" not in name}


def _stamp(info: Mapping[str, Any]) -> str:
    versions = (f"{key}={info[key]}" for key in VERSIONS if info.get(key) is not None)
    return " ".join((str(info["size"]), *versions))
