"""Memory that threads share. Takes how many bytes each of them needs, lets them wait until so many are free."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Budget:
    """A number of bytes, lent in the order in which they are asked for, so that nobody waits for ever.

    Args:
        total_bytes: bytes in all. A request for more gets all of them: it runs alone.
    """

    def __init__(self, total_bytes: int) -> None:
        self._total = self._free = total_bytes
        self._changed = threading.Condition()
        self._turns: deque[object] = deque()

    @contextmanager
    def lent(self, wanted_bytes: int) -> Iterator[None]:
        """Hold some bytes during the block; waits for them."""
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
