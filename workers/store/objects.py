"""Objects of a remote store. Takes an fsspec file system and its own paths; tries each operation once."""

from typing import Any

from fsspec import AbstractFileSystem

Info = dict[str, Any]


def exists(filesystem: AbstractFileSystem, path: str) -> bool:
    """Whether a file exists. fsspec's own `exists` takes any error for a missing file."""
    filesystem.invalidate_cache()
    try:
        filesystem.info(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def create(filesystem: AbstractFileSystem, path: str, data: bytes) -> bool:
    """Write an object unless it exists; returns whether it was written."""
    try:
        with filesystem.open(path, "xb") as file:
            file.write(data)
    except FileExistsError:
        return False
    return True


def copy(filesystem: AbstractFileSystem, path: str, to: str) -> None:
    """Copy an object, within the store if the store supports that."""
    try:
        filesystem.cp_file(path, to)
    except NotImplementedError:
        filesystem.pipe_file(to, filesystem.cat_file(path))


def entries(filesystem: AbstractFileSystem, path: str) -> list[Info]:
    """The entries directly below a path."""
    filesystem.invalidate_cache()
    return list(filesystem.ls(path, detail=True))


def name(entry: Info) -> str:
    """The name of an entry, without the folders above it."""
    return str(entry["name"]).rstrip("/").rpartition("/")[2]


def lists_all_at_once(filesystem: AbstractFileSystem) -> bool:
    """Whether the file system has its own `find`. fsspec's walks, and takes a folder that it cannot list for empty."""
    return getattr(filesystem.find, "__func__", None) is not AbstractFileSystem.find


def below(filesystem: AbstractFileSystem, path: str, depth: int | None) -> dict[str, Info]:
    """All objects below a path, at most `depth` folders deep, by the file system's own paths."""
    filesystem.invalidate_cache()
    infos = filesystem.find(path, detail=True)
    depths = {name: name.removeprefix(path).strip("/").count("/") + 1 for name in infos}
    return {name: info for name, info in infos.items() if depth is None or depths[name] <= depth}
