"""The one boundary to stored results. Takes relative paths and bytes; what it writes appears whole or not at all."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

import fsspec
from fsspec.core import url_to_fs

from workers.errors import RootError


class Root:
    """A folder or bucket that holds the datasets of many runs. Travels between processes by its URL.

    Args:
        url: a path or an fsspec URL.

    Raises:
        RootError: nobody knows the URL's protocol.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self.filesystem, base = url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise RootError(f"root {url!r} cannot be used: {error}") from error
        self.base = str(base).rstrip("/") or "/"

    def __reduce__(self) -> tuple[type["Root"], tuple[str]]:
        return Root, (self.url,)

    @property
    def is_local(self) -> bool:
        """Whether the root is a folder of this machine."""
        return isinstance(self.filesystem, fsspec.get_filesystem_class("file"))

    def path(self, rel: str) -> str:
        """The filesystem's own path of a relative one."""
        return f"{self.base}/{rel}"

    def read(self, rel: str) -> bytes:
        """The whole file. FileNotFoundError if there is none."""
        return cast(bytes, self.filesystem.cat_file(self.path(rel)))

    def open(self, rel: str) -> BinaryIO:
        """The file as a seekable stream."""
        return cast(BinaryIO, self.filesystem.open(self.path(rel), "rb"))

    def exists(self, rel: str) -> bool:
        """Whether the file is there."""
        return bool(self.filesystem.exists(self.path(rel)))

    def files(self, folder: str) -> dict[str, int]:
        """Names and sizes in bytes of the files directly below a folder; empty if there is no folder."""
        self.filesystem.invalidate_cache()
        try:
            found = self.filesystem.ls(self.path(folder), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return {entry["name"].rsplit("/", 1)[-1]: entry["size"] for entry in found if entry["type"] == "file"}

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly below a folder, sorted."""
        self.filesystem.invalidate_cache()
        try:
            found = self.filesystem.ls(self.path(folder), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in found if entry["type"] == "directory")

    def put(self, rel: str, data: bytes) -> None:
        """Write a file that appears whole; one that is there is replaced."""
        if not self.is_local:
            self.filesystem.pipe_file(self.path(rel), data)
            return
        with self._written(rel, data) as temporary:
            os.replace(temporary, self.path(rel))

    def put_file(self, local: Path, rel: str) -> None:
        """Move a local file here; it appears whole."""
        if not self.is_local:
            self.filesystem.put_file(str(local), self.path(rel))
            local.unlink()
            return
        target = Path(self.path(rel))
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.parent / f".{uuid.uuid4().hex}.tmp"
        shutil.move(local, beside)
        _sync(beside)
        os.replace(beside, target)

    def create(self, rel: str, data: bytes) -> bool:
        """Write a file only if there is none; of any number of writers one gets True."""
        if self.is_local:
            with self._written(rel, data) as temporary:
                try:
                    os.link(temporary, self.path(rel))
                except FileExistsError:
                    return False
            return True
        try:
            with self.filesystem.open(self.path(rel), "xb") as file:
                file.write(data)
        except FileExistsError:
            return False
        return True

    def delete(self, rel: str) -> None:
        """Remove a file; no error if there is none."""
        with suppress(FileNotFoundError):
            self.filesystem.rm_file(self.path(rel))

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A local temporary folder, below the root if that is local, so that moving a file is a rename."""
        parent = None
        if self.is_local:
            parent = Path(self.path("tmp"))
            parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="deconvoy-", dir=parent) as folder:
            yield Path(folder)

    def check_writable(self) -> None:
        """Write and remove a small file.

        Raises:
            RootError: it cannot be done, and why.
        """
        probe = f".probe-{uuid.uuid4().hex}"
        try:
            self.put(probe, b"deconvoy")
            self.delete(probe)
        except (OSError, ValueError) as error:
            raise RootError(f"root {self.url!r} cannot be written: {error}") from error

    @contextmanager
    def _written(self, rel: str, data: bytes) -> Iterator[Path]:
        """The bytes in a synced temporary file in the folder where they will be."""
        target = Path(self.path(rel))
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f".{uuid.uuid4().hex}.tmp"
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
