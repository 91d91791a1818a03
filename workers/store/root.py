"""The one boundary to stored results. Takes relative paths and bytes; what it writes appears whole or not at all."""

import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec
from fsspec.core import url_to_fs

from workers.errors import RootError

CREATE_TRIES = 3


class Root:
    """A folder or bucket that holds the datasets of many runs. Travels between processes by its URL.

    Locally a file is written beside its place, synced, and renamed. Elsewhere the store must show whole objects only,
    as S3, GCS and Azure do.

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
        self.base = str(base).rstrip("/")

    def __reduce__(self) -> tuple[type["Root"], tuple[str]]:
        return Root, (self.absolute().url,)

    def absolute(self) -> "Root":
        """The same root: a relative path would mean another folder in a process with another working directory."""
        whole = self.base or "/" if self.is_local else self.url
        return self if whole == self.url else Root(whole)

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
        self.filesystem.invalidate_cache()
        return bool(self.filesystem.exists(self.path(rel)))

    def files(self, folder: str) -> dict[str, int]:
        """Names and sizes in bytes of the files directly below a folder; empty if there is no folder."""
        return {_name(entry): entry["size"] for entry in self._entries(folder) if entry["type"] == "file"}

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly below a folder, sorted."""
        return sorted(_name(entry) for entry in self._entries(folder) if entry["type"] == "directory")

    def put(self, rel: str, data: bytes, *, private: bool = False) -> None:
        """Write a file that appears whole; one that is there is replaced. Locally a private one is its owner's alone."""
        if not self.is_local:
            self.filesystem.pipe_file(self.path(rel), data)
            return
        with self._written(rel, data) as temporary:
            if private:
                temporary.chmod(0o600)
            os.replace(temporary, self.path(rel))

    def put_file(self, local: Path, rel: str) -> None:
        """Move a local file here; it appears whole."""
        if not self.is_local:
            self.filesystem.put_file(str(local), self.path(rel))
            local.unlink()
            return
        with self._beside(rel) as temporary:
            shutil.move(local, temporary)
            _sync(temporary)
            os.replace(temporary, self.path(rel))

    def create(self, rel: str, data: bytes) -> bool:
        """Write a file only if there is none; of any number of writers one gets True."""
        if not self.is_local:
            return self._create_elsewhere(rel, data)
        with self._written(rel, data) as temporary:
            try:
                os.link(temporary, self.path(rel))
            except FileExistsError:
                return False
        return True

    def modified(self, rel: str) -> datetime:
        """When a file was written, UTC. FileNotFoundError if there is none."""
        self.filesystem.invalidate_cache()
        found: datetime = self.filesystem.modified(self.path(rel))
        return found if found.tzinfo else found.replace(tzinfo=UTC)

    def delete(self, rel: str) -> None:
        """Remove a file; no error if there is none."""
        with suppress(FileNotFoundError):
            self.filesystem.rm_file(self.path(rel))

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A local temporary folder, below the root if that is local, so that moving a file is a rename.

        What processes that were killed have left there is removed.
        """
        if not self.is_local:
            with tempfile.TemporaryDirectory(prefix="deconvoy-") as folder:
                yield Path(folder)
            return
        parent = Path(self.path("tmp"))
        parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            with _lock(parent):
                _sweep(parent)
                temporary = tempfile.TemporaryDirectory(prefix="deconvoy-", dir=parent)
                folder = stack.enter_context(temporary)
                stack.enter_context(_lock(Path(folder)))
            yield Path(folder)

    def check_writable(self) -> None:
        """Write and remove a small file.

        Raises:
            RootError: it cannot be done, and why; nothing is left behind.
        """
        probe = f".probe-{uuid.uuid4().hex}"
        missing = self._missing_folders()
        try:
            self.put(probe, b"deconvoy")
            self.delete(probe)
        except Exception as error:
            for folder in missing:
                with suppress(OSError):
                    folder.rmdir()
            # Stores raise what they like: botocore's errors are neither OSError nor ValueError.
            raise RootError(f"root {self.url!r} cannot be written: {_reason(error)}") from error

    def check_readable(self) -> None:
        """Look at what is there.

        Raises:
            RootError: it cannot be done, and why.
        """
        try:
            self.filesystem.invalidate_cache()
            self.filesystem.ls(self.base or "/")
        except Exception as error:
            raise RootError(f"root {self.url!r} cannot be read: {_reason(error)}") from error

    def _entries(self, folder: str) -> list[dict[str, Any]]:
        self.filesystem.invalidate_cache()
        try:
            return list(self.filesystem.ls(self.path(folder), detail=True))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _missing_folders(self) -> list[Path]:
        """The folders that writing would have to make, innermost first."""
        base = Path(self.path(""))
        return [folder for folder in (base, *base.parents) if not _is_there(folder)] if self.is_local else []

    def _create_elsewhere(self, rel: str, data: bytes) -> bool:
        for tries_left in reversed(range(CREATE_TRIES)):
            try:
                with self.filesystem.open(self.path(rel), "xb") as file:
                    file.write(data)
                return True
            except FileExistsError:
                return False
            except OSError:  # S3 answers 409 to one of several that write at the same time: it is to try again
                if not tries_left:
                    raise
        raise AssertionError("the last try returns or raises")

    @contextmanager
    def _beside(self, rel: str) -> Iterator[Path]:
        """A free name in the folder where the file will be, which is then synced too."""
        folder = Path(self.path(rel)).parent
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{uuid.uuid4().hex}.tmp"
        try:
            yield temporary
            _sync(folder)
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def _written(self, rel: str, data: bytes) -> Iterator[Path]:
        """The bytes in a synced temporary file in the folder where they will be."""
        with self._beside(rel) as temporary:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield temporary


def existing(url: str) -> Root:
    """A root that is there. A bucket has no folders that could be missing.

    Raises:
        RootError: it is a folder of this machine that is not there.
    """
    found = Root(url)
    if found.is_local and not Path(found.base).is_dir():
        raise RootError(f"root {url!r} does not exist" if not Path(found.base).exists() else f"root {url!r} is a file")
    return found


def _name(entry: dict[str, Any]) -> str:
    return str(entry["name"]).rstrip("/").rpartition("/")[2]


def _reason(error: Exception) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a regular file is in the way"
    told = error.strerror if isinstance(error, OSError) else None
    return told or str(error) or type(error).__name__


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextmanager
def _lock(folder: Path, how: int = fcntl.LOCK_EX) -> Iterator[bool]:
    """Lock a folder until the end of the block or of the process, however it ends; gives False if it cannot be had.

    Where a file system has no locks nobody gets one, and then nobody sweeps.
    """
    number = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(number, how)
        held = True
    except OSError:
        held = False
    try:
        yield held
    finally:
        os.close(number)


def _sweep(parent: Path) -> None:
    """Remove the temporary folders whose processes are gone."""
    for folder in parent.glob("deconvoy-*"):
        with suppress(FileNotFoundError), _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB) as free:
            if free:
                shutil.rmtree(folder, ignore_errors=True)
