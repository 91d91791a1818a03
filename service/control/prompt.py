"""A cluster that answers within a limit. Takes a cluster, gives its jobs' states, and does not wait while the cluster is silent.

For read-only callers; code that acts on a state queries the cluster directly.
"""

import threading
import time
from concurrent.futures import Future

from cachetools import TTLCache

from service.control.answers import silence_message
from service.control.clusters import Cluster, State
from service.pools import CallPool
from workers.errors import NoAnswer, Unavailable

LIMIT_S = 1.5  # longest wait for a state
FRESH_S = 1.0  # time for which a state is cached
PROBE_S = 2.0  # interval of background queries to a silent cluster
PAUSE_S = 10.0  # after a pause this long, a caller waits again although the cluster was silent
CACHED_STATES = 1024
THREADS = 16  # the number of runs that `Statuses` reads at once

Answer = tuple[State, str]


class PromptCluster:
    """A cluster for read-only callers. Thread-safe; each job has at most one query in flight.

    Once the cluster has been silent, callers do not wait: NoAnswer is raised at once, and the cluster is queried in the
    background until it answers.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.name = cluster.name
        self._cluster = cluster
        self._pool = CallPool(f"the cluster at {cluster.name}", THREADS, LIMIT_S)
        self._cache: TTLCache[str, Answer] = TTLCache(CACHED_STATES, FRESH_S)
        self._flights: dict[str, Future[Answer]] = {}
        self._lock = threading.Lock()
        self._is_silent = False
        self._queried_at = self._probed_at = 0.0

    def check(self) -> None:
        """Check that the cluster answers."""
        self._cluster.check()

    def submit(self, submission_id: str, root: str, run: str, number: int) -> None:
        """Start an attempt at a run."""
        self._cluster.submit(submission_id, root, run, number)

    def stop(self, submission_id: str) -> None:
        """Tell a job to end."""
        self._cluster.stop(submission_id)

    def logs(self, submission_id: str) -> str:
        """The output of a job so far."""
        return self._cluster.logs(submission_id)

    def state(self, submission_id: str, *, insist: bool = False) -> tuple[State, str]:
        """The state of a job, at most FRESH_S old; see `Cluster.state`. Waits for at most LIMIT_S, unless `insist`.

        Raises:
            NoAnswer: the cluster does not answer in time.
        """
        if insist:
            return self._cluster.state(submission_id, insist=True)
        try:
            answer = self._find(submission_id)
            if isinstance(answer, Future):
                return self._pool.result(answer, LIMIT_S)
        except Unavailable as error:
            self._is_silent = True
            raise NoAnswer(silence_message(self.name)) from error
        if answer is None:
            raise NoAnswer(silence_message(self.name))
        return answer

    def _find(self, submission_id: str) -> "Answer | Future[Answer] | None":
        """The cached state of a job, or the query in flight; None while the cluster is silent."""
        with self._lock:
            now, before = time.monotonic(), self._queried_at
            self._queried_at = now
            cached: Answer | None = self._cache.get(submission_id)
            if cached is not None:
                return cached
            waits = not self._is_silent or now - before > PAUSE_S
            flight = self._flights.get(submission_id)
            if flight is None and (waits or (not self._flights and now - self._probed_at > PROBE_S)):
                self._probed_at = now
                flight = self._flights[submission_id] = self._pool.submit(lambda: self._query(submission_id))
            return flight if waits else None

    def _query(self, submission_id: str) -> Answer:
        try:
            answer = self._cluster.state(submission_id)
        except NoAnswer:
            self._is_silent = True
            raise
        finally:
            with self._lock:
                self._flights.pop(submission_id, None)
        with self._lock:
            self._is_silent, self._cache[submission_id] = False, answer
        return answer
