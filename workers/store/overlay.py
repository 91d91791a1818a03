"""A root as some writes would leave it. Takes a root and a temporary folder, reads from both; writes only to the folder."""

import tempfile
from collections.abc import Iterator
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
        self._below, self._written, self._deleted = below, Root(folder), set[str]()

    def read(self, rel: str) -> bytes:
        """As `Root.read`."""
        return self._holder(rel).read(rel)

    def open(self, rel: str) -> BinaryIO:
        """As `Root.open`."""
        return self._holder(rel).open(rel)

    def exists(self, rel: str) -> bool:
        """As `Root.exists`."""
        return self._holder(rel).exists(rel)

    def info(self, rel: str) -> objects.Info:
        """As `Root.info`."""
        return self._holder(rel).info(rel)

    def below(self, folder: str, depth: int | None = None) -> dict[str, objects.Info]:
        """As `Root.below`."""
        infos = self._below.below(folder, depth).items()
        return {rel: info for rel, info in infos if rel not in self._deleted} | self._written.below(folder, depth)

    def files(self, folder: str) -> dict[str, int]:
        """As `Root.files`."""
        below = self._below.files(folder).items()
        kept = {name: size for name, size in below if f"{folder}/{name}" not in self._deleted}
        return kept | self._written.files(folder)

    def folders(self, folder: str) -> list[str]:
        """As `Root.folders`."""
        return sorted({*self._below.folders(folder), *self._written.folders(folder)})

    def put(self, rel: str, data: bytes, *, private: bool = False) -> None:
        """Write a file to the temporary folder."""
        self._written.put(rel, data, private=private)
        self._deleted.discard(rel)

    def put_file(self, file: Path, rel: str) -> None:
        """Move a local file to the temporary folder."""
        self._written.put_file(file, rel)
        self._deleted.discard(rel)

    def move(self, rel: str, to: str) -> None:
        """As `Root.move`, in the temporary folder."""
        self.put(to, self.read(rel))
        self.delete(rel)

    def create(self, rel: str, data: bytes) -> bool:
        """As `Root.create`, in the temporary folder."""
        if self.exists(rel):
            return False
        self.put(rel, data)
        return True

    def delete(self, rel: str) -> None:
        """Hide a file."""
        self._written.delete(rel)
        self._deleted.add(rel)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A temporary folder outside the root."""
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)

    def check_writable(self) -> None:
        """Do nothing: the root is not written."""

    def _holder(self, rel: str) -> Root:
        """Where a file is, if it exists."""
        return self._written if rel in self._deleted or self._written.exists(rel) else self._below
