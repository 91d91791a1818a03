"""Writing notes on channels. Takes a run, a channel and a text, writes or removes the note's file under the root."""

from datetime import UTC, datetime

from service.query import notes
from service.query.catalog import PublishedRun
from service.query.notes import Note
from workers.errors import QueryError


def write(run: PublishedRun, layer: str, channel: int, text: str, by: str = "") -> Note | None:
    """Write a note on a channel of a run's network, in place of an earlier one; an empty text removes it and gives None.

    Raises:
        QueryError: the run has no such layer or channel, or the text is too long.
    """
    run.layer(layer).require_channel(channel)
    plain = " ".join(text.split())
    if len(plain) > notes.LONGEST:
        raise QueryError(f"the note has {len(plain):,} characters; at most {notes.LONGEST:,} are allowed")
    rel = notes.path(run.fingerprint, layer, channel)
    if not plain:
        run.root.delete(rel)
        return None
    note = Note(plain, datetime.now(UTC).isoformat(timespec="seconds"), by)
    run.root.put(rel, notes.FORMAT.encode(note))
    return note
