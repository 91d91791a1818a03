"""States of submitted runs. Takes a root, a cluster and a time, gives states: from files, from Ray, from signs of life.

Files win: Ray's own table of jobs is lost with its head node.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial

from service.control.clusters import Cluster, State
from service.pools import Pool
from workers.errors import ClusterError, DamagedRun, RunError, StoreError, nearest
from workers.host.exit_codes import CANCELLED
from workers.spec.make import check_run_id
from workers.store import paths
from workers.store.attempts import WAITING, Attempts, Begun, Ended, Progress
from workers.store.root import Root

GRACE = timedelta(seconds=30)  # between taking a number and Ray's knowing of the job; and of a silent progress
QUEUED = timedelta(hours=1)  # in which a job starts its process, assumed where the cluster gives no state
AT_ONCE = 16  # runs that are read at once: on a store far away each costs some round trips
LIMIT_S = 60.0  # that one more of them is waited for
MOST_RUNS = 1_000_000  # that wait for one of these threads


class RunState(StrEnum):
    """How a run is.

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


class Statuses:
    """How the runs of a root are. May be asked from many threads and processes.

    Args:
        root: where runs are, and what is known of them.
        cluster: what runs them.
        clock: the time.
    """

    def __init__(self, root: Root, cluster: Cluster, clock: Callable[[], datetime] = now) -> None:
        self.root = root.absolute()
        self.cluster = cluster
        self.clock = clock
        self._readers = Pool("the root", AT_ONCE, LIMIT_S, waiting=MOST_RUNS)

    def status(self, run: str) -> Status:
        """How a run is.

        Raises:
            RunError: there is no such run.
        """
        status = self.known(run)
        if status is None:
            raise RunError(f"run {run!r} was never submitted to {self.root.url!r}; {nearest(run, self._runs())}")
        return status

    def known(self, run: str) -> Status | None:
        """How a run is; None if there is no such run."""
        return self._last(check_run_id(run))

    def statuses(self) -> tuple[Status, ...]:
        """All runs of the root, the last submitted first; a damaged one does not hide the others.

        Raises:
            Unavailable: the store, or the cluster, does not answer.
        """
        answers = self._readers.ask_all(partial(self._readable, run) for run in self._runs())
        found = [status for status in answers if status is not None]
        return tuple(sorted(found, key=lambda status: (status.submitted, status.run), reverse=True))

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
        begun, recorded = attempts.begun(number), self._recorded(attempts, number)
        progress = attempts.progress(number)
        (state, detail) = recorded or self._seen(attempts, number, begun, progress)
        about = (begun.job, begun.at) if begun else ("", "")
        error, waits = (detail, "") if state is not RunState.PENDING else ("", detail)
        return Status(run, state, number, *about, error, progress, waits)

    def _recorded(self, attempts: Attempts, number: int) -> tuple[RunState, str] | None:
        """The recorded state of an attempt; None while there is none. A job publishes first, and then records its end."""
        ended = attempts.ended(number)
        if self._is_published(attempts.run):
            return RunState.PUBLISHED, ended.error if ended else ""
        return _ending(ended) if ended else None

    def _is_published(self, run: str) -> bool:
        return self.root.exists(paths.manifest_path(run))

    def _seen(
        self, attempts: Attempts, number: int, begun: Begun | None, progress: Progress | None
    ) -> tuple[RunState, str]:
        """The state of an attempt without a recorded end: as Ray sees it, or by the last sign of life."""
        # That another cluster does not know it means nothing.
        knows = begun is not None and begun.cluster == self.cluster.name
        try:
            state, detail = self.cluster.state(submission_id(attempts.run, number))
        except ClusterError as error:
            state, detail, knows = State.UNKNOWN, str(error), False
        if state.is_live:
            return _waiting(progress) or (RunState(state), detail if state is State.PENDING else "")
        recorded = self._recorded(attempts, number)
        if recorded is not None:  # it ended after its files were read, and before Ray was asked
            return recorded
        if state is State.UNKNOWN:
            return self._by_signs(begun, progress, detail or f"{self.cluster.name} does not know it", knows=knows)
        if state is State.STOPPED:
            return RunState.CANCELLED, ""
        return self._keep(attempts, number, detail or "its process ended without a record")

    def _by_signs(
        self, begun: Begun | None, progress: Progress | None, why: str, *, knows: bool
    ) -> tuple[RunState, str]:
        """The state of an attempt that no cluster reports: it may run on another cluster.

        One that has never written its progress may still be queued, unless the cluster that took it does not know it.
        """
        if self._is_within(GRACE, progress):
            return _waiting(progress) or (RunState.RUNNING, "")
        if self._is_within(GRACE, begun):
            return RunState.PENDING, ""
        if progress is None and not knows and self._is_within(QUEUED, begun):
            return RunState.PENDING, f"it has not started yet, and how it is queued is not known: {why}"
        lost = "it does not respond; if its cluster is gone, submit it again to resume"
        return RunState.LOST, f"{why}; {lost}"

    def _keep(self, attempts: Attempts, number: int, error: str) -> tuple[RunState, str]:
        """Record the end of an attempt that could not do so itself: Ray forgets it with its head node."""
        with suppress(StoreError):  # callers may have read access alone
            attempts.end(number, Ended(self._time(), 1, error))
        return RunState.FAILED, error

    def _is_within(self, time: timedelta, sign: Begun | Progress | None) -> bool:
        return sign is not None and self.clock() - datetime.fromisoformat(sign.at) < time

    def _runs(self) -> list[str]:
        return self.root.folders(paths.RUNS)

    def _time(self) -> str:
        return self.clock().isoformat(timespec="seconds")


def submission_id(run: str, number: int) -> str:
    """What Ray calls an attempt."""
    return f"{run}.{number}"


def _waiting(progress: Progress | None) -> tuple[RunState, str] | None:
    """The state of an attempt whose process runs, and waits for its place on the cluster; None of any other."""
    return (RunState.PENDING, progress.line) if progress and progress.phase == WAITING else None


def _ending(ended: Ended) -> tuple[RunState, str]:
    if ended.exit_code == CANCELLED:
        return RunState.CANCELLED, ended.error
    return RunState.FAILED, ended.error or f"it ended with exit code {ended.exit_code} and is not published"
