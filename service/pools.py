"""Threads for calls that may hang. Takes questions, gives answers or an error within a limit.

Each pool has few threads of its own, so that a store or a cluster that hangs holds those alone. They are daemons: a call that
never returns does not keep the process from ending.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any, Generic, TypeVar, cast

from workers.errors import Unavailable

IDLE_S = 10.0  # a thread without work ends after so long

T = TypeVar("T")


class Pool:
    """A few threads that answer questions. May be asked from many threads, and from many event loops.

    Args:
        name: what is asked, for messages: `the store`.
        threads: how many questions are answered at once.
        limit_s: seconds that an answer is waited for.
        waiting: how many questions may wait for a thread; further ones are refused at once.
    """

    def __init__(self, name: str, threads: int, limit_s: float, waiting: int = 1000) -> None:
        self.name, self.limit_s = name, limit_s
        self._most, self._waiting = threads, waiting
        self._questions: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._changed = threading.Condition()
        self._threads = self._idle = 0

    def submit(self, question: Callable[[], T]) -> "Future[T]":
        """Begin to answer a question, without waiting.

        Raises:
            Unavailable: too many questions wait already.
        """
        future: Future[T] = Future()
        with self._changed:
            if len(self._questions) >= self._waiting:
                raise Unavailable(f"{self.name}: {self._waiting} requests are waiting already; try again later")
            self._questions.append((future, question))
            if self._idle >= len(self._questions) or self._threads == self._most:
                self._changed.notify()
            else:
                self._threads += 1
                threading.Thread(target=self._work, name=self.name, daemon=True).start()
        return future

    def ask(self, question: Callable[[], T]) -> T:
        """The answer to a question.

        Raises:
            Unavailable: there is none in time; where a thread has begun with it, that thread goes on.
        """
        future = self.submit(question)
        try:
            return self.result(future, self.limit_s)
        finally:
            future.cancel()

    def ask_all(self, questions: Iterable[Callable[[], T]]) -> list[T]:
        """The answers to many questions, in their order.

        Raises:
            Unavailable: one does not come within the limit after the one before it.
        """
        futures = [self.submit(question) for question in questions]
        try:
            return [self.result(future, self.limit_s) for future in futures]
        finally:
            for future in futures:
                future.cancel()

    async def answer(self, question: Callable[[], T]) -> T:
        """As `ask`, without holding the event loop."""
        future = self.submit(question)
        try:
            return await self.awaited(future, self.limit_s)
        finally:
            future.cancel()

    def result(self, future: "Future[T]", limit_s: float) -> T:
        """The answer to a question that was submitted, if it comes within so many seconds."""
        if not future.done():
            wait({future}, max(0.0, limit_s))
        if not future.done():
            raise self.silent()
        return future.result()

    async def awaited(self, future: "Future[T]", limit_s: float) -> T:
        """As `result`, without holding the event loop."""
        if not future.done():
            # Not `wrap_future`: a waiter that gives up would cancel what others wait for too.
            loop, finished = asyncio.get_running_loop(), asyncio.Event()
            future.add_done_callback(lambda _: None if loop.is_closed() else loop.call_soon_threadsafe(finished.set))
            with suppress(TimeoutError):
                await asyncio.wait_for(finished.wait(), max(0.0, limit_s))
        if not future.done():
            raise self.silent()
        return future.result()

    def silent(self) -> Unavailable:
        """The error of a question that is not answered in time."""
        return Unavailable(f"{self.name} did not answer within {self.limit_s:g} s; try again later")

    def _work(self) -> None:
        while (task := self._next()) is not None:
            future, question = task
            if future.set_running_or_notify_cancel():
                _settle(future, question)
            del future, question, task  # an idle thread keeps no answer alive

    def _next(self) -> tuple["Future[Any]", Callable[[], Any]] | None:
        """The next question; None after IDLE_S without one."""
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._questions, IDLE_S)
            self._idle -= 1
            if self._questions:
                return self._questions.popleft()
            self._threads -= 1
            return None


class Renewed(Generic[T]):
    """A value that is read anew in the background while somebody asks for it; one reads at a time.

    Only the first caller, or one after a pause, waits for the store: a value older than `renew_s` is given and renewed, one older
    than `life_s` is not given. Its age counts from the beginning of its reading. May be asked from many threads.

    Args:
        read: reads it.
        pool: where that is done.
        renew_s: age from which on it is read again.
        life_s: age at which it may no longer be used.
        patience_s: seconds that a reading is waited for where there is an older value, which is given then; None to give none.
    """

    def __init__(
        self,
        read: Callable[[], T],
        pool: Pool,
        renew_s: float,
        life_s: float,
        patience_s: float | None = None,
    ) -> None:
        self._read, self._pool = read, pool
        self._renew_s, self._life_s, self._patience_s = renew_s, life_s, patience_s
        self._lock = threading.Lock()
        self._last: tuple[float, Future[T]] | None = None  # when its reading began, and the value
        self._flight: tuple[float, Future[T]] | None = None  # when its reading began, and what it will give

    def get(self, life_s: float | None = None) -> T:
        """The value, not older than its life, or than `life_s`.

        Raises:
            Unavailable: it cannot be read in time.
        """
        since, future = self._look(self._life_s if life_s is None else life_s)
        older = self._last
        if self._patience_s is None or older is None:
            return self._pool.result(future, self._left(since))
        try:
            return self._pool.result(future, since + self._patience_s - time.monotonic())
        except Unavailable:
            return older[1].result()

    async def answer(self, life_s: float | None = None) -> T:
        """As `get`, without holding the event loop."""
        since, future = self._look(self._life_s if life_s is None else life_s)
        return await self._pool.awaited(future, self._left(since))

    def _left(self, began: float) -> float:
        """How long a reading is still waited for: of one that hangs nobody waits for the whole limit again."""
        return began + self._pool.limit_s - time.monotonic()

    def _look(self, life_s: float) -> tuple[float, "Future[T]"]:
        """The value if it is young enough, else its reading; renews it if need be."""
        now = time.monotonic()
        with self._lock:
            age_s = now - self._last[0] if self._last else math.inf
            if self._flight is None and age_s > min(self._renew_s, life_s):
                self._flight = now, self._pool.submit(self._renew)
            if self._last is not None and age_s <= life_s:
                return self._last
            began, future = cast(tuple[float, "Future[T]"], self._flight)
            if self._patience_s is None and now - began > self._pool.limit_s:
                raise self._pool.silent()  # it may answer at this very moment, with what was true when it was asked
            return began, future

    def _renew(self) -> T:
        began = time.monotonic()
        try:
            value = self._read()
        except BaseException:
            with self._lock:
                self._flight = None
            raise
        done: Future[T] = Future()
        done.set_result(value)
        with self._lock:
            self._last, self._flight = (began, done), None
        return value


def _settle(future: "Future[Any]", question: Callable[[], Any]) -> None:
    try:
        answer = question()
    except BaseException as error:  # noqa: BLE001 - it is raised where the answer is asked for
        future.set_exception(error)
    else:
        future.set_result(answer)
