"""Threads for work that may never return. Takes callables, gives futures; no process waits for these threads at its end.

A read from a dead mount cannot be interrupted. `ThreadPoolExecutor` joins its threads when the interpreter exits, so one
such read would keep a process that has already reported its error alive for ever.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from workers.errors import ReadError
from workers.host.hangs import Limit

TICK_S = 1.0
LAST_WAIT_S = 5.0

Result = TypeVar("Result")
Task = tuple[Future[Any], Callable[[], Any]]


class Crew:
    """A fixed number of daemon threads.

    Args:
        threads: how many.
        name: of the threads, as debuggers show it.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=f"{name}-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, act: Callable[[], Result]) -> Future[Result]:
        """Have a thread do something as soon as one is free."""
        future: Future[Result] = Future()
        self._tasks.put((future, act))
        return future

    def close(self, wait_s: float = LAST_WAIT_S) -> None:
        """Cancel what has not begun, and wait a moment for what has."""
        while not self._tasks.empty():
            task = self._tasks.get()
            if task is not None:
                task[0].cancel()
        for _ in self._threads:
            self._tasks.put(None)
        until = time.monotonic() + wait_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, act = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(act())
                except BaseException as error:  # noqa: BLE001 - the future carries it to whoever waits
                    future.set_exception(error)
                del future, act
            del task


def is_done(future: Future[Any], wait_s: float) -> bool:
    """Wait a moment for a future; cheaper than `concurrent.futures.wait`, which an image in a thousandth of a second notices."""
    try:
        future.exception(wait_s)
    except TimeoutError:
        return False
    return True


def answered(act: Callable[[], Result], place: str, limit: Limit) -> Result:
    """Do something at a storage that may be dead.

    Args:
        act: does it.
        place: what it reads, for the error.
        limit: how long it may take; what goes on for longer restarts it whenever it has got further.

    Raises:
        ReadError: it takes longer.
    """
    limit.restart()
    crew = Crew(1, "storage")
    future = crew.submit(act)
    try:
        while not is_done(future, min(TICK_S, limit.limit_s)):
            if limit.is_over():
                raise no_answer(place, limit.limit_s)
        return future.result()
    finally:
        crew.close(wait_s=0)


def no_answer(place: str, limit_s: float) -> ReadError:
    """The error that names what does not answer."""
    return ReadError(
        f"{place} has not answered for {limit_s:g} s; is its storage alive? The same command resumes the run"
    )
