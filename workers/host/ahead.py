"""Work in other threads, ahead of its reader. Takes tasks, gives their results in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")

AHEAD = 4  # tasks per thread


def run_ahead(tasks: Iterable[Callable[[], Result]], threads: int) -> Iterator[Result]:
    """The results of tasks, in their order.

    Args:
        tasks: taken as they are needed, in the caller's thread.
        threads: number of threads; with one, the caller's thread does the work.

    Raises:
        Exception: what a task raises, in its turn.
    """
    if threads == 1:
        for task in tasks:
            yield task()
        return
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[Result]] = deque()
        for task in tasks:
            pending.append(pool.submit(task))
            if len(pending) > AHEAD * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
