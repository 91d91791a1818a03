"""Where Ray may put its sockets. Takes the environment, gives a folder whose name is short enough for their paths."""

import os
import tempfile

from workers.errors import UsageError

# Unix allows 107 characters in a socket's path; 'ray/session_<time>_<pid>/sockets/plasma_store' takes 73 of them.
LONGEST_FOLDER = 107 - 73
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - Ray makes its own folder there, as it does by default


def short_parent(more: int = 0) -> str | None:
    """A folder to put Ray's own in, where the temporary folder has too long a name for sockets; None where it has not.

    Args:
        more: characters by which the name of Ray's folder is longer than `ray`.

    Raises:
        UsageError: no folder with a short name can be written.
    """
    named = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or tempfile.gettempdir()
    longest = LONGEST_FOLDER - more
    if len(os.fsencode(os.path.abspath(named))) <= longest:
        return None
    for folder in SHORT_FOLDERS:
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise UsageError(
        f"the temporary folder {named!r} has too long a name for Ray's sockets: set RAY_TMPDIR to one of at most "
        f"{longest} characters that can be written"
    )
