"""A root as some writes would leave it. Takes a root and a temporary folder, reads from both; writes only to the folder."""

import posixpath
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from workers.store import objects
from workers.store.root import Root


class Overlay(Root):
    """A root whose writes go to a temporary folder, for plans of runs. It is used by one thread, and not pickled.

    Args:
        below: the root, which is only read, and need not exist.
        folder: a temporary folder.
    """

    def __init__(self, below: Root, folder: str) -> None:
        super().__init__(below.url, below.patience_s)
        self._below, self._written = below, Root(folder)
        self._deleted, self._moved = set[str](), dict[str, str]()  # files of the root, and where they appear instead

    def read(self, rel: str) -> bytes:
        """As `Root.read`."""
        root, place = self._find(rel)
        return root.read(place)

    def open(self, rel: str) -> BinaryIO:
        """As `Root.open`."""
        root, place = self._find(rel)
        return root.open(place)

    def exists(self, rel: str) -> bool:
        """As `Root.exists`."""
        root, place = self._find(rel)
        return root.exists(place)

    def info(self, rel: str) -> objects.Info:
        """As `Root.info`."""
        root, place = self._find(rel)
        return root.info(place)

    def below(self, folder: str, depth: int | None = None) -> dict[str, objects.Info]:
        """As `Root.below`."""
        infos = self._below.below(folder, depth).items()
        kept = {rel: info for rel, info in infos if rel not in self._deleted}
        return kept | {rel: self.info(rel) for rel in self._moved_into(folder)} | self._written.below(folder, depth)

    def files(self, folder: str) -> dict[str, int]:
        """As `Root.files`."""
        below = self._below.files(folder).items()
        kept = {name: size for name, size in below if f"{folder}/{name}" not in self._deleted}
        moved = {
            posixpath.basename(rel): self.info(rel)["size"]
            for rel in self._moved_into(folder)
            if posixpath.dirname(rel) == folder
        }
        return kept | moved | self._written.files(folder)

    def folders(self, folder: str) -> list[str]:
        """As `Root.folders`."""
        start = f"{folder}/" if folder else ""
        moved = {
            rel.removeprefix(start).partition("/")[0]
            for rel in self._moved_into(folder)
            if posixpath.dirname(rel) != folder
        }
        return sorted({*self._below.folders(folder), *moved, *self._written.folders(folder)})

    def put(self, rel: str, data: bytes, *, private: bool = False) -> None:
        """Write a file to the temporary folder."""
        self.delete(rel)
        self._written.put(rel, data, private=private)

    def put_file(self, file: Path, rel: str) -> None:
        """Move a local file to the temporary folder."""
        self.delete(rel)
        self._written.put_file(file, rel)

    def move(self, rel: str, to: str) -> None:
        """As `Root.move`. A file of the root is not copied."""
        root, place = self._find(rel)
        root.info(place)  # raises if there is no such file
        if root is self._below:
            self.delete(rel)
            self.delete(to)
            self._moved[to] = place
        else:
            self.delete(to)
            self._written.move(rel, to)

    def create(self, rel: str, data: bytes) -> bool:
        """As `Root.create`, in the temporary folder."""
        if self.exists(rel):
            return False
        self.put(rel, data)
        return True

    def delete(self, rel: str) -> None:
        """Hide a file."""
        self._written.delete(rel)
        self._moved.pop(rel, None)
        self._deleted.add(rel)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A temporary folder outside the root."""
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)

    def check_writable(self) -> None:
        """Do nothing: the root is not written."""

    def _find(self, rel: str) -> tuple[Root, str]:
        """Where a file is, if it exists: a root, and the path below it."""
        if rel in self._moved:
            return self._below, self._moved[rel]
        is_written = rel in self._deleted or self._written.exists(rel)
        return (self._written if is_written else self._below), rel

    def _moved_into(self, folder: str) -> Iterable[str]:
        """Paths of the root's files that were moved into a folder, or into one below it."""
        return [rel for rel in self._moved if not folder or rel.startswith(f"{folder}/")]
