"""Notes on channels, as files under the root. Takes a root and networks, gives what people wrote about their channels.

A note is about a channel of a network, with its weights. So it is shown in every run of the network, and outlives its runs.
"""

from collections.abc import Mapping
from typing import TypeAlias
from urllib.parse import quote, unquote

from pydantic.dataclasses import dataclass

from service.pools import CallPool, Renewed
from service.query import listing
from workers.errors import DamagedFile
from workers.store import files, paths
from workers.store.json_format import JsonFormat
from workers.store.root import Root

LONGEST = 2000  # characters
DEPTH = 2  # of note files below their folder


@dataclass(frozen=True)
class Note:
    """What somebody wrote about a channel: the text, when it was written (UTC, ISO 8601), and the API key, if there was one."""

    text: str
    at: str
    by: str = ""


Notes: TypeAlias = Mapping[tuple[str, int], Note]  # by layer and channel
FORMAT = JsonFormat(Note)


def path(fingerprint: str, layer: str, channel: int) -> str:
    """The file of a note."""
    return f"{paths.NOTES}/{fingerprint}/{quote(layer, safe='')}.{channel}.json"


class NoteBook:
    """All notes of a root. Safe to use from many threads; each file is read once, and the list is renewed while it is in use."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._known: dict[str, tuple[str, Note]] = {}  # stamp and note, by path
        self.forget()

    def of(self, fingerprint: str) -> Notes:
        """The notes on the channels of a network.

        Raises:
            DamagedFile: a note cannot be read.
            Unavailable: the store does not answer in time.
        """
        return self._renewed.get().get(fingerprint, {})

    def forget(self) -> None:
        """Read the list again, since it has changed."""
        pool = CallPool("the root", 1, listing.LIMIT_S)
        self._renewed = Renewed(self._read, pool, listing.RENEW_S, listing.LIFE_S, listing.PATIENCE_S)

    def _read(self) -> Mapping[str, Notes]:
        stamps = files.stamps(self._root, paths.NOTES, DEPTH)
        known, notes = self._known, dict[str, dict[tuple[str, int], Note]]()
        self._known = {
            rel: known[rel] if rel in known and known[rel][0] == stamp else (stamp, self._decode(rel))
            for rel, stamp in stamps.items()
        }
        for rel, (_, note) in self._known.items():
            _, fingerprint, name = rel.split("/")
            layer, _, channel = name.removesuffix(".json").rpartition(".")
            notes.setdefault(fingerprint, {})[unquote(layer), int(channel)] = note
        return notes

    def _decode(self, rel: str) -> Note:
        try:
            return FORMAT.decode(self._root.read(rel))
        except ValueError as error:
            raise DamagedFile(f"{rel} cannot be parsed: {error}; delete it, or write the note again") from error
