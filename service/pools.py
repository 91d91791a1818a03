"""Threads for calls that may hang. Takes calls, gives their results, or an error after a timeout.

Each pool has a few threads of its own, so that a store or a cluster that hangs blocks only those. They are daemon threads: a
call that never returns does not prevent the process from ending.
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

IDLE_S = 10.0  # a thread without work ends after this time

T = TypeVar("T")


class CallPool:
    """A few threads that run calls. May be used from many threads and event loops.

    Args:
        name: the thing that is called, for messages: `the store`.
        threads: number of calls that run at once.
        limit_s: timeout of a call, seconds.
        waiting: number of calls that may wait for a thread; further calls are refused at once.
    """

    def __init__(self, name: str, threads: int, limit_s: float, waiting: int = 1000) -> None:
        self.name, self.limit_s = name, limit_s
        self._most, self._waiting = threads, waiting
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._changed = threading.Condition()
        self._threads = self._idle = 0

    def submit(self, call: Callable[[], T]) -> "Future[T]":
        """Start a call, without waiting for it.

        Raises:
            Unavailable: too many calls are waiting already.
        """
        future: Future[T] = Future()
        with self._changed:
            if len(self._calls) >= self._waiting:
                raise Unavailable(f"{self.name}: {self._waiting} requests are waiting already; try again later")
            self._calls.append((future, call))
            if self._idle >= len(self._calls) or self._threads == self._most:
                self._changed.notify()
            else:
                self._threads += 1
                threading.Thread(target=self._work, name=self.name, daemon=True).start()
        return future

    def ask(self, call: Callable[[], T]) -> T:
        """The result of a call.

        Raises:
            Unavailable: the call timed out; if a thread has started it, that thread continues.
        """
        future = self.submit(call)
        try:
            return self.result(future, self.limit_s)
        finally:
            future.cancel()

    def ask_all(self, calls: Iterable[Callable[[], T]]) -> list[T]:
        """The results of many calls, in order.

        Raises:
            Unavailable: a call has not returned when the timeout has passed since the result before it.
        """
        futures = [self.submit(call) for call in calls]
        try:
            return [self.result(future, self.limit_s) for future in futures]
        finally:
            for future in futures:
                future.cancel()

    async def answer(self, call: Callable[[], T]) -> T:
        """As `ask`, without blocking the event loop."""
        future = self.submit(call)
        try:
            return await self.wait_for(future, self.limit_s)
        finally:
            future.cancel()

    def result(self, future: "Future[T]", limit_s: float) -> T:
        """The result of a submitted call, if it returns within `limit_s`."""
        if not future.done():
            wait({future}, max(0.0, limit_s))
        if not future.done():
            raise self.timeout_error()
        return future.result()

    async def wait_for(self, future: "Future[T]", limit_s: float) -> T:
        """As `result`, without blocking the event loop."""
        if not future.done():
            # Not `wrap_future`: a waiter that times out would cancel the call, for which others may be waiting.
            loop, finished = asyncio.get_running_loop(), asyncio.Event()
            future.add_done_callback(lambda _: None if loop.is_closed() else loop.call_soon_threadsafe(finished.set))
            with suppress(TimeoutError):
                await asyncio.wait_for(finished.wait(), max(0.0, limit_s))
        if not future.done():
            raise self.timeout_error()
        return future.result()

    def timeout_error(self) -> Unavailable:
        """The error of a call that times out."""
        return Unavailable(f"{self.name} did not answer within {self.limit_s:g} s; try again later")

    def _work(self) -> None:
        while (task := self._next()) is not None:
            future, call = task
            if future.set_running_or_notify_cancel():
                _run(future, call)
            del future, call, task  # an idle thread must not keep a result alive

    def _next(self) -> tuple["Future[Any]", Callable[[], Any]] | None:
        """The next call; None after IDLE_S without one."""
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._calls, IDLE_S)
            self._idle -= 1
            if self._calls:
                return self._calls.popleft()
            self._threads -= 1
            return None


class Renewed(Generic[T]):
    """A cached value that is read again in the background while callers get it; at most one read runs at a time.

    Only the first caller, or the first after a pause, waits for the store. A value older than `renew_s` is returned and read
    again; a value older than `life_s` is not returned. The age counts from the start of the read. Thread-safe.

    Args:
        read: reads the value.
        pool: runs the read.
        renew_s: age at which the value is read again.
        life_s: age above which the value is not returned.
        patience_s: if a read takes longer and there is an older value, that value is returned; None to never return it.
    """

    def __init__(
        self,
        read: Callable[[], T],
        pool: CallPool,
        renew_s: float,
        life_s: float,
        patience_s: float | None = None,
    ) -> None:
        self._read, self._pool = read, pool
        self._renew_s, self._life_s, self._patience_s = renew_s, life_s, patience_s
        self._lock = threading.Lock()
        self._last: tuple[float, Future[T]] | None = None  # start of the read, and the value
        self._flight: tuple[float, Future[T]] | None = None  # start of the read in progress, and its result

    def get(self, life_s: float | None = None) -> T:
        """The value, at most `life_s` old; by default, the `life_s` of the cache.

        Raises:
            Unavailable: the read timed out.
        """
        began, future = self._find(self._life_s if life_s is None else life_s)
        older = self._last
        if self._patience_s is None or older is None:
            return self._pool.result(future, self._left(began))
        try:
            return self._pool.result(future, began + self._patience_s - time.monotonic())
        except Unavailable:
            return older[1].result()

    async def answer(self, life_s: float | None = None) -> T:
        """As `get`, without blocking the event loop."""
        began, future = self._find(self._life_s if life_s is None else life_s)
        return await self._pool.wait_for(future, self._left(began))

    def _left(self, began: float) -> float:
        """The rest of a read's timeout: later callers do not wait for the whole timeout again."""
        return began + self._pool.limit_s - time.monotonic()

    def _find(self, life_s: float) -> tuple[float, "Future[T]"]:
        """The value if it is young enough, else the read in progress, which is started if need be."""
        now = time.monotonic()
        with self._lock:
            age_s = now - self._last[0] if self._last else math.inf
            if self._flight is None and age_s > min(self._renew_s, life_s):
                self._flight = now, self._pool.submit(self._renew)
            if self._last is not None and age_s <= life_s:
                return self._last
            began, future = cast(tuple[float, "Future[T]"], self._flight)
            if self._patience_s is None and now - began > self._pool.limit_s:
                raise self._pool.timeout_error()  # even if it returns at this moment: its result would be too old
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


def _run(future: "Future[Any]", call: Callable[[], Any]) -> None:
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - the future raises it where the result is needed
        future.set_exception(error)
    else:
        future.set_result(result)
