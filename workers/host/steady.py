"""A clock for time-outs. Takes the monotonic clock, gives seconds that leave out time in which this process did not run."""

import threading
import time
from collections.abc import Callable

CAP_S = 2.0


class SteadyClock:
    """Seconds since the clock was made, as far as somebody was running to read it.

    A process that is stopped (a paused container, a stalled virtual machine, a CPU quota) makes no progress, and neither does
    this clock: between two readings at most `cap_s` pass. Whoever waits for something reads it at least that often, once a
    second for instance; readings that lie further apart make a time-out late, never early.

    Args:
        cap_s: the most that passes between two readings, seconds.
        now: the clock behind it, seconds.
    """

    def __init__(self, cap_s: float = CAP_S, now: Callable[[], float] = time.monotonic) -> None:
        self._cap_s, self._now = cap_s, now
        self._lock = threading.Lock()
        self._last, self._passed = now(), 0.0

    def __call__(self) -> float:
        """Read the clock; any thread may."""
        with self._lock:
            now = self._now()
            self._passed += min(max(now - self._last, 0.0), self._cap_s)
            self._last = now
            return self._passed
