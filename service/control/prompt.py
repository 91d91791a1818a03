"""A cluster that answers soon or not at all. Takes a cluster, gives its jobs' states; a cluster that hangs is not waited for.

For read-only callers; code that acts on a state asks the cluster directly.
"""

import threading
import time
from concurrent.futures import Future

from cachetools import TTLCache

from service.control.answers import silence
from service.control.clusters import Cluster, State
from service.pools import Pool
from workers.errors import NoAnswer, Unavailable

LIMIT_S = 1.5  # that a state is waited for
FRESH_S = 1.0  # for so long a state is given again
PROBE_S = 2.0  # a silent cluster is asked again so often, by nobody who waits
PAUSE_S = 10.0  # who asks after so long without a question waits for the answer, though the last one did not come
KEPT = 1024  # states
THREADS = 16  # as many as `Statuses` looks at at once

Answer = tuple[State, str]


class PromptCluster:
    """A cluster's jobs, for read-only callers. May be asked from many threads; each job is asked for by one at a time.

    Once the cluster has been silent nobody waits for it: NoAnswer is raised at once, and it is asked again in the background
    until it answers.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.name = cluster.name
        self._cluster = cluster
        self._pool = Pool(f"the cluster at {cluster.name}", THREADS, LIMIT_S)
        self._known: TTLCache[str, Answer] = TTLCache(KEPT, FRESH_S)
        self._flights: dict[str, Future[Answer]] = {}
        self._lock = threading.Lock()
        self._is_silent = False
        self._asked = self._probed = 0.0

    def check(self) -> None:
        """Prove that it answers."""
        self._cluster.check()

    def submit(self, submission_id: str, root: str, run: str, number: int) -> None:
        """Begin an attempt at a run."""
        self._cluster.submit(submission_id, root, run, number)

    def stop(self, submission_id: str) -> None:
        """Ask a job to end."""
        self._cluster.stop(submission_id)

    def logs(self, submission_id: str) -> str:
        """What a job has printed so far."""
        return self._cluster.logs(submission_id)

    def state(self, submission_id: str, *, insist: bool = False) -> tuple[State, str]:
        """How a job is, as of a second ago; see `Cluster.state`. Waits for LIMIT_S at most, unless it insists.

        Raises:
            NoAnswer: nothing answers, or not soon.
        """
        if insist:
            return self._cluster.state(submission_id, insist=True)
        try:
            answer = self._look(submission_id)
            if isinstance(answer, Future):
                return self._pool.result(answer, LIMIT_S)
        except Unavailable as error:
            self._is_silent = True
            raise NoAnswer(silence(self.name)) from error
        if answer is None:
            raise NoAnswer(silence(self.name))
        return answer

    def _look(self, submission_id: str) -> "Answer | Future[Answer] | None":
        """The state of a job if it is known, or the question for it; None while the cluster is silent."""
        with self._lock:
            now, before = time.monotonic(), self._asked
            self._asked = now
            known: Answer | None = self._known.get(submission_id)
            if known is not None:
                return known
            waits = not self._is_silent or now - before > PAUSE_S
            flight = self._flights.get(submission_id)
            if flight is None and (waits or (not self._flights and now - self._probed > PROBE_S)):
                self._probed = now
                flight = self._flights[submission_id] = self._pool.submit(lambda: self._ask(submission_id))
            return flight if waits else None

    def _ask(self, submission_id: str) -> Answer:
        try:
            answer = self._cluster.state(submission_id)
        except NoAnswer:
            self._is_silent = True
            raise
        finally:
            with self._lock:
                self._flights.pop(submission_id, None)
        with self._lock:
            self._is_silent, self._known[submission_id] = False, answer
        return answer
