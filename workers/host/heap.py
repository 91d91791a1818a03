"""Return of freed memory to the system. Takes the sizes of freed blocks, calls `malloc_trim` from time to time.

glibc keeps blocks of up to 32 MiB that a thread has freed for that thread. With fifteen threads that each decode a large
photo at some time, this adds up to gigabytes of unused memory.
"""

import ctypes
import threading

KEPT_BYTES = 256 << 20  # freed memory that may stay allocated, roughly; trimming takes a few milliseconds
SMALL_BYTES = 8 << 20  # smaller blocks are not counted

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # C libraries without it keep little memory


class Heap:
    """Counts freed memory; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._freed_bytes = 0

    def count_freed(self, size_bytes: int) -> None:
        """Count a freed block, and trim the heap if enough has been freed."""
        if size_bytes < SMALL_BYTES or _trim is None:
            return
        with self._lock:
            self._freed_bytes += size_bytes
            due = self._freed_bytes >= KEPT_BYTES
            if due:
                self._freed_bytes = 0
        if due:
            _trim(0)
