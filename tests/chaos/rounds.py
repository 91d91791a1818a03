"""Rounds of chaos: one run on a real Ray cluster while its processes and its store fail. Takes a number, gives what happened.

The same number gives the same faults at the same seconds; what they hit depends on the machine.
"""

import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from tests.chaos.cluster import ThreeNodes
from tests.chaos.drivers import MUTATION, Driver
from tests.chaos.faults import FAULTS
from tests.chaos.mutations import MUTATIONS
from tests.support import failing_store
from workers.host.exit_codes import CANCELLED
from workers.host.retrying import PATIENCE
from workers.store import verify
from workers.store.root import Root

REPOSITORY = Path(__file__).parents[2]
RUN = "one"
SPEC = """
run = "one"
root = "failing://{root}"
[model]
source = "deconvoy://zfnet-mini"
[corpus]
source = "{corpus}"
[scan]
layers = ["relu1"]
batch = 4
shard = 4
k = 3
max_reject_share = 0.5
[resources]
device = "cpu"
"""
SPAN_S = 10.0  # faults come in so many seconds
MOST_FAULTS = 4
NOISY = 4  # every so many blocks of numbers, calls between Ray's processes fail
BLOCK = 5  # numbers of a block
TICK_S = 0.05
SILENCE_S = 60.0  # longest time without a word of a driver that runs
ATTEMPTS = 12
LEAVE_S = 30.0  # time in which actors end after their driver
DELAY_S = 0.02  # of every operation of the store, so that a run lasts some seconds
STORE_PATIENCE_S = 20
NOTHING: Mapping[str, str] = {}
Due = tuple[float, str, float]  # seconds after which a fault comes, its name, and what it chooses by
HEAD_IS_LOST, NO_CLUSTER = "so this run ends; the same command resumes it", "no Ray cluster answers"


@dataclass
class Round:
    """What happened in one round.

    Attributes:
        number: the round's number.
        faults: what was injected, and after how many seconds.
        ends: how drivers ended.
        longest_silence_s: longest time without a word of a driver.
        seconds: how long the round took.
    """

    number: int
    faults: list[tuple[float, str]] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    longest_silence_s: float = 0.0
    seconds: float = 0.0


def drawn(number: int) -> list[Due]:
    """The faults of a round."""
    choose = random.Random(number)
    names, weights = list(FAULTS), [weight for weight, _ in FAULTS.values()]
    times = sorted(choose.uniform(0.0, SPAN_S) for _ in range(choose.randint(1, MOST_FAULTS)))
    chosen = choose.choices(names, weights, k=len(times))
    return [(at, name, choose.random()) for at, name in zip(times, chosen, strict=True)]


class Broken(AssertionError):
    """A promise is broken."""


class Chaos:
    """A cluster, a corpus, and the tables of the run that nothing disturbed.

    Args:
        folder: for everything.
        corpus: folder of images.
    """

    def __init__(self, folder: Path, corpus: Path) -> None:
        self._folder, self._corpus, self._stack = folder, corpus, ExitStack()
        self.cluster, self._calm = ThreeNodes(), dict[str, bytes]()
        self.control = folder / "control"
        environment = {
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "tests" / "support" / "failing"), str(REPOSITORY)]),
            failing_store.CONTROL: str(self.control),
            failing_store.DELAY_S: str(DELAY_S),
            PATIENCE: str(STORE_PATIENCE_S),
        }
        patch = self._stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in environment.items():
            patch.setenv(name, value)

    def __enter__(self) -> Self:
        self._stack.enter_context(self.cluster)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def round(self, number: int) -> Round:
        """Run one round.

        Raises:
            Broken: a promise is broken; the message names it.
        """
        self.cluster.heal(failing_calls=number // BLOCK % NOISY == NOISY - 1)
        return self._play(Round(number), drawn(number))

    def show(self, mutation: str) -> str:
        """Run the command with a deliberate fault in it; returns the promise that it breaks.

        Raises:
            AssertionError: no promise breaks.
        """
        self.cluster.heal(failing_calls=False)
        _, faults = MUTATIONS[mutation]
        try:
            self._play(Round(-1), [(at, name, at) for at, name in faults], {MUTATION: mutation})
        except Broken as error:
            return str(error.__cause__ or error)
        raise AssertionError(f"{mutation}: no promise breaks")

    def _play(self, told: Round, due: list[Due], environment: Mapping[str, str] = NOTHING) -> Round:
        if not self._calm:
            self._calm = _Scene(self, self._folder / "calm", [], NOTHING).play(Round(-1))
        folder = self._folder / f"round{told.number}"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            tables = _Scene(self, folder, due, environment).play(told)
            if tables != self._calm:
                raise Broken("tables have other bytes than in a calm run")
        except Broken as error:
            raise Broken(f"round {told.number}: {error}; {told}; see {folder}") from error
        shutil.rmtree(folder)
        return told

    def spec(self, folder: Path) -> Path:
        """A file with the spec of the run in a folder."""
        path = folder / "spec.toml"
        path.write_text(SPEC.format(root=folder / "root", corpus=self._corpus))
        return path


class _Scene:
    """One run, its drivers, and what will happen to it."""

    def __init__(self, chaos: Chaos, folder: Path, due: list[Due], environment: Mapping[str, str]) -> None:
        self.cluster, self.control = chaos.cluster, chaos.control
        self._folder, self._due, self._environment = folder, due, environment
        self._drivers: list[Driver] = []
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._started = self._spoken = time.monotonic()
        self._count, self._words = 0, 0
        folder.mkdir(parents=True)
        self._spec = chaos.spec(folder)

    @property
    def driver(self) -> Driver:
        """The first driver that runs."""
        return self._drivers[0]

    @property
    def _now(self) -> float:
        return time.monotonic() - self._started

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something later, at the latest when the round ends."""
        self._later.append((self._now + seconds, act))

    def start_driver(self) -> None:
        """Start one more driver of the same run."""
        self._count += 1
        if self._count > ATTEMPTS:
            raise Broken(f"{ATTEMPTS} attempts did not publish the run")
        output = self._folder / f"output{self._count}"
        self._drivers.append(Driver(self._spec, output, {"RAY_ADDRESS": self.cluster.address, **self._environment}))

    def play(self, told: Round) -> dict[str, bytes]:
        """Run the command until it has published the run; returns the tables."""
        try:
            while not told.ends["done"]:
                self._begin_faults(told)
                self._act(self._now)
                self._look(told)
                self._require_word(told)
                self._require_whole()
                time.sleep(TICK_S)
        finally:
            told.seconds = self._now
            self._act(float("inf"))
            for driver in self._drivers:
                driver.close()
        self._require_end()
        return _tables(self._folder / "root")

    def _begin_faults(self, told: Round) -> None:
        while self._due and self._due[0][0] <= self._now and self._drivers:
            at, name, choice = self._due.pop(0)
            _, fault = FAULTS[name]
            if fault(self, random.Random(choice)):
                told.faults.append((round(at, 2), name))

    def _act(self, until: float) -> None:
        """Do what was put off until now."""
        due = [act for at, act in self._later if at <= until]
        self._later = [(at, act) for at, act in self._later if at > until]
        for act in due:
            act()

    def _look(self, told: Round) -> None:
        """Note which drivers have ended, and start one if there is none."""
        for driver in [driver for driver in self._drivers if driver.code is not None]:
            self._drivers.remove(driver)
            told.ends[_end_of(driver)] += 1
        if not self._drivers and not told.ends["done"]:
            self.cluster.heal(failing_calls=self.cluster.has_failing_calls)
            self.start_driver()
            self._spoken = time.monotonic()

    def _require_word(self, told: Round) -> None:
        lines = [line for path in self._folder.glob("output*") for line in path.read_text().splitlines()]
        words = sum(not line.startswith("[") for line in lines)  # those are Ray's
        if words != self._words:
            self._words, self._spoken = words, time.monotonic()
        silence = time.monotonic() - self._spoken
        told.longest_silence_s = max(told.longest_silence_s, round(silence, 1))
        if silence > SILENCE_S:
            raise Broken(f"no driver has printed anything for {SILENCE_S:.0f} s")

    def _require_whole(self) -> None:
        """Readers of folders see no file of a run that may never be published, and no row of `runs` before the run."""
        root = self._folder / "root"
        before = _document(root / "runs" / RUN / "manifest.json")
        visible = {path.relative_to(root).as_posix() for path in root.glob("tables/*/*/*.parquet")}
        if not visible:
            return
        claim = _document(root / "runs" / RUN / "claim.json")  # before the manifest, which is there when the claim goes
        document = _document(root / "runs" / RUN / "manifest.json")
        certain = document or claim or {"tables": {}}
        parts = {part["path"] for files in certain["tables"].values() for part in files}
        rows = {path for path in visible if path.startswith("tables/runs/")}
        if rows and not document:
            raise Broken("a row in `runs` without a published run")
        if visible - rows - parts:
            raise Broken(f"readers of folders see {sorted(visible - rows - parts)}, which may never be published")
        if before and parts - visible:
            raise Broken(f"a published run lacks {sorted(parts - visible)}")

    def _require_end(self) -> None:
        """After a run nothing is damaged, nothing waits, and no actor is left."""
        root = self._folder / "root"
        problems = [problem for problem in verify.verify(Root(str(root)), RUN) if problem.damage]
        if problems:
            raise Broken(f"verify finds {problems}")
        waiting = [path for path in (root / "runs" / RUN / "staged").rglob("*") if path.is_file()]
        if waiting:
            raise Broken(f"{waiting} still wait to be published")
        deadline = time.monotonic() + LEAVE_S
        while self.cluster.actors():
            if time.monotonic() > deadline:
                raise Broken(f"{len(self.cluster.actors())} actors are left after {LEAVE_S:.0f} s")
            time.sleep(TICK_S)


def _end_of(driver: Driver) -> str:
    """How a driver ended. Unless it was killed, it must have said why, on its last line.

    Raises:
        Broken: it did not.
    """
    text = driver.lines
    if driver.was_killed:
        return "killed"
    if any(line.startswith("Traceback") for line in text):
        raise Broken("a driver printed a traceback")
    if driver.code == 0:
        return "done"
    if driver.code == -signal.SIGTERM and not text:
        return "ended before it began"
    errors = [line for line in text if line.startswith("deconvoy: ") or HEAD_IS_LOST in line]
    allowed = (2,) if NO_CLUSTER in "".join(text[-1:]) else (1, CANCELLED)
    if driver.code not in allowed or text[-1:] != errors:
        raise Broken(f"a driver ended with code {driver.code}, saying {text[-3:]}")
    return "cancelled" if driver.code == CANCELLED else "stopped in one line"


def _document(path: Path) -> dict[str, Any] | None:
    """A JSON file; None if it does not exist."""
    try:
        read: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return read


def _tables(root: Path) -> dict[str, bytes]:
    """The files of tables, but for the row of `runs`, which has times."""
    paths = [path for path in root.glob("tables/*/*/*.parquet") if path.parts[-3] != "runs"]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
