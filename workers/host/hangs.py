"""Time limits that detect hangs. Takes a limit and the CPU time of a thread or process, tells whether it is exceeded."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from workers.host.steady import SteadyClock

# A decode on a shared or capped CPU may take this many times longer.
STARVED = 20.0
PROGRESS_S = 0.01  # least CPU time that counts as progress; less is noise


class Limit:
    """A limit on elapsed time. Time in which the process is stopped does not count.

    Args:
        limit_s: seconds from now.
        clock: the clock of the waiting process.
    """

    def __init__(self, limit_s: float, clock: Callable[[], float] | None = None) -> None:
        self.limit_s = limit_s
        self._clock = clock or SteadyClock()
        self._began = self._clock()

    def restart(self) -> None:
        """Start the time again from zero."""
        self._began = self._clock()

    def is_over(self) -> bool:
        """Whether the limit is exceeded; to be called at least once a second."""
        return self._clock() - self._began > self.limit_s

    @contextmanager
    def extend(self, limit_s: float) -> Iterator[None]:
        """Raise the limit to at least `limit_s` seconds in a `with` block, for one request with a very long answer."""
        original_s = self.limit_s
        self.limit_s = max(original_s, limit_s)
        self.restart()
        try:
            yield
        finally:
            self.restart()
            self.limit_s = original_s


class WorkLimit:
    """A limit on work. Work that only waits for a CPU does not exceed it.

    The limit is exceeded by `limit_s` of CPU time, by `limit_s` of elapsed time without use of the CPU, or by 20 times
    `limit_s` of elapsed time in any case.

    Args:
        limit_s: seconds.
        cpu_s: reads the CPU time of the worker, seconds.
        clock: the clock of the waiting process.
    """

    def __init__(self, limit_s: float, cpu_s: Callable[[], float], clock: Callable[[], float] | None = None) -> None:
        self._cpu_s = cpu_s
        self._clock = clock or SteadyClock()
        self.limit_s = limit_s
        self._began = self._moved = self._clock()
        self._first_s = self._last_s = cpu_s()

    def is_over(self) -> bool:
        """Whether the limit is exceeded; to be called at least once a second."""
        now, used_s = self._clock(), self._cpu_s()
        if used_s - self._last_s >= PROGRESS_S:
            self._last_s, self._moved = used_s, now
        blocked, busy = now - self._moved > self.limit_s, used_s - self._first_s > self.limit_s
        return blocked or busy or now - self._began > STARVED * self.limit_s


def thread_cpu() -> Callable[[], float]:
    """A function that reads the CPU time of the calling thread, seconds; any thread may call it."""
    clock, last = time.pthread_getcpuclockid(threading.get_ident()), 0.0

    def read() -> float:
        nonlocal last
        with suppress(OSError):  # the thread has ended
            last = time.clock_gettime(clock)
        return last

    return read
