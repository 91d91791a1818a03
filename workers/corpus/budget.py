"""A memory budget that threads share. Takes the bytes that a thread needs, blocks it until they are free."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


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
