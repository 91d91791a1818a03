"""The SQL view of the notes on channels. Takes a root, gives its notes as a table, or a view over their files."""

import re
from dataclasses import asdict, fields

import pyarrow as pa

from service.query import notes
from service.query.notes import ChannelNote, Note
from service.query.quoting import quoted, without_patterns
from workers.store import paths
from workers.store.root import Root

NOTES = "notes"
SCHEMA = pa.schema([(field.name, pa.int32() if field.type is int else pa.string()) for field in fields(ChannelNote)])
DOCS = {
    "model_fingerprint": "hash of the network and its weights, as in the table `runs`",
    "layer": "name of the layer",
    "channel": "index along the feature map's first axis",
    "text": "the note",
    "written_at": "time of writing, UTC, ISO 8601",
    "written_by": "the API key with which it was written; null if there was none",
}

# DuckDB refuses a pattern that no file matches, so this one also matches the manifests of runs; the names of files exclude them.
_FILES = "[nr][ou][tn][es]*/*/*.json"
_PLACED = ("model_fingerprint", "layer", "channel")


def is_named(query: str) -> bool:
    """Whether a query may read the notes."""
    return re.search(rf"\b{NOTES}\b", query, re.IGNORECASE) is not None


def table(root: Root) -> pa.Table:
    """The notes of a root as they are now.

    Raises:
        DamagedFile: a note cannot be read.
    """
    return pa.Table.from_pylist([asdict(note) for note in notes.read_all(root)], SCHEMA)


def view(root: Root) -> str:
    """The statement that creates a view over the files of the notes, for DuckDB. It is valid while there are none."""
    base = root.path(paths.NOTES).removesuffix(paths.NOTES)
    url = base if root.is_local else str(root.filesystem.unstrip_protocol(base)).rstrip("/") + "/"
    keys = ", ".join(f"{quoted(field.name)}: 'VARCHAR'" for field in fields(Note))
    files = f"{quoted(without_patterns(url) + _FILES)}, columns = {{{keys}}}, filename = true, format = 'unstructured'"
    names = ", ".join(map(quoted, _PLACED))
    return (
        f"CREATE OR REPLACE VIEW {NOTES} AS SELECT place.model_fingerprint, url_decode(place.layer) AS layer, "  # noqa: S608
        'CAST(place.channel AS INTEGER) AS channel, "text", "at" AS written_at, NULLIF("by", \'\') AS written_by FROM ('
        f"SELECT *, regexp_extract(filename, {quoted(f'{notes.PLACE}$')}, [{names}]) AS place FROM read_json({files}) "
        f"WHERE filename LIKE '%/{paths.NOTES}/%');"
    )
