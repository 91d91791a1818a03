"""A clock for timeouts. Takes the monotonic clock, gives seconds without the time in which this process was stopped."""

import threading
import time
from collections.abc import Callable

CAP_S = 2.0


class SteadyClock:
    """Seconds since the clock was created, not counting time in which the process was stopped.

    A stopped process (a paused container, a stalled virtual machine, a CPU quota) makes no progress, and neither does this
    clock: it advances by at most `cap_s` between two readings. It must therefore be read at least that often, for example
    once a second. Less frequent readings make a timeout late, never early.

    Args:
        cap_s: largest advance between two readings, seconds.
        now: the underlying clock, seconds.
    """

    def __init__(self, cap_s: float = CAP_S, now: Callable[[], float] = time.monotonic) -> None:
        self._cap_s, self._now = cap_s, now
        self._lock = threading.Lock()
        self._last, self._passed = now(), 0.0

    def __call__(self) -> float:
        """Read the clock; thread-safe."""
        with self._lock:
            now = self._now()
            self._passed += min(max(now - self._last, 0.0), self._cap_s)
            self._last = now
            return self._passed
