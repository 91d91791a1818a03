"""Checks of an installation and of a root. Takes a root, gives findings; writes small files into the root and removes them."""

import shutil
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from workers.errors import DeconvoyError
from workers.host.retrying import reason
from workers.store.root import Root

PACKAGES = ("deconvoy", "torch", "torchvision", "ray", "pyarrow", "fsspec", "pillow")
ROUNDS, WRITERS = 5, 8  # of the race for one file
FOLDER = ".doctor"


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: what was checked.
        ok: whether it passed.
        detail: what was found, and the way out if it did not pass.
    """

    check: str
    ok: bool
    detail: str


def check_packages() -> Finding:
    """The versions of the packages that results depend on."""
    return Finding("packages", True, ", ".join(f"{name} {_version(name)}" for name in PACKAGES))


def check_root(root: Root) -> Iterator[Finding]:
    """What a root must be able to do, in the order in which runs need it. A failed check ends the list."""
    mark = uuid.uuid4().hex
    rel, is_new = f"{FOLDER}/{mark}", root.is_local and not Path(root.path("")).exists()
    checks: tuple[tuple[str, Callable[[Root, str], str]], ...] = (
        ("write and read", _write),
        ("see new files", _list),
        ("create a file once", _create),
        ("create a file once, with many writers", _race),
    )
    try:
        for name, check in checks:
            try:
                yield Finding(name, True, check(root, rel))
            except DeconvoyError as error:
                yield Finding(name, False, str(error))
                return
            except OSError as error:
                yield Finding(name, False, f"{root.url!r}: {reason(error)}")
                return
    finally:
        with suppress(DeconvoyError, OSError):
            for name in root.files(FOLDER):
                if name.startswith(mark):  # others may be checking the same root
                    root.delete(f"{FOLDER}/{name}")
            if root.is_local:
                Path(root.path(FOLDER)).rmdir()
            if is_new:
                Path(root.path("")).rmdir()


def _write(root: Root, rel: str) -> str:
    root.check_writable()
    for data in (b"first", b"second"):
        root.put(rel, data)
        if root.read(rel) != data:
            raise OSError("an overwritten file still returns its old contents; runs need a consistent store")
    free = f", {shutil.disk_usage(root.path('')).free / 1e9:,.1f} GB free" if root.is_local else ""
    return f"{root.url}{free}"


def _list(root: Root, rel: str) -> str:
    name = rel.rpartition("/")[2]
    if name not in root.files(FOLDER):
        raise OSError("a new file is not listed; runs need a store whose listings are up to date")
    root.delete(rel)
    if name in root.files(FOLDER) or root.exists(rel):
        raise OSError("a file that was removed is still listed; runs need a store whose listings are up to date")
    return "listings are up to date"


def _create(root: Root, rel: str) -> str:
    if not root.create(rel, b"first"):
        raise OSError("a new file cannot be created exclusively")
    if root.create(rel, b"second") or root.read(rel) != b"first":
        raise OSError(f"an existing file was replaced by an exclusive create; {_WAY_OUT}")
    return "an existing file is not replaced"


def _race(root: Root, rel: str) -> str:
    with ThreadPoolExecutor(WRITERS) as pool:
        for number in range(ROUNDS):
            path = f"{rel}-{number}"
            created = list(pool.map(lambda writer, path=path: root.create(path, b"%d" % writer), range(WRITERS)))
            if sum(created) != 1 or root.read(path) != b"%d" % created.index(True):
                raise OSError(f"{sum(created)} of {WRITERS} writers created the same file; {_WAY_OUT}")
    return f"exactly one of {WRITERS} writers created the file in each of {ROUNDS} rounds"


_WAY_OUT = (
    "two runs with the same id could both publish: use a local disk, NFS 4, or S3, GCS or Azure with conditional writes"
)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
