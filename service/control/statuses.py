"""States of submitted runs. Takes a root, a cluster and a clock, gives states: from files, from Ray, from heartbeats.

Files take precedence, because Ray loses its own table of jobs with its head node.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial

from service.control.clusters import Cluster, State
from service.pools import CallPool
from workers.errors import ClusterError, DamagedRun, RunError, StoreError, nearest
from workers.host.exit_codes import CANCELLED
from workers.spec.make import check_run_id
from workers.store import paths
from workers.store.attempts import WAITING, Attempts, Begun, Ended, Progress
from workers.store.root import Root

GRACE = timedelta(seconds=30)  # from taking a number until Ray knows the job; and between two heartbeats
QUEUE_LIMIT = timedelta(hours=1)  # longest assumed time in the queue, if the cluster gives no state
AT_ONCE = 16  # runs read in parallel: on a remote store each costs some round trips
LIMIT_S = 60.0  # timeout until the next run has been read
MOST_RUNS = 1_000_000  # runs that may wait for a thread


class RunState(StrEnum):
    """The state of a run.

    `lost`: its attempt ended without a record, as when the head node of its cluster died. Submitting it again resumes it,
    as it does for `failed` and `cancelled`. `damaged`: its files under the root cannot be read.
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
    """A run and the state of its last attempt.

    Attributes:
        run: run id.
        state: its state.
        attempt: number of the last attempt; 0 if it was never submitted.
        job: kind of job, or empty.
        submitted: when the last attempt was submitted, UTC, ISO 8601, or empty.
        error: why it failed, or empty.
        waits: what it waits for while it is pending, or empty.
        progress: the last reported progress of the last attempt; without a rate if the attempt has ended.
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


class Statuses:
    """The statuses of a root's runs. Safe to use from many threads and processes.

    Args:
        root: the root.
        cluster: the cluster that executes the runs.
        clock: gives the time.
    """

    def __init__(self, root: Root, cluster: Cluster, clock: Callable[[], datetime] = now) -> None:
        self.root = root.absolute()
        self.cluster = cluster
        self.clock = clock
        self._readers = CallPool("the root", AT_ONCE, LIMIT_S, waiting=MOST_RUNS)

    def status(self, run: str) -> Status:
        """The status of a run.

        Raises:
            RunError: there is no such run.
        """
        status = self.known(run)
        if status is None:
            raise RunError(f"run {run!r} was never submitted to {self.root.url!r}; {nearest(run, self._runs())}")
        return status

    def known(self, run: str) -> Status | None:
        """The status of a run; None if there is no such run."""
        return self._last_status(check_run_id(run))

    def statuses(self) -> tuple[Status, ...]:
        """The statuses of all runs of the root, the most recently submitted first; a damaged run does not hide the others.

        Raises:
            Unavailable: the store, or the cluster, does not answer.
        """
        answers = self._readers.ask_all(partial(self._readable, run) for run in self._runs())
        existing = [status for status in answers if status is not None]
        return tuple(sorted(existing, key=lambda status: (status.submitted, status.run), reverse=True))

    def _readable(self, run: str) -> Status | None:
        try:
            return self._last_status(run)
        except DamagedRun as error:
            return Status(run, RunState.DAMAGED, error=str(error))

    def _last_status(self, run: str) -> Status | None:
        attempts = Attempts(self.root, run)
        numbers = attempts.numbers()
        if not numbers:
            return Status(run, RunState.PUBLISHED) if self._is_published(run) else None
        number = numbers[-1]
        begun, recorded = attempts.begun(number), self._recorded_state(attempts, number)
        progress = attempts.progress(number)
        (state, detail) = recorded or self._unrecorded_state(attempts, number, begun, progress)
        about = (begun.job, begun.at) if begun else ("", "")
        error, waits = (detail, "") if state is not RunState.PENDING else ("", detail)
        if progress is not None and state not in LIVE:
            progress = replace(progress, per_s=None, left_s=None)
        return Status(run, state, number, *about, error, progress, waits)

    def _recorded_state(self, attempts: Attempts, number: int) -> tuple[RunState, str] | None:
        """The recorded state of an attempt; None if there is none yet. A job publishes its run before it records its end."""
        ended = attempts.ended(number)
        if self._is_published(attempts.run):
            return RunState.PUBLISHED, ended.error if ended else ""
        return _ended_state(ended) if ended else None

    def _is_published(self, run: str) -> bool:
        return self.root.exists(paths.manifest_path(run))

    def _unrecorded_state(
        self, attempts: Attempts, number: int, begun: Begun | None, progress: Progress | None
    ) -> tuple[RunState, str]:
        """The state of an attempt without a recorded end: as Ray reports it, or judged by its last heartbeat."""
        # Only an answer of the cluster that took the attempt shows that the attempt is gone.
        cluster_answers = begun is not None and begun.cluster == self.cluster.name
        try:
            state, detail = self.cluster.state(submission_id(attempts.run, number))
        except ClusterError as error:
            state, detail, cluster_answers = State.UNKNOWN, str(error), False
        if state.is_live:
            return _waiting_state(progress) or (RunState(state), detail if state is State.PENDING else "")
        recorded = self._recorded_state(attempts, number)
        if recorded is not None:  # it ended between the reading of its files and Ray's answer
            return recorded
        if state is State.UNKNOWN:
            return self._state_by_heartbeat(
                begun,
                progress,
                detail or f"{self.cluster.name} does not know this attempt",
                cluster_answers=cluster_answers,
            )
        if state is State.STOPPED:
            return RunState.CANCELLED, ""
        return self._record_failure(attempts, number, detail or "its process ended without recording an outcome")

    def _state_by_heartbeat(
        self, begun: Begun | None, progress: Progress | None, why: str, *, cluster_answers: bool
    ) -> tuple[RunState, str]:
        """The state of an attempt that the cluster does not report: it may run on another cluster.

        An attempt that has never reported progress may still be queued, unless the cluster that took it does not know it.
        """
        if self._is_within(GRACE, progress):
            return _waiting_state(progress) or (RunState.RUNNING, "")
        if self._is_within(GRACE, begun):
            return RunState.PENDING, ""
        if progress is None and not cluster_answers and self._is_within(QUEUE_LIMIT, begun):
            return RunState.PENDING, f"it has not started yet, and its place in the queue is not known: {why}"
        lost = "the run does not respond; if its cluster is gone, submit the run again to resume it"
        return RunState.LOST, f"{why}; {lost}"

    def _record_failure(self, attempts: Attempts, number: int, error: str) -> tuple[RunState, str]:
        """Record the end of an attempt that could not do so itself, before Ray forgets it with its head node."""
        with suppress(StoreError):  # the caller may have only read access
            attempts.end(number, Ended(self._time(), 1, error))
        return RunState.FAILED, error

    def _is_within(self, time: timedelta, event: Begun | Progress | None) -> bool:
        return event is not None and self.clock() - datetime.fromisoformat(event.at) < time

    def _runs(self) -> list[str]:
        return self.root.folders(paths.RUNS)

    def _time(self) -> str:
        return self.clock().isoformat(timespec="seconds")


def submission_id(run: str, number: int) -> str:
    """Ray's id of an attempt."""
    return f"{run}.{number}"


def _waiting_state(progress: Progress | None) -> tuple[RunState, str] | None:
    """The state of an attempt whose process has started but waits for its turn on the cluster; None for others."""
    return (RunState.PENDING, progress.line) if progress and progress.phase == WAITING else None


def _ended_state(ended: Ended) -> tuple[RunState, str]:
    if ended.exit_code == CANCELLED:
        return RunState.CANCELLED, ended.error
    return RunState.FAILED, ended.error or f"it ended with exit code {ended.exit_code} and is not published"
