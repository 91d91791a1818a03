"""Files of a local root. Takes paths and bytes; writes are synced and atomic."""

import ctypes
import errno
import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

# Errors of `link` on file systems without hard links: FUSE and SMB mounts, exFAT.
NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})
AT_FDCWD = -100
RENAME_NOREPLACE = 1
NEITHER = "the file system supports neither hard links nor exclusive renames; use a folder on another one"


class Folder:
    """A root's folder, which must not disappear once it exists: a disk that is gone looks like an empty one.

    Args:
        path: path of the folder, which may not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: tuple[int, int] | None = None

    def check(self) -> None:
        """Remember the folder's device and inode, or compare them with those remembered.

        A mount that comes back has another device number, and on some file systems a folder's inode changes. Only if both differ
        it is another folder.

        Raises:
            OSError: ESTALE if the folder is gone, which may be temporary.
        """
        known = self._known  # before looking: another thread may create the folder meanwhile
        try:
            status = self._path.stat()
            now = (status.st_dev, status.st_ino)
        except (FileNotFoundError, NotADirectoryError):
            now = None
        if known is None:
            self._known = self._known or now
        elif now is None or (now[0] != known[0] and now[1] != known[1]):
            raise OSError(errno.ESTALE, "the root has vanished", str(self._path))

    def missing(self) -> list[Path]:
        """The folders that a write would have to create, innermost first."""
        return [folder for folder in (self._path, *self._path.parents) if not _exists(folder)]

    def free_bytes(self) -> int:
        """Free space on the folder's disk."""
        return shutil.disk_usage(next(folder for folder in (self._path, *self._path.parents) if _exists(folder))).free


def put(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write a file atomically, replacing an existing one. Only its owner can read a private file."""
    with _temporary_file(path, data) as temporary:
        if private:
            temporary.chmod(0o600)
        os.replace(temporary, path)


def create(path: Path, data: bytes) -> bool:
    """Write a file atomically unless it exists. Among concurrent writers only one gets True."""
    with _temporary_file(path, data) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            return _rename_exclusively(temporary, path)
    return True


def move(source: Path, path: Path) -> None:
    """Move a file atomically. If a call fails, repeating it completes the move."""
    if not source.exists() and path.exists():
        sync(path.parent)
        return
    with _temporary_name(path) as temporary:
        try:
            sync(source)
            os.replace(source, path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            shutil.copyfile(source, temporary)
            sync(temporary)
            os.replace(temporary, path)
    source.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file, or a folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def lock(folder: Path, how: int = fcntl.LOCK_EX) -> Iterator[bool]:
    """Lock a folder until the end of the block or the process. Gives False if the lock is not available.

    On a file system without locks, no process gets one, so no process sweeps.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        is_locked = True
    except OSError:
        is_locked = False
    try:
        yield is_locked
    finally:
        os.close(descriptor)


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A temporary folder in a parent folder. Temporary folders that killed processes left there are removed."""
    parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with lock(parent):
            sweep(parent)
            temporary = tempfile.TemporaryDirectory(prefix="deconvoy-", dir=parent, ignore_cleanup_errors=True)
            folder = stack.enter_context(temporary)
            stack.enter_context(lock(Path(folder)))
        yield Path(folder)


def sweep(parent: Path) -> None:
    """Remove temporary folders whose processes no longer exist."""
    for folder in parent.glob("deconvoy-*"):
        with suppress(FileNotFoundError), lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB) as free:
            if free:
                shutil.rmtree(folder, ignore_errors=True)


def _rename_exclusively(source: Path, path: Path) -> bool:
    """Rename unless the target exists, by Linux's renameat2, which works on some file systems without hard links.

    Raises:
        OSError: ENOTSUP if the file system or the C library does not support it.
    """
    rename = _renameat2()
    if rename is None:
        raise OSError(errno.ENOTSUP, NEITHER, str(path))
    if rename(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(path), RENAME_NOREPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number == errno.EEXIST:
        return False
    if number in NO_LINKS:
        raise OSError(errno.ENOTSUP, NEITHER, str(path))
    raise OSError(number, os.strerror(number), str(path))


@cache
def _renameat2() -> "ctypes._NamedFuncPointer | None":
    """The C library's renameat2; None outside Linux and before glibc 2.28."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    return function


@contextmanager
def _temporary_name(path: Path) -> Iterator[Path]:
    """A free name in the file's folder. The folder is synced at the end, and the temporary file removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        yield temporary
        sync(path.parent)
    finally:
        with suppress(OSError):  # the original error is the one to report
            temporary.unlink(missing_ok=True)


@contextmanager
def _temporary_file(path: Path, data: bytes) -> Iterator[Path]:
    """A synced temporary file with the bytes, in the file's folder."""
    with _temporary_name(path) as temporary:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, innermost first; those that do not exist or are not empty stay."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False
