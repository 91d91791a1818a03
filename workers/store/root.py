"""The only access to storage. Takes relative paths and bytes; writes are atomic."""

import errno
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import fsspec
from fsspec.core import url_to_fs

from workers.errors import RootError, StoreError
from workers.host.retrying import is_outage, may_pass, patience, reason, retried
from workers.store import local, objects
from workers.store.streams import Stream

PROBE_S = 10.0  # for which a root that cannot be written is retried
CREATE_TRIES = 3  # if several writers create the same object, S3 tells some with a 409 to try again
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
# Errors that callers handle: no such file, the file exists, a file is where a folder should be.
PLAIN_ERRORS = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)

Result = TypeVar("Result")


class Root:
    """A folder or bucket with the datasets of many runs. It is pickled as its URL.

    A local file is written under a temporary name, synced, and renamed. A remote store must show whole objects only, as S3 and
    GCS do. Whatever a store raises, methods raise PLAIN_ERRORS or a StoreError of one line.

    Args:
        url: a path or an fsspec URL.
        patience_s: seconds for which a failing operation is retried; 0 tries once.

    Raises:
        RootError: the URL's protocol is unknown, or not usable on this machine.
    """

    def __init__(self, url: str, patience_s: float = 0.0) -> None:
        self.url = url
        self.patience_s = patience_s
        if "\0" in url:
            raise RootError(f"root {url!r} cannot be used: it contains a null character")
        try:
            self.filesystem, base = url_to_fs(url)
        except Exception as error:  # constructors of file systems raise all kinds of errors for an unexpected URL
            raise RootError(f"root {url!r} cannot be used: {reason(error)}") from error
        self.base = str(base).rstrip("/")
        self._folder = local.Folder(Path(self.base or "/"))

    def __reduce__(self) -> tuple[type["Root"], tuple[str, float]]:
        return Root, (self.absolute().url, self.patience_s)

    def absolute(self) -> "Root":
        """The same root with an absolute path, so that processes with other working directories find it."""
        url = self.base or "/" if self.is_local else self.url
        return self if url == self.url else Root(url, self.patience_s)

    @property
    def is_local(self) -> bool:
        """Whether the root is a folder on this machine."""
        return isinstance(self.filesystem, fsspec.get_filesystem_class("file"))

    def path(self, rel: str) -> str:
        """The file system's own path of a relative path."""
        return f"{self.base}/{rel}"

    def read(self, rel: str) -> bytes:
        """Read a whole file. FileNotFoundError if there is no file."""
        return cast(bytes, self._ask(lambda: self.filesystem.cat_file(self.path(rel)), "reading", rel))

    def open(self, rel: str) -> BinaryIO:
        """Open a file as a seekable stream, whose reads are retried like all operations."""
        opening = partial(self.filesystem.open, self.path(rel), "rb")
        return cast(BinaryIO, Stream(opening, lambda act: self._ask(act, "reading", rel)))

    def exists(self, rel: str) -> bool:
        """Whether a file exists."""
        return self._ask(partial(objects.exists, self.filesystem, self.path(rel)), "looking for", rel)

    def files(self, folder: str) -> dict[str, int]:
        """Names and sizes in bytes of the files directly below a folder; empty if there is no folder."""
        return {objects.name(entry): entry["size"] for entry in self._entries(folder) if entry["type"] == "file"}

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly below a folder, sorted."""
        return sorted(objects.name(entry) for entry in self._entries(folder) if entry["type"] == "directory")

    def info(self, rel: str) -> objects.Info:
        """The file system's information on a file. FileNotFoundError if there is no file."""
        self.filesystem.invalidate_cache()
        return self._ask(lambda: dict(self.filesystem.info(self.path(rel))), "looking at", rel)

    def below(self, folder: str, depth: int | None = None) -> dict[str, objects.Info]:
        """The file system's information on all files below a folder, by path under the root; empty if there is no folder.

        A bucket lists all objects below a prefix at once. Other file systems are walked, at most `depth` folders deep.
        """
        if not objects.lists_all_at_once(self.filesystem):
            return dict(self._walk(folder, depth))
        infos = self._ask(partial(objects.below, self.filesystem, self.path(folder), depth), "listing", folder)
        return {path.removeprefix(f"{self.base}/"): info for path, info in infos.items()}

    def put(self, rel: str, data: bytes, *, private: bool = False) -> None:
        """Write a file atomically, replacing an existing one. On local disks, only its owner can read a private file."""
        act = (
            partial(local.put, Path(self.path(rel)), data, private=private)
            if self.is_local
            else partial(self.filesystem.pipe_file, self.path(rel), data)
        )
        self._ask(act, "writing", rel)

    def put_file(self, file: Path, rel: str) -> None:
        """Move a local file into the root, atomically."""
        if self.is_local:
            self._ask(partial(local.move, file, Path(self.path(rel))), "writing", rel)
            return
        self._ask(partial(self.filesystem.put_file, str(file), self.path(rel)), "writing", rel)
        file.unlink()

    def move(self, rel: str, to: str) -> None:
        """Move a file within the root atomically, replacing an existing one. FileNotFoundError if there is no file.

        In a bucket, it is copied, then deleted. A failure in between leaves both; moving again completes it.
        """
        if not self.is_local:
            self._ask(partial(objects.copy, self.filesystem, self.path(rel), self.path(to)), "moving", rel)
            self.delete(rel)
        elif self.exists(rel):
            self._ask(partial(local.move, Path(self.path(rel)), Path(self.path(to))), "moving", rel)
        else:
            raise FileNotFoundError(errno.ENOENT, "no such file", self.path(rel))

    def create(self, rel: str, data: bytes) -> bool:
        """Write a file unless it exists. Among concurrent writers only one gets True.

        A store may report a failure although it has written the file. So a retry that finds the same bytes succeeds.
        """
        failures = 0

        def act() -> bool:
            nonlocal failures
            try:
                return self._create(rel, data) or (failures > 0 and self.filesystem.cat_file(self.path(rel)) == data)
            except Exception as error:
                failures += 1
                if self.is_local or failures >= CREATE_TRIES or not may_pass(error):
                    raise
                return act()

        return self._ask(act, "creating", rel)

    def modified(self, rel: str) -> datetime:
        """When a file was written, UTC. FileNotFoundError if there is no file."""
        self.filesystem.invalidate_cache()
        time: datetime = self._ask(lambda: self.filesystem.modified(self.path(rel)), "looking at", rel)
        return time if time.tzinfo else time.replace(tzinfo=UTC)

    def delete(self, rel: str) -> None:
        """Remove a file, if it exists."""
        with suppress(FileNotFoundError):
            self._ask(lambda: self.filesystem.rm_file(self.path(rel)), "removing", rel)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A local temporary folder. It is below a local root, so that moving a file into the root is a rename.

        Temporary folders that killed processes left there are removed.

        Raises:
            StoreError: the disk fills up in the block.
        """
        try:
            with self._scratch() as folder:
                yield Path(folder)
        except OSError as error:
            if error.errno not in FULL:
                raise
            if self.is_local:
                raise self._store_error(error, "writing", "tmp") from error
            free = shutil.disk_usage(tempfile.gettempdir()).free / 1e6
            raise StoreError(
                f"no space left on {tempfile.gettempdir()!r} ({free:,.1f} MB free) for temporary files; free some, or set TMPDIR"
            ) from error

    def check_writable(self) -> None:
        """Write, create exclusively, and remove a small file. A user waits for it, so failures are retried only briefly.

        Raises:
            RootError, StoreError: that failed; nothing is left behind. The latter may pass, as an outage does.
        """
        probe, impatient = f".probe-{uuid.uuid4().hex}", Root(self.url, min(self.patience_s, PROBE_S))
        missing = self._folder.missing() if self.is_local else []
        try:
            impatient.put(probe, b"deconvoy")
            impatient.delete(probe)
            impatient.create(probe, b"deconvoy")
            impatient.delete(probe)
        except Exception as error:
            local.remove_empty(missing)
            cause = error.__cause__ or error
            passes = isinstance(error, StoreError) and is_outage(cause)  # a missing bucket is a FileNotFoundError
            kind, way_out = (StoreError, "; run the same command again later") if passes else (RootError, "")
            raise kind(f"root {self.url!r} cannot be written: {_reason(cause)}{way_out}") from error

    def check_readable(self) -> None:
        """List the root. RootError if that fails."""
        try:
            objects.entries(self.filesystem, self.base or "/")
        except Exception as error:
            raise RootError(f"root {self.url!r} cannot be read: {_reason(error)}") from error

    def _ask(self, act: Callable[[], Result], what: str, rel: str) -> Result:
        """Run an operation on the store, with retries while there is patience.

        Raises:
            StoreError: it failed; one line, whatever the store raised.
            OSError: one of PLAIN_ERRORS.
        """
        try:
            return retried(partial(self._guard, act), f"{what} {self._shown(rel)}", self.patience_s)
        except PLAIN_ERRORS:
            raise
        except Exception as error:
            if not isinstance(error, OSError) and not may_pass(error):  # a bug of ours, or an error of one line
                raise
            raise self._store_error(error, what, rel) from error

    def _guard(self, act: Callable[[], Result]) -> Result:
        """Run an operation and check that the root's folder is still the same: a disk that is gone looks like an empty one."""
        if not self.is_local:
            return act()
        self._folder.check()
        result = act()
        self._folder.check()
        return result

    def _store_error(self, error: Exception, what: str, rel: str) -> StoreError:
        """An error of one line for an error of the store."""
        way_out = "; the same command resumes the run" if self.patience_s else ""
        if not (isinstance(error, OSError) and error.errno in FULL):
            return StoreError(f"{what} {self._shown(rel)} failed: {reason(error)}{way_out}")
        free = f" ({self._folder.free_bytes() / 1e6:,.1f} MB free)" if self.is_local else ""
        return StoreError(f"no space left on {self.url!r}{free} for {what} {rel}; free some space{way_out}")

    def _shown(self, rel: str) -> str:
        return f"{self.url.rstrip('/')}/{rel}"

    def _entries(self, folder: str) -> list[objects.Info]:
        try:
            return self._ask(partial(objects.entries, self.filesystem, self.path(folder)), "listing", folder)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _walk(self, folder: str, depth: int | None) -> Iterator[tuple[str, objects.Info]]:
        for entry in self._entries(folder):
            rel = f"{folder}/{objects.name(entry)}".lstrip("/")
            if entry["type"] == "file":
                yield rel, entry
            elif entry["type"] == "directory" and depth != 1:
                yield from self._walk(rel, depth and depth - 1)

    def _scratch(self) -> AbstractContextManager[Path | str]:
        parent = Path(self.path("tmp"))
        return local.scratch(parent) if self.is_local else tempfile.TemporaryDirectory(prefix="deconvoy-")

    def _create(self, rel: str, data: bytes) -> bool:
        if self.is_local:
            return local.create(Path(self.path(rel)), data)
        return objects.create(self.filesystem, self.path(rel), data)


def patient(url: str) -> Root:
    """A root for jobs, which retry a failing store for minutes."""
    return Root(url, patience())


def existing(url: str) -> Root:
    """A root that exists. A bucket has no folder that could be missing.

    Raises:
        RootError: it is local and not an existing folder.
    """
    root = Root(url)
    if root.is_local and not Path(root.base).is_dir():
        raise RootError(f"root {url!r} does not exist" if not Path(root.base).exists() else f"root {url!r} is a file")
    return root


def _reason(error: BaseException) -> str:
    return "a regular file is in the way" if isinstance(error, FileExistsError | NotADirectoryError) else reason(error)
