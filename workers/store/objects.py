"""Objects of a store that is no folder of this machine. Takes an fsspec file system and its own paths; does each thing once."""

from typing import Any

from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem

Info = dict[str, Any]


def exists(filesystem: AbstractFileSystem, path: str) -> bool:
    """Whether there is such a file; the `exists` of fsspec takes any error for an absent one."""
    filesystem.invalidate_cache()
    try:
        filesystem.info(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def create(filesystem: AbstractFileSystem, path: str, data: bytes) -> bool:
    """Write an object only if there is none; says whether it was written."""
    try:
        with filesystem.open(path, "xb") as file:
            file.write(data)
    except FileExistsError:
        return False
    return True


def copy(filesystem: AbstractFileSystem, path: str, to: str) -> None:
    """Copy an object, within the store if the store can."""
    try:
        filesystem.cp_file(path, to)
    except NotImplementedError:
        filesystem.pipe_file(to, filesystem.cat_file(path))


def entries(filesystem: AbstractFileSystem, path: str) -> list[Info]:
    """What is directly below a path."""
    filesystem.invalidate_cache()
    return list(filesystem.ls(path, detail=True))


def name(entry: Info) -> str:
    """The name of an entry, without the folders above it."""
    return str(entry["name"]).rstrip("/").rpartition("/")[2]


def lists_all_at_once(filesystem: AbstractFileSystem) -> bool:
    """Whether `below` is one listing. The `find` of the others walks, and takes a folder that it cannot list for an empty one."""
    return isinstance(filesystem, AsyncFileSystem)


def below(filesystem: AbstractFileSystem, path: str) -> dict[str, Info]:
    """All objects below a path."""
    filesystem.invalidate_cache()
    return dict(filesystem.find(path, detail=True))
