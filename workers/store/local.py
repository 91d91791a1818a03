"""Files of a root on this machine. Takes paths and bytes; what is written is synced and appears whole or not at all."""

import ctypes
import errno
import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

# What `link` answers where the file system has no hard links: FUSE and SMB mounts, exFAT.
NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})
AT_FDCWD = -100
RENAME_NOREPLACE = 1


class Folder:
    """A root's folder. Once it was there it stays: a disk that is gone looks like an empty one.

    Args:
        path: where it is, or will be.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: tuple[int, int] | None = None

    def check(self) -> None:
        """Remember the folder, or compare it with what is remembered.

        A mount that comes back has another device, and on some file systems a folder's inode changes: both change only
        where it is another folder.

        Raises:
            OSError: ESTALE if it is gone, which may pass.
        """
        try:
            status = self._path.stat()
            now = (status.st_dev, status.st_ino)
        except (FileNotFoundError, NotADirectoryError):
            now = None
        if self._known is None:
            self._known = now
        elif now is None or (now[0] != self._known[0] and now[1] != self._known[1]):
            raise OSError(errno.ESTALE, "the root has vanished", str(self._path))

    def missing(self) -> list[Path]:
        """The folders that writing would have to make, innermost first."""
        return [folder for folder in (self._path, *self._path.parents) if not _is_there(folder)]

    def free_bytes(self) -> int:
        """Free space where the folder is, or will be."""
        return shutil.disk_usage(next(folder for folder in (self._path, *self._path.parents) if _is_there(folder))).free


def put(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write a file that appears whole and replaces the one that is there; a private one is its owner's alone."""
    with _written(path, data) as temporary:
        if private:
            temporary.chmod(0o600)
        os.replace(temporary, path)


def create(path: Path, data: bytes) -> bool:
    """Write a file that appears whole, only if there is none; of any number of writers one gets True."""
    with _written(path, data) as temporary:
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
    """Move a file to its place, where it appears whole; done again after an error, it finishes what is left."""
    if not source.exists() and path.exists():
        sync(path.parent)
        return
    with _beside(path) as temporary:
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
    """Have the file system write a file, or a folder's names, to its disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextmanager
def lock(folder: Path, how: int = fcntl.LOCK_EX) -> Iterator[bool]:
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


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A temporary folder in a folder, where what processes that were killed have left is removed."""
    parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with lock(parent):
            sweep(parent)
            temporary = tempfile.TemporaryDirectory(prefix="deconvoy-", dir=parent, ignore_cleanup_errors=True)
            folder = stack.enter_context(temporary)
            stack.enter_context(lock(Path(folder)))
        yield Path(folder)


def sweep(parent: Path) -> None:
    """Remove the temporary folders whose processes are gone."""
    for folder in parent.glob("deconvoy-*"):
        with suppress(FileNotFoundError), lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB) as free:
            if free:
                shutil.rmtree(folder, ignore_errors=True)


def _rename_exclusively(source: Path, path: Path) -> bool:
    """Rename unless the name is taken: Linux's renameat2, which also file systems without hard links offer.

    Raises:
        OSError: ENOTSUP if neither the file system nor the C library offers it.
    """
    rename = _renameat2()
    if rename is None:
        raise OSError(errno.ENOTSUP, "it supports neither hard links nor renameat2", str(path))
    if rename(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(path), RENAME_NOREPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number == errno.EEXIST:
        return False
    if number in NO_LINKS:
        raise OSError(errno.ENOTSUP, "it supports neither hard links nor an exclusive rename", str(path))
    raise OSError(number, os.strerror(number), str(path))


@cache
def _renameat2() -> "ctypes._NamedFuncPointer | None":
    """The C library's function; None outside Linux and before glibc 2.28."""
    found = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if found is not None:
        found.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    return found


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A free name in the folder where the file will be, which is then synced too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        yield temporary
        sync(path.parent)
    finally:
        with suppress(OSError):  # the error that brought us here is the one to report
            temporary.unlink(missing_ok=True)


@contextmanager
def _written(path: Path, data: bytes) -> Iterator[Path]:
    """The bytes in a synced temporary file in the folder where they will be."""
    with _beside(path) as temporary:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False
