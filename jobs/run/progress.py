"""A watcher that writes down how far an attempt is. Takes phases, numbers and reports; gives a file that others read."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from threading import Event, Thread
from types import TracebackType
from typing import Self

from jobs.watch import Logged
from workers.actors.shard import ShardReport
from workers.store.attempts import WAITING, Attempts, Progress

EVERY_S = 1.0
LAST_WAIT_S = 10.0  # for the last progress, at the end
BEAT_S = 10.0  # a phase that says nothing, such as a long publish, is seen to be alive


class Told(Logged):
    """Records an attempt's progress about once a second, and its phases and lines in the log.

    In a `with` a thread of its own writes the progress, at least every ten seconds, so that a store that fails or hangs does not
    hold up the run. It also checks whether the attempt is still wanted: one that was taken for lost and overtaken, or cancelled
    where no signal reached it, is interrupted. What cannot be written is logged; a second later there is newer progress.

    Args:
        attempts: of the run; under a root that does not wait for its store.
        number: this attempt.
        clock: seconds, for rates.
    """

    def __init__(self, attempts: Attempts, number: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(run=attempts.run, attempt=number)
        self._attempts, self._number, self._clock = attempts, number, clock
        self._progress = Progress(at="")
        self._began = clock()
        self._seconds = dict.fromkeys(("all", "decode", "store"), 0.0)
        self._over = Event()
        self._heart = Thread(target=self._beat, name="heart", daemon=True)

    def __enter__(self) -> Self:
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._heart.join(LAST_WAIT_S)

    def phase(self, name: str, total: int | None, unit: str) -> None:
        """A phase begins."""
        self._began = self._clock()
        self._progress = replace(self._progress, phase=name, total=total, unit=unit, done=0, per_s=None, left_s=None)
        self._seconds = dict.fromkeys(self._seconds, 0.0)
        super().phase(name, total, unit)

    def advance(self, done: int, rejects: int = 0) -> None:  # noqa: ARG002 - reports tell them by reason
        """So many are done in this phase."""
        spent = self._clock() - self._began
        rate = done / spent if done and spent > 0 else None
        total = self._progress.total
        left = (total - done) / rate if rate and total is not None else None
        self._progress = replace(self._progress, done=done, per_s=rate, left_s=left)

    def report(self, report: ShardReport) -> None:
        """A shard is done."""
        costs = {"all": report.seconds, "decode": report.wait_s, "store": report.store_s}
        self._seconds = {name: self._seconds[name] + cost for name, cost in costs.items()}
        whole = self._seconds["all"] or 1.0
        waits = {name: self._seconds[name] / whole for name in ("decode", "store")}
        shares = waits | {"compute": max(0.0, 1 - sum(waits.values()))}
        rejects = Counter(self._progress.rejects) + Counter(report.rejects)
        self._progress = replace(self._progress, shares=shares, rejects=dict(rejects))

    def wait(self, line: str) -> None:
        """The run waits for its place on the cluster; the line says who holds it."""
        self._progress = replace(self._progress, phase=WAITING)
        self.say(line)

    def say(self, line: str, **about: object) -> None:
        """One line for a person."""
        self._progress = replace(self._progress, line=line)
        super().say(line, **about)

    def _beat(self) -> None:
        written, beat = Progress(at=""), self._clock()  # nothing to write yet
        while not self._over.wait(EVERY_S):
            progress, is_due = self._progress, self._clock() - beat >= BEAT_S
            if progress != written or is_due:
                self._write(progress)
                written = progress
            if is_due:
                beat = self._clock()
                if self._is_unwanted():
                    os.kill(os.getpid(), signal.SIGINT)
                    return
        if self._progress != written:
            self._write(self._progress)

    def _is_unwanted(self) -> bool:
        try:
            why = self._attempts.unwanted(self._number)
        except Exception as error:  # noqa: BLE001 - stores raise what they like; who cannot ask works on
            self.note(f"whether this attempt is still wanted cannot be seen: {error}")
            return False
        if why:
            self.note(f"this attempt stops: {why}")
        return bool(why)

    def _write(self, progress: Progress) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            self._attempts.tell(self._number, replace(progress, at=now))
        except Exception as error:  # noqa: BLE001 - stores raise what they like; a run of hours does not end for it
            self.note(f"progress cannot be written: {error}")
