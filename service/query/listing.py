"""The published runs of a root, for a long-running service. Takes a root, gives runs; each manifest is read once.

A listing, renewed in the background while it is in use, shows which runs were published, removed, or published again.
"""

from collections.abc import Callable, Mapping
from functools import partial
from threading import Condition
from typing import Any, ParamSpec, TypeVar, cast

from cachetools import LRUCache, cached

from service.pools import CallPool, Renewed
from service.query import catalog
from service.query.catalog import PublishedRun
from workers.errors import DamagedRun
from workers.spec.make import check_run_id
from workers.store.root import Root

RENEW_S = 1.0  # age at which the runs are listed again
LIFE_S = 2.0  # age at which a request waits for that
UNKNOWN_S = 0.25  # the same for a run that is not listed: it may have been published just now
PATIENCE_S = 1.0  # a request that has waited this long gets the older listing
LIMIT_S = 20.0  # timeout of the first listing
KEPT = 4096  # manifests
MOST_RUNS = 1_000_000  # runs that may wait for a reader
AT_ONCE = 16  # manifests read in parallel: on a remote store each costs a round trip

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Readable = tuple[tuple[PublishedRun, ...], Mapping[str, str]]


def memoized(cache: LRUCache[Any, Any], read: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """A reader that caches its results. If many threads ask for the same at once, one reads and the others wait for it."""
    return cast(Callable[Arguments, Result], cached(cache, condition=Condition())(read))


class RunListing:
    """The published runs. Safe to use from many threads. A run whose manifest has changed counts as another run."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._marks: dict[str, str] = {}
        self._version = 0
        self._renewed = Renewed(self._list, CallPool("the root", 1, LIMIT_S), RENEW_S, LIFE_S, PATIENCE_S)
        self._read = memoized(LRUCache(KEPT), self._read_run)
        self._readers = CallPool("the root", AT_ONCE, LIMIT_S, waiting=MOST_RUNS)
        self._last: tuple[Mapping[str, str], Readable] = {}, ((), {})

    def run(self, run: str) -> PublishedRun:
        """A published run by its id.

        Raises:
            RunError: the id is not valid, or the run is not published.
            DamagedRun: the run's manifest cannot be read.
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
        """A number that grows whenever the listing changes; while it is the same, so are all published runs."""
        self._renewed.get()
        return self._version

    def readable(self) -> Readable:
        """The runs whose manifests can be read, the newest first, and what is wrong with the others, by run id."""
        marks, (last_marks, readable) = self._renewed.get(), self._last
        if marks is not last_marks:
            readable = self._read_all(marks)
            self._last = marks, readable
        return readable

    def _list(self) -> Mapping[str, str]:
        """List the runs; the result is the same object as long as nothing has changed."""
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
        try:
            return catalog.read(self._root, run, has_labels=catalog.has_labels(mark))
        except DamagedRun as error:
            return str(error)
