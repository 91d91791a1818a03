"""The processors of this machine that a process may use. Takes nothing, gives numbers."""

import math
import os
from contextlib import suppress
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")
GPUS = Path("/proc/driver/nvidia/gpus")
NOT_A_LIST = {"", "all", "none", "void"}


def cpus() -> int:
    """CPUs that this process may use, from its affinity and the container's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = QUOTA.read_text().split()
        allowed = min(allowed, math.ceil(int(quota) / int(period)))
    return max(allowed, 1)


def gpus() -> int:
    """NVIDIA GPUs of this container or machine, at least 1. Ray shows an actor only its own, so torch cannot tell."""
    given = os.environ.get("NVIDIA_VISIBLE_DEVICES", "")
    if given not in NOT_A_LIST:
        return len(given.split(","))
    with suppress(OSError):
        return max(1, len(list(GPUS.iterdir())))
    return 1
