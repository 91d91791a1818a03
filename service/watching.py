"""How submitted runs are, for many who look. Takes `Statuses`, gives what they say, looked at once for all."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cachetools import LRUCache

from service.pools import Pool, Renewed
from service.statuses import Status, Statuses

RENEW_S = 1.0  # a status that is older is looked at again, beside the requests
LIFE_S = 2.0  # and given no more
LIMIT_S = 10.0  # of waiting for the store
THREADS = 4
KEPT = 1024  # runs


class Watched:
    """The runs of a root. May be asked from many threads and event loops.

    Args:
        statuses: what looks at them.
        renew_s: age from which on a status is looked at again.
        life_s: age up to which it is given; below 0 every question is a look.
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
        """What is asked for after the block is looked at anew, however the block ends."""
        try:
            yield
        finally:
            self.forget()

    def forget(self) -> None:
        """Give nothing that was looked at before."""
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
