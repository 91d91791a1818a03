"""What a machine does to a program. Takes an error, gives one line for a person, or nothing where it is a bug."""

import errno


def trouble(error: BaseException) -> str | None:
    """What the disk, the network or the memory did, in one line; None for anything else, which is a bug and shows where it is.

    A broken pipe is None too: whoever read has left, and wants to hear nothing.
    """
    error = getattr(error, "cause", error)  # Ray wraps what an actor raised
    if isinstance(error, MemoryError):
        return "out of memory; close other programs, or use a machine with more"
    if isinstance(error, RecursionError):
        return "a file or an argument is nested too deeply"
    if not isinstance(error, OSError) or error.errno == errno.EPIPE:
        return None
    place = f"{error.filename!r}: " if error.filename is not None else ""
    more = "; free some and run the same command again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return f"{place}{error.strerror or error}{more}"
