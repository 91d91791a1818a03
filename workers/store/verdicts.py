"""Verdicts on files that scans leave out, stored under the root. Takes a root and a path, gives or writes a verdict."""

from pydantic.dataclasses import dataclass

from workers.errors import Reason
from workers.store import paths
from workers.store.json_format import JsonFormat
from workers.store.root import Root


@dataclass(frozen=True)
class StoredVerdict:
    """Why a file is left out: its uri, the reason (it crashes or hangs the decoder, is gone or has changed), and a detail."""

    uri: str
    reason: Reason
    detail: str


_FORMAT = JsonFormat(StoredVerdict, indent=None)


def read(root: Root, path: str) -> StoredVerdict | None:
    """The verdict in a file; None if the file is gone, since another run may have deleted it.

    Raises:
        ValueError: the file is damaged; the message has one line.
    """
    try:
        return _FORMAT.decode(root.read(path))
    except FileNotFoundError:
        return None


def write(root: Root, path: str, verdict: StoredVerdict) -> None:
    """Store a verdict."""
    root.put(path, _FORMAT.encode(verdict))


def all_paths(root: Root) -> list[str]:
    """The paths of all verdicts under the root."""
    return [f"{paths.VERDICTS}/{name}" for name in sorted(root.files(paths.VERDICTS))]
