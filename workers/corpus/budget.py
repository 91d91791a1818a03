"""Memory budgets that threads or processes share. Take a number of bytes, block the caller until they are free."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.context import BaseContext
from typing import Protocol


class Reservable(Protocol):
    """A budget of bytes."""

    def reserve(self, wanted_bytes: int, /) -> AbstractContextManager[None]:
        """Reserve bytes for the duration of a `with` block; waits until they are free."""


class Budget:
    """A number of bytes, reserved in the order of the requests, so that no thread waits forever.

    Args:
        total_bytes: size of the budget. A larger request gets all of it and so runs alone.
    """

    def __init__(self, total_bytes: int) -> None:
        self._total = self._free = total_bytes
        self._changed = threading.Condition()
        self._turns: deque[object] = deque()

    @contextmanager
    def reserve(self, wanted_bytes: int) -> Iterator[None]:
        """Reserve bytes for the duration of a `with` block; waits until they are free."""
        share, turn = min(wanted_bytes, self._total), object()
        with self._changed:
            self._turns.append(turn)
            self._changed.wait_for(lambda: self._turns[0] is turn and self._free >= share)
            self._turns.popleft()
            self._free -= share
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += share
                self._changed.notify_all()


class SharedBudget:
    """A number of bytes, which processes reserve in equal parts, one process at a time.

    Args:
        context: what the processes are made with.
        total_bytes: size of the budget. A larger request gets all of it and so runs alone.
        parts: number of parts. Even the smallest request takes one.
    """

    def __init__(self, context: BaseContext, total_bytes: int, parts: int) -> None:
        self._parts, self._part_bytes = parts, total_bytes // parts
        self._turn, self._free = context.Lock(), context.Semaphore(parts)

    @contextmanager
    def reserve(self, wanted_bytes: int) -> Iterator[None]:
        """Reserve bytes for the duration of a `with` block; waits until they are free."""
        parts = max(1, min(self._parts, -(-wanted_bytes // self._part_bytes)))
        with self._turn:
            for _ in range(parts):
                self._free.acquire()
        try:
            yield
        finally:
            for _ in range(parts):
                self._free.release()
