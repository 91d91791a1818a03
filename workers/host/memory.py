"""Memory of this machine. Takes the operating system's counters, gives used, free and total bytes, also as a phrase."""

import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Memory:
    """Memory of this machine or container, in bytes.

    Attributes:
        used: resident memory of this process.
        free: memory available for new allocations.
        total: all memory of this machine or container.
    """

    used: int
    free: int
    total: int

    def __str__(self) -> str:
        """A phrase such as `this process used 1.9 GB, and 0.3 of 24.0 GB were free`."""
        free, total = (f"{count / 1e9:.1f}" for count in (self.free, self.total))
        return f"this process used {self.used / 1e9:.1f} GB, and {free} of {total} GB were free"


def is_exhausted(error: object) -> bool:
    """Whether an error is out of memory: Python's, the GPU's, or torch's CPU allocator's, which is a plain RuntimeError."""
    if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):
        return True
    torch = sys.modules.get("torch")
    return isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError))


def now() -> Memory:
    """The current memory; a container's limit counts if it is lower than the machine's memory."""
    machine = psutil.virtual_memory()
    free, total = machine.available, machine.total
    with suppress(OSError, ValueError):  # `max` instead of a number means that there is no limit
        limit = int((_CGROUP / "memory.max").read_text())
        taken = int((_CGROUP / "memory.current").read_text()) - _reclaimable()
        free, total = min(free, max(0, limit - taken)), min(total, limit)
    return Memory(psutil.Process().memory_info().rss, free, total)


def _reclaimable() -> int:
    """Bytes of cached files, which the kernel frees when memory is short."""
    lines = (_CGROUP / "memory.stat").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
