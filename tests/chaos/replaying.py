"""Workers that replay a recorded run. Takes a job, gives workers that write the results which the undisturbed run wrote.

An actor that computes imports torch, which takes seconds of CPU time, and rounds start many actors. What rounds test, the pool,
the store and the order of things, does not depend on how a result is computed. Real workers compute what is not in the record.
"""

import hashlib
import pickle
import time
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from workers.actors.derive import derive
from workers.actors.environment import Environment
from workers.actors.shard import Derived, Group
from workers.store.root import patient

PACE_S = 1.0  # of an item, so that a run lasts long enough for faults
RECORD = "DECONVOY_TEST_RECORD"  # environment variable: the folder of the record


class Replayed:
    """Makes a worker, as `partial(make, job)` does.

    Args:
        folder: the folder of the record.
        make: the class of the real worker.
        job: its job.
    """

    def __init__(self, folder: str, make: Any, job: Any) -> None:
        self._folder, self._name, self._root = folder, make.__name__, job.spec.root
        self._real = pickle.dumps(partial(make, job))  # loading it imports torch

    def __call__(self) -> "Replaying":
        """The worker."""
        return Replaying(Path(self._folder) / self._name, self._root, self._real)


class Replaying:
    """A worker that writes recorded results, and records those that it had to compute."""

    def __init__(self, folder: Path, root: str, real: bytes) -> None:
        self._folder, self._root, self._pickled, self.done = folder, patient(root), real, 0
        folder.mkdir(parents=True, exist_ok=True)

    @cached_property
    def _real(self) -> Any:
        return pickle.loads(self._pickled)()  # noqa: S301 - written above

    def check(self) -> Environment:
        """As the real worker's."""
        recorded = self._load("environment")
        if recorded is None:
            recorded = self._record("environment", self._real.check())
        assert isinstance(recorded, Environment)
        return recorded

    def run(self, item: Any) -> Any:
        """Write the results of an item and report it."""
        if isinstance(item, Derived):
            return derive(self._root, item)
        names = [item.result] if isinstance(item, Group) else [shard.result for shard in item.shards]
        key = hashlib.sha256("\n".join(names).encode()).hexdigest()
        recorded = self._load(key)
        if recorded is None:
            return self._compute(item, names, key)
        report, results = recorded
        time.sleep(PACE_S)
        for name, data in results.items():
            self._root.put(name, data)
        return report if isinstance(item, Group) else replace(report, work=item)

    def _compute(self, item: Any, names: list[str], key: str) -> Any:
        report = self._real.run(item)
        kept = report if isinstance(item, Group) else replace(report, work=None)
        self._record(key, (kept, {name: self._root.read(name) for name in names}))
        return report

    def _load(self, name: str) -> Any:
        path = self._folder / name
        return pickle.loads(path.read_bytes()) if path.exists() else None  # noqa: S301 - written below

    def _record(self, name: str, value: Any) -> Any:
        written = self._folder / f"{name}.{time.monotonic_ns()}"
        written.write_bytes(pickle.dumps(value))
        written.rename(self._folder / name)
        return value


def install(folder: str) -> None:
    """Make the scans of this process replay."""
    import jobs.run.attempt
    import jobs.scan
    from workers.actors.project import ProjectWorker
    from workers.actors.scan import ScanWorker

    def make(function: Any, *given: Any, **more: Any) -> Any:
        if function in (ScanWorker, ProjectWorker):
            return Replayed(folder, function, *given)
        return partial(function, *given, **more)

    for module in (jobs.scan, jobs.run.attempt):
        setattr(module, "partial", make)  # noqa: B010 - its type differs
