"""The one boundary to stored results. Takes relative paths and bytes; what it writes appears whole or not at all."""

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
from workers.host.retrying import may_pass, patience, reason, retried
from workers.store import local, objects
from workers.store.streams import Stream

CREATE_TRIES = 3  # S3 answers 409 to one of several writers of a name: it is to try again
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
# Answers that callers tell apart: there is no such file, there is one, a file is where a folder should be.
ANSWERS = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)

Result = TypeVar("Result")


class Root:
    """A folder or bucket that holds the datasets of many runs. Travels between processes by its URL.

    A local file is written next to its place, synced and renamed. Other stores must show whole objects only, as S3 and GCS do.

    Args:
        url: a path or an fsspec URL.
        patience_s: seconds for which a failing operation is tried again; 0 tries once.

    Raises:
        RootError: the URL's protocol is unknown, or cannot be used here.
    """

    def __init__(self, url: str, patience_s: float = 0.0) -> None:
        self.url = url
        self.patience_s = patience_s
        if "\0" in url:
            raise RootError(f"root {url!r} cannot be used: it contains a null character")
        try:
            self.filesystem, base = url_to_fs(url)
        except Exception as error:  # a file system's constructor raises anything for a URL that it does not expect
            raise RootError(f"root {url!r} cannot be used: {reason(error)}") from error
        self.base = str(base).rstrip("/")
        self._folder = local.Folder(Path(self.base or "/"))

    def __reduce__(self) -> tuple[type["Root"], tuple[str, float]]:
        return Root, (self.absolute().url, self.patience_s)

    def absolute(self) -> "Root":
        """The same root: a relative path would mean another folder in a process with another working directory."""
        whole = self.base or "/" if self.is_local else self.url
        return self if whole == self.url else Root(whole, self.patience_s)

    @property
    def is_local(self) -> bool:
        """Whether the root is a folder of this machine."""
        return isinstance(self.filesystem, fsspec.get_filesystem_class("file"))

    def path(self, rel: str) -> str:
        """The filesystem's own path of a relative one."""
        return f"{self.base}/{rel}"

    def read(self, rel: str) -> bytes:
        """The whole file. FileNotFoundError if there is none."""
        return cast(bytes, self._ask(lambda: self.filesystem.cat_file(self.path(rel)), "reading", rel))

    def open(self, rel: str) -> BinaryIO:
        """The file as a seekable stream; its reads are retried like everything else."""
        opening = partial(self.filesystem.open, self.path(rel), "rb")
        return cast(BinaryIO, Stream(opening, lambda act: self._ask(act, "reading", rel)))

    def exists(self, rel: str) -> bool:
        """Whether the file is there."""
        return self._ask(partial(objects.exists, self.filesystem, self.path(rel)), "looking for", rel)

    def files(self, folder: str) -> dict[str, int]:
        """Names and sizes in bytes of the files directly below a folder; empty if there is no folder."""
        return {objects.name(entry): entry["size"] for entry in self._entries(folder) if entry["type"] == "file"}

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly below a folder, sorted."""
        return sorted(objects.name(entry) for entry in self._entries(folder) if entry["type"] == "directory")

    def info(self, rel: str) -> objects.Info:
        """What the file system says of a file. FileNotFoundError if there is none."""
        self.filesystem.invalidate_cache()
        return self._ask(lambda: dict(self.filesystem.info(self.path(rel))), "looking at", rel)

    def below(self, folder: str, depth: int | None = None) -> dict[str, objects.Info]:
        """What the file system says of all files below a folder, by path under the root; empty if there is no folder.

        A bucket lists everything below a prefix at once; elsewhere no more than `depth` folders are walked into.
        """
        if not objects.lists_all_at_once(self.filesystem):
            return dict(self._walk(folder, depth))
        infos = self._ask(partial(objects.below, self.filesystem, self.path(folder), depth), "listing", folder)
        return {path.removeprefix(f"{self.base}/"): info for path, info in infos.items()}

    def put(self, rel: str, data: bytes, *, private: bool = False) -> None:
        """Write a file that appears whole; one that is there is replaced. Locally a private one is its owner's alone."""
        act = (
            partial(local.put, Path(self.path(rel)), data, private=private)
            if self.is_local
            else partial(self.filesystem.pipe_file, self.path(rel), data)
        )
        self._ask(act, "writing", rel)

    def put_file(self, file: Path, rel: str) -> None:
        """Move a local file here; it appears whole."""
        if self.is_local:
            self._ask(partial(local.move, file, Path(self.path(rel))), "writing", rel)
            return
        self._ask(partial(self.filesystem.put_file, str(file), self.path(rel)), "writing", rel)
        file.unlink()

    def move(self, rel: str, to: str) -> None:
        """Move a file within the root; it appears whole and replaces one that is there. FileNotFoundError if there is none.

        In a bucket it is copied, then deleted. If that fails in between, both are there; moving again finishes it.
        """
        if not self.is_local:
            self._ask(partial(objects.copy, self.filesystem, self.path(rel), self.path(to)), "moving", rel)
            self.delete(rel)
        elif self.exists(rel):
            self._ask(partial(local.move, Path(self.path(rel)), Path(self.path(to))), "moving", rel)
        else:
            raise FileNotFoundError(errno.ENOENT, "no such file", self.path(rel))

    def create(self, rel: str, data: bytes) -> bool:
        """Write a file only if there is none; of any number of writers one gets True.

        A store that fails may have written the file all the same. So a try after a failed one that finds the very bytes
        takes them for its own.
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
        """When a file was written, UTC. FileNotFoundError if there is none."""
        self.filesystem.invalidate_cache()
        time: datetime = self._ask(lambda: self.filesystem.modified(self.path(rel)), "looking at", rel)
        return time if time.tzinfo else time.replace(tzinfo=UTC)

    def delete(self, rel: str) -> None:
        """Remove a file; no error if there is none."""
        with suppress(FileNotFoundError):
            self._ask(lambda: self.filesystem.rm_file(self.path(rel)), "removing", rel)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A local temporary folder, below the root if that is local, so that moving a file is a rename.

        What processes that were killed have left there is removed.

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
                raise self._refused(error, "writing", "tmp") from error
            free = shutil.disk_usage(tempfile.gettempdir()).free / 1e6
            raise StoreError(
                f"no space left on {tempfile.gettempdir()!r} ({free:,.1f} MB free) for temporary files; free some, or set TMPDIR"
            ) from error

    def check_writable(self) -> None:
        """Write, create exclusively, and remove a small file.

        Raises:
            RootError: it cannot be done, and why; nothing is left behind.
        """
        probe, hasty = f".probe-{uuid.uuid4().hex}", Root(self.url)
        missing = self._folder.missing() if self.is_local else []
        try:
            hasty.put(probe, b"deconvoy")
            hasty.delete(probe)
            hasty.create(probe, b"deconvoy")
            hasty.delete(probe)
        except Exception as error:
            for folder in missing:
                with suppress(OSError):
                    folder.rmdir()
            # Stores raise what they like: botocore's errors are neither OSError nor ValueError.
            raise RootError(f"root {self.url!r} cannot be written: {_reason(error.__cause__ or error)}") from error

    def check_readable(self) -> None:
        """Look at what is there.

        Raises:
            RootError: it cannot be done, and why.
        """
        try:
            objects.entries(self.filesystem, self.base or "/")
        except Exception as error:
            raise RootError(f"root {self.url!r} cannot be read: {_reason(error)}") from error

    def _ask(self, act: Callable[[], Result], what: str, rel: str) -> Result:
        """Do something at the store, for as long as there is patience.

        Raises:
            StoreError: it cannot be done; one line, whatever the store raised.
            OSError: one of ANSWERS.
        """
        try:
            return retried(partial(self._here, act), f"{what} {self._shown(rel)}", self.patience_s)
        except ANSWERS:
            raise
        except Exception as error:
            if not isinstance(error, OSError) and not may_pass(error):  # a bug of ours, or said in one line already
                raise
            raise self._refused(error, what, rel) from error

    def _here(self, act: Callable[[], Result]) -> Result:
        """Do something in a root that is still the folder that it was: a disk that is gone looks like an empty one."""
        if not self.is_local:
            return act()
        self._folder.check()
        found = act()
        self._folder.check()
        return found

    def _refused(self, error: Exception, what: str, rel: str) -> StoreError:
        """The one line for an error of the store."""
        after = "; the same command resumes the run" if self.patience_s else ""
        if not (isinstance(error, OSError) and error.errno in FULL):
            return StoreError(f"{what} {self._shown(rel)} failed: {reason(error)}{after}")
        free = f" ({self._folder.free_bytes() / 1e6:,.1f} MB free)" if self.is_local else ""
        return StoreError(f"no space left on {self.url!r}{free} for {what} {rel}; free some{after}")

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
        here = Path(self.path("tmp"))
        return local.scratch(here) if self.is_local else tempfile.TemporaryDirectory(prefix="deconvoy-")

    def _create(self, rel: str, data: bytes) -> bool:
        if self.is_local:
            return local.create(Path(self.path(rel)), data)
        return objects.create(self.filesystem, self.path(rel), data)


def patient(url: str) -> Root:
    """A root for jobs, which wait for a store that fails for minutes."""
    return Root(url, patience())


def existing(url: str) -> Root:
    """A root that is there. A bucket has no folders that could be missing.

    Raises:
        RootError: it is a folder of this machine that is not there.
    """
    found = Root(url)
    if found.is_local and not Path(found.base).is_dir():
        raise RootError(f"root {url!r} does not exist" if not Path(found.base).exists() else f"root {url!r} is a file")
    return found


def _reason(error: BaseException) -> str:
    return "a regular file is in the way" if isinstance(error, FileExistsError | NotADirectoryError) else reason(error)
