"""Notes on channels, as files under the root. Takes a root and networks, gives what people wrote about their channels.

A note is about a channel of a network with one set of weights. So it is shown in every run with these weights, and outlives
them.
"""

import re
from collections.abc import Mapping
from typing import TypeAlias
from urllib.parse import quote, unquote

from pydantic.dataclasses import dataclass

from service.pools import CallPool, Renewed
from service.query import listing
from service.query.catalog import PublishedRun
from workers.errors import DamagedFile
from workers.store import files, paths
from workers.store.json_format import JsonFormat
from workers.store.root import Root

LONGEST = 2000  # characters
DEPTH = 2  # of note files below their folder
PLACE = rf"/{paths.NOTES}/([^/]+)/([^/]+)\.([0-9]+)\.json"  # network, layer and channel of a note's file


@dataclass(frozen=True)
class Note:
    """What somebody wrote about a channel: the text, when it was written (UTC, ISO 8601), and the API key, if there was one."""

    text: str
    at: str
    by: str = ""


@dataclass(frozen=True)
class ChannelNote:
    """A note with its channel: the hash of the network, and what `Note` holds. The SQL view `notes` has these columns."""

    model_fingerprint: str
    layer: str
    channel: int
    text: str
    written_at: str
    written_by: str | None


Notes: TypeAlias = Mapping[tuple[str, int], Note]  # by layer and channel
FORMAT = JsonFormat(Note)


def path(fingerprint: str, layer: str, channel: int) -> str:
    """The file of a note."""
    return f"{paths.NOTES}/{fingerprint}/{quote(layer, safe='')}.{channel}.json"


def read_all(root: Root, fingerprint: str | None = None) -> tuple[ChannelNote, ...]:
    """All notes of a root, or those on one network, by network, layer and channel.

    Raises:
        DamagedFile: a note cannot be read.
    """
    folder, depth = (f"{paths.NOTES}/{fingerprint}", 1) if fingerprint else (paths.NOTES, DEPTH)
    places = sorted((place, rel) for rel in files.stamps(root, folder, depth) if (place := _place(rel)))
    notes = ((place, _decode(root, rel)) for place, rel in places)
    return tuple(ChannelNote(*place, note.text, note.at, note.by or None) for place, note in notes if note)


def of_run(run: PublishedRun) -> tuple[ChannelNote, ...]:
    """The notes on the channels of a run's network, by layer and channel.

    Raises:
        DamagedFile: a note cannot be read.
    """
    return read_all(run.root, run.fingerprint)


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
        self._known = {}
        for rel, stamp in stamps.items():
            place, (old, note) = _place(rel), known.get(rel, ("", None))
            if place and (note := note if old == stamp else _decode(self._root, rel)):
                self._known[rel] = stamp, note
                fingerprint, layer, channel = place
                notes.setdefault(fingerprint, {})[layer, channel] = note
        return notes


def _place(rel: str) -> tuple[str, str, int] | None:
    """The fingerprint of the network, the layer and the channel of a note's file; None for other files. The inverse of `path`."""
    matched = re.fullmatch(PLACE, f"/{rel}")
    return (matched[1], unquote(matched[2]), int(matched[3])) if matched else None


def _decode(root: Root, rel: str) -> Note | None:
    """A note; None if it has just been removed."""
    try:
        return FORMAT.decode(root.read(rel))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DamagedFile(f"{rel} cannot be parsed: {error}; delete it, or write the note again") from error
