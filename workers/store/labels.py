"""Labels that a published run was given afterwards. Takes a root and a run, reads, replaces or removes them.

Published files never change. So new labels are a table of their own, and `labels.json` beside the manifest names its files.
Readers replace the labels of all other tables by those of this table.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from workers.errors import DamagedRun, OtherLabels
from workers.store import paths
from workers.store.facts import PartFile
from workers.store.json_format import JsonFormat
from workers.store.manifest import Manifest
from workers.store.root import Root
from workers.store.rows import TableWriter
from workers.store.tables.shared import LABELS, RUNS


class GivenLabels(BaseModel):
    """The content of labels.json.

    Attributes:
        run: the run.
        published: when the run was published; labels for another run of the same id do not count.
        created: when it was given the labels, UTC, ISO 8601.
        parts: the files that hold them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    run: str
    published: str
    created: str
    parts: tuple[PartFile, ...]


_FORMAT = JsonFormat(GivenLabels)


def read_given(root: Root, run: str, published: str) -> GivenLabels | None:
    """The labels that a run was given; None if it has those of its corpus.

    Args:
        root: the root.
        run: the run.
        published: when it was published.

    Raises:
        DamagedRun: labels.json cannot be parsed.
    """
    try:
        return parse_given(root, run, published)
    except ValueError as error:
        raise DamagedRun(f"run {run!r}: its labels.json cannot be parsed: {error}; {way_out(run)}") from error


def way_out(run: str) -> str:
    """What to do about damaged labels."""
    return f"`deconvoy label {run} --root ROOT --reset` returns to the labels of the corpus; after that, new ones can be given"


def parse_given(root: Root, run: str, published: str) -> GivenLabels | None:
    """The labels that a run was given, as `read_given`.

    Raises:
        ValueError: labels.json cannot be parsed; the message has one line.
    """
    try:
        data = root.read(paths.labels_path(run))
    except FileNotFoundError:
        return None
    given = _FORMAT.decode(data)
    return given if (given.run, given.published) == (run, published) else None


def give(root: Root, document: Manifest, before: GivenLabels | None, labels: pa.Table, scratch: Path) -> None:
    """Replace the labels that a run was given.

    Args:
        root: the root.
        document: the run's manifest.
        before: the labels that it has been given so far.
        labels: all labels that it is given, rows of `LABELS`.
        scratch: a local temporary folder.

    Raises:
        OtherLabels: another process has replaced them since `before`.
        DamagedRun: the run was removed meanwhile.
    """
    run = document.run
    with TableWriter(root, LABELS, run, scratch) as writer:
        writer.write(labels)
        parts = writer.close()
    now = read_given(root, run, document.created)
    if now != before:
        _delete(root, {*parts} - {*(now.parts if now else ())})
        raise OtherLabels(f"run {run!r} was relabelled in the meantime")
    given = GivenLabels(run=run, published=document.created, created=datetime.now(UTC).isoformat(), parts=parts)
    root.put(paths.labels_path(run), _FORMAT.encode(given))
    if not root.exists(paths.manifest_path(run)):
        take_back(root, run)
        raise DamagedRun(f"run {run!r} was removed while it was being relabelled")
    _delete(root, {*(before.parts if before else ())} - {*parts})


def _delete(root: Root, parts: Iterable[PartFile]) -> None:
    for part in parts:
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
        given = parse_given(root, document.run, document.created)
        named |= {part.path for part in given.parts} if given else set()
    except ValueError:
        unknown.add(LABELS.name)
    for table in sorted({*root.folders(paths.TABLES)} - unknown):
        folder = paths.table_folder(table, document.run)
        files = ((f"{folder}/{name}", size) for name, size in sorted(root.files(folder).items()))
        yield from ((path, size) for path, size in files if path not in named)
