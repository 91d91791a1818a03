"""A cache of submitted runs' statuses for many readers. Takes `Statuses`, gives statuses, each read once for all readers."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from cachetools import LRUCache

from service.control.statuses import Status, Statuses
from service.pools import CallPool, Renewed
from workers.errors import RunError
from workers.store.attempts import Attempts

RENEW_S = 1.0  # an older status is read again in the background
LIFE_S = 2.0  # an older status is not returned
LIMIT_S = 10.0  # longest wait for the store
THREADS = 4
CACHED_RUNS = 1024


class Watched:
    """Cached statuses of the runs of a root. May be used from many threads and event loops.

    Args:
        statuses: reads the statuses.
        renew_s: age at which a status is read again.
        life_s: largest age of a status that is returned; if negative, every call reads.
    """

    def __init__(self, statuses: Statuses, renew_s: float = RENEW_S, life_s: float = LIFE_S) -> None:
        self._statuses = statuses
        self._ages = renew_s, life_s
        self._all_pool = CallPool("the root", 1, LIMIT_S)
        self._pool = CallPool("the root", THREADS, LIMIT_S)
        self._lock = threading.Lock()
        self.forget()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Forget all statuses after the block, however it ends."""
        try:
            yield
        finally:
            self.forget()

    def forget(self) -> None:
        """Discard all cached statuses."""
        with self._lock:
            self._all = Renewed(lambda: self._statuses.statuses(), self._all_pool, *self._ages)
            self._by_run = LRUCache[str, Renewed[Status]](CACHED_RUNS)

    def statuses(self) -> Sequence[Status]:
        """The statuses of all runs of the root, the last submitted first.

        Raises:
            Unavailable: the store does not answer in time.
        """
        return self._all.get()

    def status(self, run: str) -> Status:
        """The status of a run.

        Raises:
            RunError: no run has this id.
            Unavailable: the store does not answer in time.
        """
        return self._cached(run).get()

    def has(self, run: str) -> bool:
        """Whether a run has this id."""
        try:
            self.status(run)
        except RunError:
            return False
        return True

    def spec(self, run: str, attempt: int) -> dict[str, Any]:
        """The spec of an attempt at a run as plain values; empty if it has none."""
        begun = Attempts(self._statuses.root, run).begun(attempt)
        return begun.spec.values if begun else {}

    async def answer(self, run: str) -> Status:
        """As `status`, without blocking the event loop."""
        return await self._cached(run).answer()

    def _cached(self, run: str) -> Renewed[Status]:
        with self._lock:
            if run not in self._by_run:
                self._by_run[run] = Renewed(lambda: self._statuses.status(run), self._pool, *self._ages)
            return self._by_run[run]
