"""A watcher that stores an attempt's progress. Takes phases, counts and reports; writes progress.json about once a second."""

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

from jobs.watch import LogWatcher
from workers.actors.reports import ShardReport
from workers.store.attempts import WAITING, Attempts, Progress

EVERY_S = 1.0
LAST_WAIT_S = 10.0  # for the last write, when the attempt ends
BEAT_S = 10.0  # longest time between two writes, so that a phase without progress still has a heartbeat


class ProgressWriter(LogWatcher):
    """Stores an attempt's progress about once a second, and logs its phases and messages.

    Inside a `with`, a separate thread writes the progress, at least every ten seconds, so that a store that fails or hangs does
    not delay the run. The thread also interrupts an attempt that should stop: one that was considered lost and has a successor,
    or one that was cancelled without a signal reaching it. A failed write is logged and not retried; newer progress follows
    within a second.

    Args:
        attempts: the attempts at the run, under a root without retries.
        number: number of this attempt.
        clock: gives seconds, for rates.
    """

    def __init__(self, attempts: Attempts, number: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(run=attempts.run, attempt=number)
        self._attempts, self._number, self._clock = attempts, number, clock
        self._progress = Progress(at="")
        self._phase_start = clock()
        self._seconds = dict.fromkeys(("all", "decode", "store"), 0.0)
        self._over = Event()
        self._heartbeat = Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        # A Ray that a script started in the background ignores SIGINT, and so does every driver of it.
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self._heartbeat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._heartbeat.join(LAST_WAIT_S)

    def phase(self, name: str, total: int | None, unit: str) -> None:
        """Begin a phase."""
        self._phase_start = self._clock()
        self._progress = replace(self._progress, phase=name, total=total, unit=unit, done=0, per_s=None, left_s=None)
        self._seconds = dict.fromkeys(self._seconds, 0.0)
        super().phase(name, total, unit)

    def advance(self, done: int, rejects: int = 0) -> None:  # noqa: ARG002 - `report` counts them by reason
        """Set how many units of this phase are done."""
        spent = self._clock() - self._phase_start
        rate = done / spent if done and spent > 0 else None
        total = self._progress.total
        left = (total - done) / rate if rate and total is not None else None
        self._progress = replace(self._progress, done=done, per_s=rate, left_s=left)

    def report(self, report: ShardReport) -> None:
        """Add the report of a finished shard."""
        costs = {"all": report.seconds, "decode": report.wait_s, "store": report.store_s}
        self._seconds = {name: self._seconds[name] + cost for name, cost in costs.items()}
        total_s = self._seconds["all"] or 1.0
        waits = {name: self._seconds[name] / total_s for name in ("decode", "store")}
        shares = waits | {"compute": max(0.0, 1 - sum(waits.values()))}
        rejects = Counter(self._progress.rejects) + Counter(report.rejects)
        self._progress = replace(self._progress, shares=shares, rejects=dict(rejects))

    def wait(self, line: str) -> None:
        """Report that the run waits for a place on the cluster; the line says which runs hold it."""
        self._progress = replace(self._progress, phase=WAITING)
        self.say(line)

    def say(self, line: str, **about: object) -> None:
        """Report a message."""
        self._progress = replace(self._progress, line=line)
        super().say(line, **about)

    def _beat(self) -> None:
        written, last_beat = Progress(at=""), self._clock()  # nothing to write yet
        while not self._over.wait(EVERY_S):
            progress, is_due = self._progress, self._clock() - last_beat >= BEAT_S
            if progress != written or is_due:
                self._write(progress)
                written = progress
            if is_due:
                last_beat = self._clock()
                if self._should_stop():
                    os.kill(os.getpid(), signal.SIGINT)
                    return
        if self._progress != written:
            self._write(self._progress)

    def _should_stop(self) -> bool:
        try:
            reason = self._attempts.stop_reason(self._number)
        except Exception as error:  # noqa: BLE001 - the heartbeat must go on; the attempt continues
            self.note(f"cannot check whether this attempt should stop: {error}")
            return False
        if reason:
            self.note(f"this attempt stops: {reason}")
        return bool(reason)

    def _write(self, progress: Progress) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            self._attempts.report_progress(self._number, replace(progress, at=now))
        except Exception as error:  # noqa: BLE001 - the heartbeat must go on
            self.note(f"progress cannot be written: {error}")
