"""The processors of this machine that a process may use. Takes nothing, gives numbers."""

import math
import os
from contextlib import suppress
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cpus() -> int:
    """CPUs that this process may use, from its affinity and the container's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = QUOTA.read_text().split()
        allowed = min(allowed, math.ceil(int(quota) / int(period)))
    return max(allowed, 1)


def share() -> int:
    """The CPUs of one of the actors that share this machine's GPUs."""
    return max(1, cpus() // _sharers)


def share_with(actors: int) -> None:
    """Set the number of actors that share this machine; only Ray knows it, as it shows each actor only its own GPU."""
    global _sharers
    _sharers = max(1, actors)


_sharers = 1
