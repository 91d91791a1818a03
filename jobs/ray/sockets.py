"""The folder of Ray's sockets. Takes the environment, gives a folder with a name short enough for their paths."""

import os
import tempfile

from workers.errors import UsageError

# A Unix socket's path has at most 107 characters; 'ray/session_<time>_<pid>/sockets/plasma_store' takes 73 of them.
LONGEST_FOLDER = 107 - 73
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - as Ray does by default  # nosec B108


def short_parent(more: int = 0) -> str | None:
    """A folder for Ray's own folder, if the name of the temporary folder is too long for sockets; else None.

    Args:
        more: characters by which the name of Ray's folder is longer than `ray`.

    Raises:
        UsageError: no folder with a short name is writable.
    """
    temporary = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or tempfile.gettempdir()
    longest = LONGEST_FOLDER - more
    if len(os.fsencode(os.path.abspath(temporary))) <= longest:
        return None
    for folder in SHORT_FOLDERS:
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise UsageError(
        f"the path of the temporary folder {temporary!r} is too long for Ray's sockets; set RAY_TMPDIR to a writable folder "
        f"whose path has at most {longest} characters"
    )
