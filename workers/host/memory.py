"""How much memory there is. Takes the operating system's counters, gives bytes used and free, in a phrase for a person."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Memory:
    """Memory of this machine or container, in bytes.

    Attributes:
        used: resident in this process.
        free: available to new allocations.
        total: all that this machine or container may use.
    """

    used: int
    free: int
    total: int

    def __str__(self) -> str:
        """Such as `this process used 1.9 GB, 0.3 of 24.0 GB were free`."""
        free, total = (f"{count / 1e9:.1f}" for count in (self.free, self.total))
        return f"this process used {self.used / 1e9:.1f} GB, {free} of {total} GB were free"


def now() -> Memory:
    """What is used and free at this moment; a container's limit counts where it is below the machine's."""
    machine = psutil.virtual_memory()
    free, total = machine.available, machine.total
    with suppress(OSError, ValueError):  # no limit is written `max`, which is not a number
        limit = int((_CGROUP / "memory.max").read_text())
        taken = int((_CGROUP / "memory.current").read_text()) - _reclaimable()
        free, total = min(free, max(0, limit - taken)), min(total, limit)
    return Memory(psutil.Process().memory_info().rss, free, total)


def _reclaimable() -> int:
    """Cached files that the kernel gives back when memory is short, in bytes."""
    lines = (_CGROUP / "memory.stat").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
