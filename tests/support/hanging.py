"""A decoder that hangs or dies. Takes bytes, does what they say; imports little, as each image has a process of its own."""

import os
import signal
import time
from pathlib import Path

from workers.corpus.pixels import RGB, PixelFormat


def hang_at_seven(data: bytes, limits) -> None:
    """A decoder that does not come back from files that begin with 7, and dies of those that begin with 8."""
    del limits
    if data.startswith(b"7"):
        time.sleep(60)
    if data.startswith(b"8"):
        os._exit(9)


def die_the_first_time_alone(data: bytes, limits) -> None:
    """A decoder that dies of a file that begins with 9 twice, and never again: its neighbour took the memory, say.

    The file's other bytes are the path of a folder that counts its deaths.
    """
    del limits
    if data.startswith(b"9"):
        deaths = Path(data[1:].decode())
        if len(list(deaths.iterdir())) < 2:
            (deaths / str(time.time_ns())).touch()
            os._exit(9)


def killed_from_outside(data: bytes, limits) -> None:
    """A decoder whose process the kernel kills, for want of memory, but for files that begin with 8, of which it dies."""
    if data.startswith(b"8"):
        hang_at_seven(data, limits)
    os.kill(os.getpid(), signal.SIGKILL)


def slow_but_at_work(data: bytes, limits) -> None:
    """A decoder that sleeps far more than it computes, as if it had a small share of a CPU."""
    del limits
    until = time.monotonic() + float(data)
    while time.monotonic() < until:
        began = time.process_time()
        while time.process_time() - began < 0.02:
            pass
        time.sleep(0.2)


def die_for_bands(data: bytes, limits, form: PixelFormat = RGB) -> None:
    """End the process if bands are selected."""
    del data, limits
    if form.bands:
        os._exit(9)
