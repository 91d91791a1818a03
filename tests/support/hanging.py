"""A decoder that hangs or dies. Takes bytes, does what they say; imports little, as each image has a process of its own."""

import os
import time


def hang_at_seven(data: bytes, limits) -> None:
    """A decoder that does not come back from files that begin with 7, and dies of those that begin with 8."""
    del limits
    if data.startswith(b"7"):
        time.sleep(60)
    if data.startswith(b"8"):
        os._exit(9)
