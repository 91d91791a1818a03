"""Errors of the machine: disk, network, memory. Takes an error, gives one line, or None if the error is a bug."""

import errno


def explain(error: BaseException) -> str | None:
    """The error in one line if the disk, the network or the memory caused it.

    None for all other errors: they are bugs, and need their traceback. None for a broken pipe too, as the reader has left.
    """
    error = getattr(error, "cause", error)  # Ray wraps the errors of actors
    if isinstance(error, MemoryError):
        return "out of memory; close other programs, or use a machine with more memory"
    if isinstance(error, RecursionError):
        return "a file or an argument is nested too deeply"
    if not isinstance(error, OSError) or error.errno == errno.EPIPE:
        return None
    place = f"{error.filename!r}: " if error.filename is not None else ""
    advice = "; free some space and run the same command again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return f"{place}{error.strerror or error}{advice}"
