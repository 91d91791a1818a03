"""Statuses of submitted runs, shared by many readers. Takes `Statuses`, gives their answers, each read once for all."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cachetools import LRUCache

from service.control.statuses import Status, Statuses
from service.pools import Pool, Renewed

RENEW_S = 1.0  # an older status is read again, in the background
LIFE_S = 2.0  # and an even older one is not given
LIMIT_S = 10.0  # of waiting for the store
THREADS = 4
KEPT = 1024  # runs


class Watched:
    """The runs of a root. May be asked from many threads and event loops.

    Args:
        statuses: reads them.
        renew_s: age from which on a status is read again.
        life_s: age up to which it is given; below 0 every question is a reading.
    """

    def __init__(self, statuses: Statuses, renew_s: float = RENEW_S, life_s: float = LIFE_S) -> None:
        self._statuses = statuses
        self._ages = renew_s, life_s
        self._all_pool = Pool("the runs of the root", 1, LIMIT_S)
        self._pool = Pool("the runs of the root", THREADS, LIMIT_S)
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
        """Give no status that was read before."""
        with self._lock:
            self._all = Renewed(lambda: self._statuses.statuses(), self._all_pool, *self._ages)
            self._each = LRUCache[str, Renewed[Status]](KEPT)

    def statuses(self) -> Sequence[Status]:
        """All runs of the root, the last submitted first.

        Raises:
            Unavailable: the store does not answer in time.
        """
        return self._all.get()

    def status(self, run: str) -> Status:
        """How a run is.

        Raises:
            RunError: there is no such run.
            Unavailable: the store does not answer in time.
        """
        return self._of(run).get()

    async def answer(self, run: str) -> Status:
        """As `status`, without holding the event loop."""
        return await self._of(run).answer()

    def _of(self, run: str) -> Renewed[Status]:
        with self._lock:
            if run not in self._each:
                self._each[run] = Renewed(lambda: self._statuses.status(run), self._pool, *self._ages)
            return self._each[run]
