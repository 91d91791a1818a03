"""Labels that a published run was given afterwards. Takes a root and a run, reads, replaces or removes them.

Published files never change. So new labels are a table of their own, and `labels.json` beside the manifest names its files.
Readers replace the labels of all other tables by those of this table.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from workers.errors import DamagedRun
from workers.store import paths
from workers.store.json_format import JsonFormat
from workers.store.manifest import Manifest, PartFile
from workers.store.root import Root
from workers.store.rows import TableWriter
from workers.store.tables.shared import LABELS, RUNS


class GivenLabels(BaseModel):
    """The content of labels.json: the run, when it was given the labels (UTC, ISO 8601), and the files that hold them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run: str
    created: str
    parts: tuple[PartFile, ...]


_FORMAT = JsonFormat(GivenLabels)


def read_given(root: Root, run: str) -> GivenLabels | None:
    """The labels that a run was given; None if it has those of its corpus.

    Raises:
        DamagedRun: labels.json is damaged.
    """
    try:
        return parse_given(root, run)
    except ValueError as error:
        way_out = f"`deconvoy label {run} --reset` returns to the labels of the corpus"
        raise DamagedRun(f"run {run!r}: its labels.json {error}; {way_out}") from error


def parse_given(root: Root, run: str) -> GivenLabels | None:
    """The same.

    Raises:
        ValueError: labels.json cannot be parsed, or belongs to another run; the message has one line.
    """
    if not root.exists(paths.labels_path(run)):
        return None
    try:
        given = _FORMAT.decode(root.read(paths.labels_path(run)))
    except ValueError as error:
        raise ValueError(f"cannot be parsed: {error}") from error
    if given.run != run:
        raise ValueError(f"belongs to run {given.run!r}")
    return given


def give(root: Root, run: str, labels: pa.Table, scratch: Path) -> None:
    """Replace the labels that a run was given by others, rows of `LABELS`."""
    before = read_given(root, run)
    with TableWriter(root, LABELS, run, scratch) as writer:
        writer.write(labels)
        parts = writer.close()
    created = datetime.now(UTC).isoformat(timespec="seconds")
    root.put(paths.labels_path(run), _FORMAT.encode(GivenLabels(run=run, created=created, parts=parts)))
    for part in {*before.parts} - {*parts} if before else ():
        root.delete(part.path)


def take_back(root: Root, run: str) -> None:
    """Remove the labels that a run was given: it has those of its corpus again."""
    root.delete(paths.labels_path(run))
    folder = paths.table_folder(LABELS.name, run)
    for name in root.files(folder):
        root.delete(f"{folder}/{name}")


def unnamed_files(root: Root, document: Manifest) -> Iterator[tuple[str, int]]:
    """Paths and sizes of table files that neither a run's manifest nor its labels.json names, except its row of `runs`.

    If labels.json is damaged, no file of labels is among them, either.
    """
    named, unknown = {part.path for part in document.parts}, {RUNS.name}
    try:
        given = parse_given(root, document.run)
        named |= {part.path for part in given.parts} if given else set()
    except ValueError:
        unknown.add(LABELS.name)
    for table in sorted({*root.folders(paths.TABLES)} - unknown):
        folder = paths.table_folder(table, document.run)
        files = ((f"{folder}/{name}", size) for name, size in sorted(root.files(folder).items()))
        yield from ((path, size) for path, size in files if path not in named)
