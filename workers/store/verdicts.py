"""Verdicts on files that scans leave out, as files of the root. Takes a root, gives what is stored; writes it."""

from pydantic.dataclasses import dataclass

from workers.errors import Reason
from workers.store import paths
from workers.store.json_format import JsonFormat
from workers.store.root import Root


@dataclass(frozen=True)
class StoredVerdict:
    """A file that crashed or hung its decoder, or was gone or another one after it was listed: its uri, why, and a detail."""

    uri: str
    reason: Reason
    detail: str


_FORMAT = JsonFormat(StoredVerdict, indent=None)


def read(root: Root, path: str) -> StoredVerdict | None:
    """The verdict in a file; None if there is no such file any more: another run may have deleted it.

    Raises:
        ValueError: the file is damaged, and how, in one line.
    """
    try:
        return _FORMAT.decode(root.read(path))
    except FileNotFoundError:
        return None


def write(root: Root, path: str, verdict: StoredVerdict) -> None:
    """Store a verdict."""
    root.put(path, _FORMAT.encode(verdict))


def all_paths(root: Root) -> list[str]:
    """The files of all verdicts, as paths under the root."""
    return [f"{paths.VERDICTS}/{name}" for name in sorted(root.files(paths.VERDICTS))]
