"""Runs that are submitted, watched and stopped. Takes specs and run ids, gives attempts; the truth is under the root.

A run has any number of attempts and at most one that is live. The attempt's number is taken by creating a file exclusively,
and holds what is to be done; only then is Ray asked to do it, as job `<run id>.<number>`. Submitting again is resuming.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from service.clusters import Cluster, State
from workers.errors import ClusterError, DamagedRun, NoAnswer, NotTaken, RunError, SpecError, nearest
from workers.instruments import SPECS
from workers.spec import check_run_id, make, slug
from workers.store import paths
from workers.store.attempts import CANCELLED, NOT_TAKEN, Attempts, Begun, Ended, Progress
from workers.store.root import Root

GRACE = timedelta(seconds=30)  # between taking a number and Ray's knowing of the job; and of a silent progress
ASKED_AGAIN_S = (0.0, 1.0, 3.0)  # after an answer that was lost: has the cluster taken the job?
AT_ONCE = 16  # runs that are looked at: on a store far away each costs some round trips


class RunState(StrEnum):
    """How a run is.

    `lost`: its attempt ended without a word, as when the head node of its cluster died. Submitting it again goes on with it,
    as it does for `failed` and `cancelled`. `damaged`: what is written of it under the root cannot be understood.
    """

    PUBLISHED = "published"
    PENDING = "pending"
    RUNNING = "running"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    DAMAGED = "damaged"


LIVE = (RunState.PENDING, RunState.RUNNING)


@dataclass(frozen=True)
class Status:
    """A run, and how its last attempt is.

    Attributes:
        run: run id.
        state: how it is.
        attempt: number of the last attempt; 0 if it was never submitted.
        job: kind of job, or empty.
        submitted: when the last attempt was, UTC, ISO 8601, or empty.
        error: why it failed.
        waits: what it waits for, while it is pending.
        progress: how far the last attempt is, or was.
    """

    run: str
    state: RunState
    attempt: int = 0
    job: str = ""
    submitted: str = ""
    error: str = ""
    progress: Progress | None = None
    waits: str = ""


def now() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)


class Submissions:
    """Submitted runs of a root, on one cluster. May be asked from many threads and processes.

    Args:
        root: where runs are, and what is known of them.
        cluster: what runs them.
        clock: the time.
    """

    def __init__(self, root: Root, cluster: Cluster, clock: Callable[[], datetime] = now) -> None:
        self.root = root.absolute()
        self.cluster = cluster
        self.clock = clock

    def submit(self, job: str, values: Mapping[str, Any]) -> Status:
        """Begin an attempt at a run, or name the one that is live.

        Args:
            job: kind of job.
            values: its spec; the root is ours, and a run id is made where it names none.

        Raises:
            SpecError: with every mistake in the spec.
            RunError: the run is live, or published, with another spec.
            NoAnswer: the cluster does not answer; if it was asked for the job already, nobody knows whether it has it.
            NotTaken: the cluster does not take it, which is written down as a failed attempt.
        """
        spec = self.checked(job, values)
        run = str(spec["run"])
        attempts, before = Attempts(self.root, run), self._last(run)
        # Whether a run that was published without us is the one asked for only a job can say: its device, its listing.
        if before is not None and before.attempt and before.state in (*LIVE, RunState.PUBLISHED):
            return self._same(before, spec)
        self._check_cluster(run)
        number = 1 + (before.attempt if before else 0)
        begun = Begun(self._time(), self.cluster.name, job, spec)
        if not attempts.take(number, begun):
            return self._same(self.status(run), spec)
        try:
            self.cluster.submit(submission_id(run, number), self.root.url, run, number)
        except NoAnswer as error:
            self._check_taken(attempts, number, error)
        except ClusterError as error:
            self._refuse(attempts, number, error)
        return self.status(run)

    def checked(self, job: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """A spec as it will be written down: checked, with the root and a run id.

        Raises:
            SpecError: with every mistake in it.
            RunError: its run id is none.
        """
        if job not in SPECS:
            raise SpecError([f"there is no job {job!r}; {nearest(job, SPECS)}"])
        spec = make(SPECS[job], {**values, "root": self.root.url})
        run = spec.run or self._made_up(job, values)
        return spec.model_dump(mode="json") | {"run": check_run_id(run)}

    def status(self, run: str) -> Status:
        """How a run is.

        Raises:
            RunError: there is no such run.
        """
        found = self.known(run)
        if found is None:
            raise RunError(f"run {run!r} was never submitted to {self.root.url!r}; {nearest(run, self._runs())}")
        return found

    def known(self, run: str) -> Status | None:
        """How a run is; None if there is no such run."""
        return self._last(check_run_id(run))

    def statuses(self) -> tuple[Status, ...]:
        """All runs of the root, the last submitted first; a damaged one does not hide the others."""
        with ThreadPoolExecutor(AT_ONCE) as threads:
            found = [status for status in threads.map(self._readable, self._runs()) if status is not None]
        return tuple(sorted(found, key=lambda each: (each.submitted, each.run), reverse=True))

    def cancel(self, run: str) -> Status:
        """Stop the live attempt at a run; what it has finished stays.

        Raises:
            RunError: there is no such run, or none of its attempts is live.
        """
        found = self.status(run)
        if found.state not in LIVE:
            raise RunError(f"run {run!r} is {found.state}: there is nothing to cancel")
        self.cluster.stop(submission_id(run, found.attempt))
        Attempts(self.root, run).end(found.attempt, Ended(self._time(), CANCELLED, "cancelled"))
        return self.status(run)

    def logs(self, run: str) -> str:
        """What the last attempt at a run has printed."""
        found = self.status(run)
        return self.cluster.logs(submission_id(run, found.attempt)) if found.attempt else ""

    def _check_cluster(self, run: str) -> None:
        try:
            self.cluster.check()
        except ClusterError as error:
            raise type(error)(f"{error}; run {run!r} was not submitted: submit it again then") from error

    def _check_taken(self, attempts: Attempts, number: int, error: NoAnswer) -> None:
        """Find out whether a job whose answer was lost is there; if nobody can say, its attempt stays open.

        Raises:
            NoAnswer: nobody can say.
            NotTaken: it is not there; if it comes in spite of that, it finds its attempt ended and does nothing.
        """
        for wait in ASKED_AGAIN_S:
            time.sleep(wait)
            try:
                if self.cluster.state(submission_id(attempts.run, number), insist=True)[0] is not State.UNKNOWN:
                    return
                self._refuse(attempts, number, error)
            except NoAnswer:
                continue
        told = f"whether it has taken attempt {number} at run {attempts.run!r} is not known: ask for its status"
        raise NoAnswer(f"{error}; {told}, and submit it again if it is lost") from error

    def _refuse(self, attempts: Attempts, number: int, error: ClusterError) -> None:
        """Write down that an attempt was not taken, and say so."""
        attempts.end(number, Ended(self._time(), NOT_TAKEN, str(error)))
        told = f"run {attempts.run!r} was not taken, as its attempt {number} says: submit it again then"
        raise NotTaken(f"{error}; {told}") from error

    def _readable(self, run: str) -> Status | None:
        try:
            return self._last(run)
        except DamagedRun as error:
            return Status(run, RunState.DAMAGED, error=str(error))

    def _last(self, run: str) -> Status | None:
        attempts = Attempts(self.root, run)
        numbers = attempts.numbers()
        if not numbers:
            return Status(run, RunState.PUBLISHED) if self._is_published(run) else None
        number = numbers[-1]
        begun, stands = attempts.begun(number), self._standing(attempts, number)
        progress = attempts.progress(number)
        (state, told) = stands or self._seen(attempts, number, begun, progress)
        about = (begun.job, begun.at) if begun else ("", "")
        error, waits = (told, "") if state is not RunState.PENDING else ("", told)
        return Status(run, state, number, *about, error, progress, waits)

    def _standing(self, attempts: Attempts, number: int) -> tuple[RunState, str] | None:
        """How an attempt is by what is written; None while nothing is. A job publishes first, and then says that it ended."""
        ended = attempts.ended(number)
        if self._is_published(attempts.run):
            return RunState.PUBLISHED, ended.error if ended else ""
        return _told(ended) if ended else None

    def _is_published(self, run: str) -> bool:
        return self.root.exists(paths.manifest_path(run))

    def _seen(
        self, attempts: Attempts, number: int, begun: Begun | None, progress: Progress | None
    ) -> tuple[RunState, str]:
        """How an attempt is that has not said that it ended: as Ray sees it, or by the last sign of life."""
        try:
            state, told = self.cluster.state(submission_id(attempts.run, number))
        except ClusterError as error:
            state, told = State.UNKNOWN, str(error)
        if state.is_live:
            return RunState(state), told if state is State.PENDING else ""
        stands = self._standing(
            attempts, number
        )  # it may have ended after its files were read, and before Ray was asked
        if stands is not None:
            return stands
        if state is State.UNKNOWN:
            return self._by_signs(begun, progress, told or f"{self.cluster.name} does not know it")
        if state is State.STOPPED:
            return RunState.CANCELLED, ""
        return self._keep(attempts, number, told or "its process ended without a word")

    def _by_signs(self, begun: Begun | None, progress: Progress | None, why: str) -> tuple[RunState, str]:
        """How an attempt is of which no cluster tells: it may run on another one than is asked."""
        if self._is_recent(progress):
            return RunState.RUNNING, ""
        if self._is_recent(begun):
            return RunState.PENDING, ""
        return (
            RunState.LOST,
            f"{why}; and it gives no sign of life: if its cluster is gone, submit it again and it goes on",
        )

    def _keep(self, attempts: Attempts, number: int, error: str) -> tuple[RunState, str]:
        """Write down how an attempt ended that could not do so itself: Ray forgets it with its head node."""
        with suppress(OSError):  # who may only read looks too
            attempts.end(number, Ended(self._time(), 1, error))
        return RunState.FAILED, error

    def _is_recent(self, sign: Begun | Progress | None) -> bool:
        return sign is not None and self.clock() - datetime.fromisoformat(sign.at) < GRACE

    def _same(self, found: Status, spec: Mapping[str, Any]) -> Status:
        """A run that stands in the way, if it is what is asked for."""
        begun = Attempts(self.root, found.run).begun(found.attempt)
        if begun is not None and dict(begun.spec) != dict(spec):
            raise RunError(f"run {found.run!r} is {found.state} with another spec; give another run id")
        return found

    def _runs(self) -> list[str]:
        return self.root.folders(paths.RUNS)

    def _made_up(self, job: str, values: Mapping[str, Any]) -> str:
        """A run id from the kind of job, its model, its corpus and the time."""
        model, corpus = (values.get(key) for key in ("model", "corpus"))
        named = [str(part.get("source", "")) for part in (model, corpus) if isinstance(part, Mapping)]
        words = [PurePosixPath(name.partition("?")[0].rstrip("/")).name for name in named]
        return f"{slug(job, *words)}-{self.clock():%Y%m%dt%H%M%S%fz}"

    def _time(self) -> str:
        return self.clock().isoformat(timespec="seconds")


def submission_id(run: str, number: int) -> str:
    """What Ray calls an attempt."""
    return f"{run}.{number}"


def _told(ended: Ended) -> tuple[RunState, str]:
    if ended.exit_code == CANCELLED:
        return RunState.CANCELLED, ended.error
    return RunState.FAILED, ended.error or f"it ended with exit code {ended.exit_code} and is not published"
