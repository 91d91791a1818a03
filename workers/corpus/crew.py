"""Threads for work that may never return. Takes callables, gives futures; the interpreter's exit does not wait for them.

A read from a dead mount cannot be interrupted. `ThreadPoolExecutor` joins its threads when the interpreter exits, so one
such read would keep a process alive forever, even after it has reported its error.
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
        threads: number of threads.
        name: prefix of the threads' names, shown by debuggers.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=f"{name}-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, act: Callable[[], Result]) -> Future[Result]:
        """Run a callable as soon as a thread is free."""
        future: Future[Result] = Future()
        self._tasks.put((future, act))
        return future

    def close(self, wait_s: float = LAST_WAIT_S) -> None:
        """Cancel tasks that have not started, and wait at most `wait_s` seconds for those that have."""
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
                except BaseException as error:  # noqa: BLE001 - the future raises it where its result is read
                    future.set_exception(error)
                del future, act
            del task


def is_done(future: Future[Any], wait_s: float) -> bool:
    """Wait at most `wait_s` seconds for a future. `concurrent.futures.wait` would be too slow for images that take 1 ms."""
    try:
        future.exception(wait_s)
    except TimeoutError:
        return False
    return True


def wait_for_answer(act: Callable[[], Result], place: str, limit: Limit) -> Result:
    """Run a callable that reads from a storage that may be dead.

    Args:
        act: the callable.
        place: the path or URL that it reads, for the error.
        limit: the time limit. A callable that runs longer restarts it on every sign of progress.

    Raises:
        ReadError: the limit was exceeded.
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
    """The error for a storage that does not answer."""
    return ReadError(
        f"{place} has not responded for {limit_s:g} s; is its storage available? The same command resumes the run"
    )
