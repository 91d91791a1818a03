"""A store as slow as one asks for. Takes paths below `slow://`, gives a file system that waits, hangs and counts.

It asks for as many answers as S3 does: one for a listing, the facts of a file, a range of its bytes, a whole file, or a write.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractBufferedFile

PROTOCOL = "slow"
LISTED_AT_ONCE = 1000


class Faults:
    """How the store answers. `latency_s` is waited before each answer; while it hangs there is none."""

    def __init__(self) -> None:
        self.latency_s = 0.0
        self.calls: Counter[str] = Counter()
        self.paths: list[tuple[str, str]] = []
        self._answers = threading.Event()
        self._answers.set()

    def wait(self, what: str, path: str) -> None:
        """Count a question, and wait for its answer."""
        self.calls[what] += 1
        self.paths.append((what, path))
        if self.latency_s:
            time.sleep(self.latency_s)
        self._answers.wait()

    def forget(self) -> None:
        """Count from 0."""
        self.calls.clear()
        self.paths.clear()

    def hang(self) -> None:
        """Answer no question from now on."""
        self._answers.clear()

    def recover(self) -> None:
        """Answer again, those too that wait."""
        self._answers.set()

    @contextmanager
    def hung(self) -> Iterator[None]:
        """A store that does not answer until the end of the block."""
        self.hang()
        try:
            yield
        finally:
            self.recover()


faults = Faults()


class _Read(AbstractBufferedFile):
    def _fetch_range(self, start: int, end: int) -> bytes:
        faults.wait("range", self.path)
        return bytes(self.fs.local.cat_file(self.path, start, end))


class SlowFileSystem(AbstractFileSystem):
    """The local file system behind `faults`."""

    protocol = PROTOCOL
    root_marker = "/"
    cachable = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.local = LocalFileSystem()

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        return str(path).removeprefix(f"{PROTOCOL}://").rstrip("/") or "/"

    def ls(self, path: str, detail: bool = True, **_: Any) -> Any:
        faults.wait("ls", path)
        return self.local.ls(self._strip_protocol(path), detail=detail)

    def find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **_: Any
    ) -> Any:
        """As S3 lists all keys under a prefix: a thousand at a time."""
        found = self.local.find(self._strip_protocol(path), maxdepth, withdirs, detail=True)
        for _page in range(0, max(1, len(found)), LISTED_AT_ONCE):
            faults.wait("find", path)
        return found if detail else sorted(found)

    def info(self, path: str, **_: Any) -> Any:
        faults.wait("info", path)
        return self.local.info(self._strip_protocol(path))

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        faults.wait("cat", path)
        return bytes(self.local.cat_file(self._strip_protocol(path), start, end))

    def pipe_file(self, path: str, value: bytes, **_: Any) -> None:
        faults.wait("write", path)
        self._make_parent(path)
        self.local.pipe_file(self._strip_protocol(path), value)

    def put_file(self, lpath: str, rpath: str, **_: Any) -> None:
        faults.wait("write", rpath)
        self._make_parent(rpath)
        self.local.put_file(lpath, self._strip_protocol(rpath))

    def rm_file(self, path: str) -> None:
        faults.wait("delete", path)
        self.local.rm_file(self._strip_protocol(path))

    def modified(self, path: str) -> Any:
        faults.wait("info", path)
        return self.local.modified(self._strip_protocol(path))

    def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        if mode == "rb":
            return _Read(self, path, mode, cache_type="readahead")
        faults.wait("write", path)
        self._make_parent(path)
        return self.local.open(path, mode)

    def _make_parent(self, path: str) -> None:
        self.local.makedirs(self.local._parent(self._strip_protocol(path)), exist_ok=True)


fsspec.register_implementation(PROTOCOL, SlowFileSystem, clobber=True)
