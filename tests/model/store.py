"""An object store in memory that fails on request: `simulated://bucket`. Takes faults, each at the number of an operation.

It keeps S3's promises: an object appears whole or not at all, and of several creations of one name only one succeeds. Whatever
else a store or a machine may do, a fault does.
"""

import errno
import io
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

import fsspec
from fsspec import AbstractFileSystem

Result = TypeVar("Result")

BURST = 2  # operations that fail one after the other
UNLISTED = 3  # objects that a stale listing lacks
WRITES = frozenset({"put", "copy", "create", "delete"})


class FaultKind(StrEnum):
    """What goes wrong at an operation."""

    FAIL = "fails before it takes effect"
    LOSE = "takes effect, but the response is lost"
    THROTTLE = "is refused, like those after it (503)"
    CONFLICT = "conflicts with another writer (409)"
    REFUSE = "is refused, like all later ones of this attempt"
    FULL = "finds the disk full, like all later writes of this attempt"
    STALE = "returns an outdated listing"
    CRASH = "never takes effect: its process dies"
    CRASH_AFTER = "takes effect, then its process dies"
    RIVAL = "waits while another driver runs the same command"


@dataclass(frozen=True, order=True)
class Fault:
    """One fault.

    Attributes:
        at: number of the operation since the attempt began.
        kind: what happens there.
        in_actor: whether a crash there kills only an actor, if one is at work.
    """

    at: int
    kind: FaultKind
    in_actor: bool = False


PASSING = frozenset(
    {FaultKind.FAIL, FaultKind.LOSE, FaultKind.THROTTLE, FaultKind.CONFLICT, FaultKind.STALE, FaultKind.RIVAL}
)
FATAL = frozenset({FaultKind.CRASH, FaultKind.CRASH_AFTER})


class Crash(BaseException):
    """The process has died. Nothing handles it."""


class ActorDied(Crash):
    """An actor's process has died."""


class Refusal(Exception):
    """As botocore's ClientError, which is not an OSError."""


@dataclass
class Objects:
    """The objects, and what happens to the attempts that use them.

    Attributes:
        data: bytes by path.
        injected: how often each kind of fault has happened.
        trace: names of the operations of the current attempt.
        happened: faults of the current attempt that have happened.
        rival: runs another driver; None if there can be none.
        in_actor: whether the running code is an actor's.
    """

    data: dict[str, bytes] = field(default_factory=dict)
    injected: Counter[FaultKind] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)
    happened: list[Fault] = field(default_factory=list)
    rival: Callable[[], None] | None = None
    in_actor: bool = False
    _faults: dict[int, Fault] = field(default_factory=dict)
    _dead: type[Crash] | None = None
    _refused: FaultKind | None = None
    _throttled: int = 0
    _recent: list[str] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def begin(self, faults: list[Fault]) -> None:
        """Begin an attempt: a new process, without the faults of those before it."""
        self.trace, self.happened, self._faults = [], [], {fault.at: fault for fault in faults}
        self._dead, self._refused, self._throttled, self.in_actor = None, None, 0, False

    def replace_actor(self) -> None:
        """Begin another actor, whose predecessor has died."""
        self._dead = None

    def pause(self) -> Callable[[], None]:
        """Set the current attempt aside for another one; gives the function that takes it up again."""
        names = ("trace", "happened", "_faults", "_dead", "_refused", "_throttled", "in_actor", "rival")
        kept = {name: getattr(self, name) for name in names}
        return lambda: self.__dict__.update(kept)

    def run(self, name: str, path: str, act: Callable[[], Result]) -> Result:
        """Run an operation, with the fault that is due."""
        fault = self._next(name, path)
        if fault is None:
            return self._do(name, path, act)
        self.injected[fault.kind] += 1
        self.happened.append(fault)
        if fault.kind is FaultKind.RIVAL and self.rival:
            self.rival()
        elif fault.kind in (FaultKind.LOSE, FaultKind.CRASH_AFTER):
            self._do(name, path, act)
        raised = self._raised(fault)
        if raised is not None:
            raise raised
        return self._do(name, path, act)

    def listed(self) -> dict[str, bytes]:
        """What a listing shows."""
        fault = self._faults.get(len(self.trace) - 1)
        hidden = set(self._recent) if fault and fault.kind is FaultKind.STALE else set()
        return {path: data for path, data in self.data.items() if path not in hidden}

    def _next(self, name: str, path: str) -> Fault | None:
        """Count an operation; gives its fault, if that applies."""
        with self._lock:
            number = len(self.trace)
            self.trace.append(name)
        if self._dead:
            raise self._dead
        if self._throttled:
            self._throttled -= 1
            raise Refusal("An error occurred (503): reduce your request rate")
        if self._refused is FaultKind.REFUSE or (self._refused is FaultKind.FULL and name in WRITES):
            raise self._refusal(self._refused)
        fault = self._faults.get(number)
        return fault if fault and self._applies(fault.kind, name, path) else None

    def _applies(self, kind: FaultKind, name: str, path: str) -> bool:
        """Whether a fault changes anything at an operation."""
        only = {
            FaultKind.CONFLICT: name == "create",
            FaultKind.FULL: name in WRITES,
            FaultKind.STALE: name == "list"
            and any(recent.startswith(path.rstrip("/") + "/") for recent in self._recent),
            FaultKind.RIVAL: self.rival is not None,
        }
        return only.get(kind, True)

    def _raised(self, fault: Fault) -> BaseException | None:
        """What an operation raises because of its fault."""
        if fault.kind in (FaultKind.CRASH, FaultKind.CRASH_AFTER):
            self._dead = ActorDied if fault.in_actor and self.in_actor else Crash
            return self._dead()
        if fault.kind is FaultKind.THROTTLE:
            self._throttled = BURST - 1
        if fault.kind in (FaultKind.REFUSE, FaultKind.FULL):
            self._refused = fault.kind
        if fault.kind in (FaultKind.RIVAL, FaultKind.STALE):
            return None
        return self._refusal(fault.kind)

    def _refusal(self, kind: FaultKind) -> Exception:
        if kind is FaultKind.FULL:
            return OSError(errno.ENOSPC, "No space left on device")
        if kind is FaultKind.LOSE:
            return TimeoutError("timed out")
        return Refusal(f"An error occurred ({409 if kind is FaultKind.CONFLICT else 503}) when calling an operation")

    def _do(self, name: str, path: str, act: Callable[[], Result]) -> Result:
        with self._lock:
            is_new = name in WRITES and path not in self.data
            result = act()
            if is_new and path in self.data:
                self._recent = [*self._recent, path][-UNLISTED:]
            return result


STORES: dict[str, Objects] = {}  # by the first part of a path, the bucket


class SimulatedStore(AbstractFileSystem):
    """The objects as fsspec shows them."""

    protocol = "simulated"
    cachable = False

    def ls(self, path: str, **_: Any) -> Any:
        objects, folder = _objects(path), self._strip_protocol(path).rstrip("/") + "/"

        def act() -> list[dict[str, Any]]:
            entries: dict[str, dict[str, Any]] = {}
            for name, data in objects.listed().items():
                if name.startswith(folder):
                    first, slash, _ = name.removeprefix(folder).partition("/")
                    kind = "directory" if slash else "file"
                    entries[first] = {"name": folder + first, "size": 0 if slash else len(data), "type": kind}
            if not entries:
                raise FileNotFoundError(errno.ENOENT, "no such folder", folder)
            return [entries[name] for name in sorted(entries)]

        return objects.run("list", path, act)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        objects = _objects(path)
        size = objects.run("head", path, lambda: len(_get(objects, path)))
        return {"name": path, "size": size, "type": "file"}

    def modified(self, path: str) -> datetime:
        objects = _objects(path)
        objects.run("head", path, lambda: _get(objects, path))
        return datetime(2026, 1, 1, tzinfo=UTC)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        objects = _objects(path)
        return objects.run("get", path, lambda: _get(objects, path)[start:end])

    def pipe_file(self, path: str, value: bytes, **_: Any) -> None:
        objects = _objects(path)
        objects.run("put", path, lambda: objects.data.update({path: bytes(value)}))

    def put_file(self, lpath: str, rpath: str, **_: Any) -> None:
        with open(lpath, "rb") as file:
            self.pipe_file(rpath, file.read())

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        objects = _objects(path2)
        objects.run("copy", path2, lambda: objects.data.update({path2: _get(objects, path1)}))

    def rm_file(self, path: str) -> None:
        objects = _objects(path)

        def act() -> None:
            _get(objects, path)
            del objects.data[path]

        objects.run("delete", path, act)

    def open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        path = self._strip_protocol(path)
        return _Reading(path) if mode == "rb" else _Creating(path)


fsspec.register_implementation("simulated", SimulatedStore, clobber=True)


class _Reading(io.BytesIO):
    """An open object, whose every read is a request."""

    def __init__(self, path: str) -> None:
        self._path, self._objects = path, _objects(path)
        super().__init__(self._objects.run("head", path, lambda: _get(self._objects, path)))

    def read(self, size: int | None = -1) -> bytes:
        return self._objects.run("get", self._path, lambda: super(_Reading, self).read(size))


class _Creating(io.BytesIO):
    """An object that is created when it is closed, unless it exists."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path, self._objects = path, _objects(path)

    def __exit__(self, kind: object, *_: object) -> None:
        data = self.getvalue()

        def act() -> None:
            if self._path in self._objects.data:  # If-None-Match: the store answers with a 412
                raise FileExistsError(errno.EEXIST, "the object exists", self._path)
            self._objects.data[self._path] = data

        if kind is None:
            self._objects.run("create", self._path, act)


def _objects(path: str) -> Objects:
    return STORES[SimulatedStore._strip_protocol(path).lstrip("/").partition("/")[0]]


def _get(objects: Objects, path: str) -> bytes:
    try:
        return objects.data[path]
    except KeyError:
        raise FileNotFoundError(errno.ENOENT, "no such object", path) from None
