"""What work costs. Takes functions, gives their seconds, and from these the time that work on several actors takes."""

import heapq
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Cost:
    """The time of work that ran alone: elapsed time, and CPU time of all its threads and processes.

    Work on all actors at once is slower than one actor alone whose threads have idle cores beside them.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s)

    def __mul__(self, times: float) -> "Cost":
        return Cost(self.wall_s * times, self.cpu_s * times)

    def on(self, cores: float) -> float:
        """Seconds on as many cores, which may be fewer than it used when it ran alone."""
        return max(self.wall_s, self.cpu_s / cores)


NOTHING = Cost()


def cost_of(work: Callable[[], object]) -> Cost:
    """Run something, and measure it."""
    began, cpu_s = time.monotonic(), _cpu_s()
    work()
    return Cost(time.monotonic() - began, _cpu_s() - cpu_s)


def longest(sizes: Iterable[int], actors: int) -> int:
    """The most images that one actor gets, if an actor takes the next item whenever it has finished one."""
    busy = [0] * actors
    for size in sizes:
        heapq.heapreplace(busy, busy[0] + size)
    return max(busy)


def _cpu_s() -> float:
    """CPU seconds of this process and of those that it has started, such as readers."""
    spent = [time.process_time()]
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        spent.append(times.user + times.system)
    return sum(spent)
