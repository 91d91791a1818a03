"""The published runs of a root, for a long-running service. Takes a root, gives runs; each manifest is read once.

One listing, made in the background while somebody asks, shows which runs were published, removed, or published again.
"""

from collections.abc import Callable, Mapping
from functools import partial
from threading import Condition
from typing import Any, ParamSpec, TypeVar, cast

from cachetools import LRUCache, cached

from service.pools import Pool, Renewed
from service.query import catalog
from service.query.catalog import PublishedRun
from workers.errors import DamagedRun
from workers.spec.make import check_run_id
from workers.store.root import Root

RENEW_S = 1.0  # age at which the runs are listed again
LIFE_S = 2.0  # age at which a request waits for that
UNKNOWN_S = 0.25  # the same for a run that is not listed: it may have been published just now
PATIENCE_S = 1.0  # after so long an older listing is better than none
LIMIT_S = 20.0  # for the first listing
KEPT = 4096  # manifests
MOST_RUNS = 1_000_000  # that wait for one of the readers
AT_ONCE = 16  # manifests that are read: on a store far away each costs a round trip

Asked = ParamSpec("Asked")
Found = TypeVar("Found")
Readable = tuple[tuple[PublishedRun, ...], Mapping[str, str]]


def memoized(cache: LRUCache[Any, Any], read: Callable[Asked, Found]) -> Callable[Asked, Found]:
    """A reader that remembers; of many threads that ask for the same at once, one reads and the others wait for it."""
    return cast(Callable[Asked, Found], cached(cache, condition=Condition())(read))


class Listing:
    """The published runs. May be asked from many threads. A run whose manifest is another one is another run."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._marks: dict[str, str] = {}
        self._version = 0
        self._renewed = Renewed(self._list, Pool("the root", 1, LIMIT_S), RENEW_S, LIFE_S, PATIENCE_S)
        self._read = memoized(LRUCache(KEPT), self._read_run)
        self._readers = Pool("the root", AT_ONCE, LIMIT_S, waiting=MOST_RUNS)
        self._every: tuple[Mapping[str, str], Readable] = {}, ((), {})

    def run(self, run: str) -> PublishedRun:
        """A published run by its id.

        Raises:
            RunError: the id is not one, or not that of a published run.
            DamagedRun: the run's manifest cannot be understood.
        """
        check_run_id(run)
        marks = self._renewed.get()
        if run not in marks:
            marks = self._renewed.get(UNKNOWN_S)
        if run not in marks:
            raise catalog.unpublished(self._root, run, marks)
        answer = self._read(run, marks[run])
        if isinstance(answer, str):
            raise DamagedRun(answer)
        return answer

    def version(self) -> int:
        """Counts the listings that differ from the one before: while it stays, so does everything that is published."""
        self._renewed.get()
        return self._version

    def readable(self) -> Readable:
        """The runs that can be understood, the newest first, and what is wrong with the others, by run id."""
        marks, (before, readable) = self._renewed.get(), self._every
        if marks is not before:
            readable = self._read_all(marks)
            self._every = marks, readable
        return readable

    def _list(self) -> Mapping[str, str]:
        """The same object as long as nothing has changed."""
        marks = catalog.marks(self._root)
        if marks != self._marks:
            self._marks, self._version = marks, self._version + 1
        return self._marks

    def _read_all(self, marks: Mapping[str, str]) -> Readable:
        answers = self._readers.ask_all(partial(self._read, run, mark) for run, mark in marks.items())
        runs = catalog.newest_first(run for run in answers if not isinstance(run, str))
        return runs, {run: problem for run, problem in zip(marks, answers, strict=True) if isinstance(problem, str)}

    def _read_run(self, run: str, mark: str) -> PublishedRun | str:
        """A run, or what is wrong with it."""
        del mark
        try:
            return catalog.read(self._root, run)
        except DamagedRun as error:
            return str(error)
