"""Give freed memory back to the system. Takes how much was used and freed, now and then asks the C library to let go of it.

glibc keeps what a thread frees, up to 32 MiB a piece, for that thread. With fifteen decoding threads, each of which decodes
a large photo at some time, that is gigabytes that nobody uses.
"""

import ctypes
import threading

KEPT_BYTES = 256 << 20  # at most, roughly; trimming costs a few milliseconds
SMALL_BYTES = 8 << 20  # so much a thread may keep

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries keep little


class Heap:
    """Counts what is freed, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._freed_bytes = 0

    def freed(self, size_bytes: int) -> None:
        """Note that so many bytes are not used any more."""
        if size_bytes < SMALL_BYTES or _trim is None:
            return
        with self._lock:
            self._freed_bytes += size_bytes
            due = self._freed_bytes >= KEPT_BYTES
            if due:
                self._freed_bytes = 0
        if due:
            _trim(0)
