"""Runs that are submitted, watched and stopped. Takes specs and run ids, gives attempts; the truth is under the root.

A run has any number of attempts and at most one that is live. The attempt's number is taken by creating a file exclusively,
and holds what is to be done; only then is Ray asked to do it, as job `<run id>.<number>`. Submitting again is resuming.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from service.clusters import Cluster, State
from workers.errors import ClusterError, NoAnswer, RunError, SpecError, nearest
from workers.instruments import SPECS
from workers.spec import check_run_id, make
from workers.store import paths
from workers.store.attempts import NOT_TAKEN, Attempts, Begun, Ended, Progress
from workers.store.root import Root

GRACE = timedelta(seconds=30)  # between taking a number and Ray's knowing of the job; and of a silent progress
CANCELLED = 130


class RunState(StrEnum):
    """How a run is.

    `lost`: its attempt ended without a word, as when the head node of its cluster died. Submitting it again goes on with it,
    as it does for `failed` and `cancelled`.
    """

    PUBLISHED = "published"
    PENDING = "pending"
    RUNNING = "running"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


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
        error: why it failed, or what it waits for.
        progress: how far the last attempt is, or was.
    """

    run: str
    state: RunState
    attempt: int = 0
    job: str = ""
    submitted: str = ""
    error: str = ""
    progress: Progress | None = None


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
            ClusterError: the cluster does not answer; or does not take it, which is written down as a failed attempt.
        """
        spec = self.checked(job, values)
        run = str(spec["run"])
        before = self._last(run)
        # Whether a run that was published without us is the one asked for only a job can say: its device, its listing.
        if before is not None and before.attempt and before.state in (*LIVE, RunState.PUBLISHED):
            return self._same(before, spec)
        self.check_cluster(run)
        ours = self._begin(1 + (before.attempt if before else 0), job, spec)
        return self.status(run) if ours else self._same(self.status(run), spec)

    def begin(self, number: int, job: str, values: Mapping[str, Any]) -> bool:
        """Begin an attempt at a run by its number, if nobody has taken that; gives whether it is ours.

        For who has seen how the attempts before it ended: whatever happens meanwhile, the run is not begun twice.

        Raises:
            SpecError: with every mistake in the spec.
            ClusterError: as `submit` does.
        """
        spec = self.checked(job, values)
        self.check_cluster(str(spec["run"]))
        return self._begin(number, job, spec)

    def check_cluster(self, run: str) -> None:
        """Prove that the cluster answers, before a run is submitted to it.

        Raises:
            ClusterError: it does not; the run was not submitted.
        """
        try:
            self.cluster.check()
        except ClusterError as error:
            raise type(error)(f"{error}; run {run!r} was not submitted: submit it again then") from error

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
        found = self._last(check_run_id(run))
        if found is None:
            raise RunError(f"run {run!r} was never submitted to {self.root.url!r}; {nearest(run, self._runs())}")
        return found

    def statuses(self) -> tuple[Status, ...]:
        """All runs of the root, the last submitted first."""
        found = [status for run in self._runs() if (status := self._last(run)) is not None]
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

    def _begin(self, number: int, job: str, spec: Mapping[str, Any]) -> bool:
        run = str(spec["run"])
        attempts = Attempts(self.root, run)
        if not attempts.take(number, Begun(self._time(), self.cluster.name, job, spec)):
            return False
        try:
            self.cluster.submit(submission_id(run, number), self.root.url, run, number)
        except ClusterError as error:
            self._not_taken(attempts, number, error)
        return True

    def _not_taken(self, attempts: Attempts, number: int, error: ClusterError) -> None:
        """Write down that an attempt was not taken, and say so; unless it was and only the answer was lost.

        A job that begins in spite of that finds its attempt ended, and does nothing.
        """
        if isinstance(error, NoAnswer):
            with suppress(ClusterError):
                if self.cluster.state(submission_id(attempts.run, number))[0].is_live:
                    return
        attempts.end(number, Ended(self._time(), NOT_TAKEN, str(error)))
        told = f"run {attempts.run!r} was not taken, as its attempt {number} says: submit it again then"
        raise type(error)(f"{error}; {told}") from error

    def _last(self, run: str) -> Status | None:
        attempts, published = Attempts(self.root, run), self.root.exists(paths.manifest_path(run))
        numbers = attempts.numbers()
        if not numbers:
            return Status(run, RunState.PUBLISHED) if published else None
        number = numbers[-1]
        begun, ended, progress = attempts.begun(number), attempts.ended(number), attempts.progress(number)
        state, error = RunState.PUBLISHED, ended.error if ended else ""
        if not published:
            state, error = _told(ended) if ended else self._seen(run, number, begun, progress)
        told = (begun.job, begun.at) if begun else ("", "")
        return Status(run, state, number, *told, error, progress)

    def _seen(self, run: str, number: int, begun: Begun | None, progress: Progress | None) -> tuple[RunState, str]:
        """How an attempt is that has not said that it ended: as Ray sees it, or by the last sign of life."""
        began, spoke = self._is_recent(begun), self._is_recent(progress)
        again = "submit it again and it goes on"
        try:
            state, told = self.cluster.state(submission_id(run, number))
        except ClusterError as error:
            alive = RunState.RUNNING if spoke else RunState.PENDING
            silent = f"{error}; and it gives no sign of life: if the cluster is gone, {again}"
            return (alive, "") if spoke or began else (RunState.LOST, silent)
        if state.is_live:
            return RunState(state), told if state is State.PENDING else ""
        if state is State.UNKNOWN:
            if spoke:  # it runs elsewhere: another cluster is asked than the one that was given it
                return RunState.RUNNING, ""
            lost = f"{self.cluster.name} does not know it, and it gives no sign of life: {again}"
            return (RunState.PENDING, "") if began else (RunState.LOST, lost)
        if state is State.STOPPED:
            return RunState.CANCELLED, ""
        return RunState.FAILED, told or "its process ended without a word"

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
        stem = re.sub(r"[^a-z0-9]+", "-", "-".join([job, *words]).lower()).strip("-")[:70]
        return f"{stem}-{self.clock():%Y%m%dt%H%M%S%fz}"

    def _time(self) -> str:
        return self.clock().isoformat(timespec="seconds")


def submission_id(run: str, number: int) -> str:
    """What Ray calls an attempt."""
    return f"{run}.{number}"


def _told(ended: Ended) -> tuple[RunState, str]:
    if ended.exit_code == CANCELLED:
        return RunState.CANCELLED, ended.error
    return RunState.FAILED, ended.error or f"it ended with exit code {ended.exit_code} and is not published"
