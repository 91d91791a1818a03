"""One run on a cluster, and what happens to it. Takes faults and their times, gives the tables, or the promise that broke."""

import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.cluster import ThreeNodes
from tests.chaos.drivers import Driver
from tests.chaos.faults import FAULTS
from workers.host.exit_codes import CANCELLED
from workers.store import verify
from workers.store.root import Root

RUN = "one"
TICK_S = 0.05
SILENCE_S = 60.0  # longest time without output of a driver that runs
ATTEMPTS = 12
LEAVE_S = 30.0  # time in which actors end after their driver
Due = tuple[float, str, float]  # seconds after which a fault comes, its name, and what it chooses by
HEAD_IS_LOST = "so this run ends; the same command resumes it"
RAY_ENDS = "Failed to get the system config from raylet because it is dead. Worker will terminate."  # Ray's own line
# A command that cannot begin is refused with exit code 2.
REFUSALS = ("no Ray cluster answers", "cannot be written: No space left on device")


@dataclass
class Round:
    """What happened in one round.

    Attributes:
        number: the round's number.
        faults: what was injected, and after how many seconds.
        ends: how drivers ended.
        longest_silence_s: longest time without output of a driver.
        seconds: how long the round took.
    """

    number: int
    faults: list[tuple[float, str]] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    longest_silence_s: float = 0.0
    seconds: float = 0.0


class Broken(AssertionError):
    """A promise is broken."""


class Scene:
    """One run, its drivers, and what will happen to it."""

    def __init__(
        self, cluster: ThreeNodes, control: Path, spec: Path, due: list[Due], environment: Mapping[str, str]
    ) -> None:
        self.cluster, self.control, self._spec = cluster, control, spec
        self._folder, self._due, self._environment = spec.parent, due, environment
        self._drivers: list[Driver] = []
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._started = self._spoken = time.monotonic()
        self._count, self._words = 0, 0

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

    def play(self, outcome: Round) -> dict[str, bytes]:
        """Run the command until it has published the run and all its drivers have ended; returns the tables."""
        try:
            while self._drivers or not outcome.ends["done"]:
                if not outcome.ends["done"]:  # a driver that is killed later leaves what it was about to publish
                    self._begin_faults(outcome)
                self._act(float("inf") if outcome.ends["done"] else self._now)
                self._look(outcome)
                self._require_output(outcome)
                self._require_whole()
                time.sleep(TICK_S)
        finally:
            outcome.seconds = self._now
            self._act(float("inf"))
            for driver in self._drivers:
                driver.close()
        self._require_end()
        return _tables(self._folder / "root")

    def _begin_faults(self, outcome: Round) -> None:
        while self._due and self._due[0][0] <= self._now and self._drivers:
            at, name, choice = self._due.pop(0)
            _, fault = FAULTS[name]
            if fault(self, random.Random(choice)):
                outcome.faults.append((round(at, 2), name))

    def _act(self, until: float) -> None:
        """Do what was put off until now."""
        due = [act for at, act in self._later if at <= until]
        self._later = [(at, act) for at, act in self._later if at > until]
        for act in due:
            act()

    def _look(self, outcome: Round) -> None:
        """Note which drivers have ended, and start one if there is none."""
        for driver in [driver for driver in self._drivers if driver.code is not None]:
            self._drivers.remove(driver)
            outcome.ends[_end_of(driver)] += 1
        if not self._drivers and not outcome.ends["done"]:
            self.cluster.heal(failing_calls=self.cluster.has_failing_calls)
            self.start_driver()
            self._spoken = time.monotonic()

    def _require_output(self, outcome: Round) -> None:
        lines = [line for path in self._folder.glob("output*") for line in path.read_text().splitlines()]
        words = sum(not line.startswith("[") for line in lines)  # those are Ray's
        if words != self._words:
            self._words, self._spoken = words, time.monotonic()
        silence = time.monotonic() - self._spoken
        outcome.longest_silence_s = max(outcome.longest_silence_s, round(silence, 1))
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
        return "ended before the run began"
    if driver.code == 1 and RAY_ENDS in "".join(text[-1:]):
        return "ended by Ray"
    errors = [line for line in text if line.startswith("deconvoy: ") or HEAD_IS_LOST in line]
    is_refusal = any(refusal in "".join(text[-1:]) for refusal in REFUSALS)
    allowed = (2,) if is_refusal else (1, CANCELLED)
    if driver.code not in allowed or text[-1:] != errors:
        raise Broken(f"a driver ended with code {driver.code}, saying {text[-3:]}")
    return "cancelled" if driver.code == CANCELLED else "ended with a one-line error"


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
