"""When waiting is over. Takes a limit, and a thread's or process's CPU time; says whether what it does still gets anywhere."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from workers.host.steady import SteadyClock

# Where a CPU is shared or capped, a decode may take so many times longer.
STARVED = 20.0
PROGRESS_S = 0.01  # of CPU time; less is noise


class Limit:
    """A limit on elapsed time, of which a process that is stopped uses nothing.

    Args:
        limit_s: seconds from now.
        clock: of the process that waits.
    """

    def __init__(self, limit_s: float, clock: Callable[[], float] | None = None) -> None:
        self.limit_s = limit_s
        self._clock = clock or SteadyClock()
        self._began = self._clock()

    def restart(self) -> None:
        """Restart the time."""
        self._began = self._clock()

    def is_over(self) -> bool:
        """Whether the time is up; to be asked at least once a second."""
        return self._clock() - self._began > self.limit_s

    @contextmanager
    def extended(self, limit_s: float) -> Iterator[None]:
        """Allow at least so many seconds in the block, for one question whose answer may be very long."""
        usual_s = self.limit_s
        self.limit_s = max(usual_s, limit_s)
        self.restart()
        try:
            yield
        finally:
            self.restart()
            self.limit_s = usual_s


class WorkLimit:
    """A limit on work: what is only starved of CPU time does not hang.

    Work hangs when it has used `limit_s` of CPU time, when it has used none for `limit_s` of elapsed time, or when
    it has taken 20 times that however little it was given.

    Args:
        limit_s: seconds.
        cpu_s: CPU time used by what works, seconds.
        clock: of the process that waits.
    """

    def __init__(self, limit_s: float, cpu_s: Callable[[], float], clock: Callable[[], float] | None = None) -> None:
        self._cpu_s = cpu_s
        self._clock = clock or SteadyClock()
        self.limit_s = limit_s
        self._began = self._moved = self._clock()
        self._first_s = self._last_s = cpu_s()

    def is_over(self) -> bool:
        """Whether it hangs; to be asked at least once a second."""
        now, used_s = self._clock(), self._cpu_s()
        if used_s - self._last_s >= PROGRESS_S:
            self._last_s, self._moved = used_s, now
        blocked, busy = now - self._moved > self.limit_s, used_s - self._first_s > self.limit_s
        return blocked or busy or now - self._began > STARVED * self.limit_s


def thread_cpu() -> Callable[[], float]:
    """The CPU time of the thread that calls this, in seconds, for any thread to read."""
    clock, last = time.pthread_getcpuclockid(threading.get_ident()), 0.0

    def read() -> float:
        nonlocal last
        with suppress(OSError):  # the thread has ended
            last = time.clock_gettime(clock)
        return last

    return read
