"""Integrity of published runs. Takes a root and a run, gives findings: what is wrong with which file, and the remedy."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow.parquet as pq

from workers.errors import DamagedFile, DamagedRun
from workers.store import damage, documents, footers, labels, manifest, paths
from workers.store.documents import PIN, Pin
from workers.store.facts import PartFile
from workers.store.files import content
from workers.store.manifest import Manifest
from workers.store.root import Root
from workers.store.rows import read_table
from workers.store.tables.shared import RUNS


@dataclass(frozen=True)
class FileProblem:
    """A problem of a published run.

    Attributes:
        run: run id.
        path: path of the file under the root.
        problem: what is wrong with it.
        remedy: how to fix it.
        damage: whether the run differs from what was published; otherwise the finding is for information.
    """

    run: str
    path: str
    problem: str
    remedy: str
    damage: bool = True


def verify(root: Root, run: str) -> Iterator[FileProblem]:
    """Read every file of a published run and compare it with its manifest."""
    remove = f"restore it from a backup, or remove the run (`deconvoy rm {run} --root ROOT`) and repeat the command that made it"
    data = root.read(paths.manifest_path(run))
    try:
        document = manifest.decode(data, run)
    except (ValueError, DamagedRun) as error:
        yield FileProblem(run, paths.manifest_path(run), str(error), remove)
        return
    checked = list(_checksum(root, run, data, remove))
    yield from checked
    if any(finding.damage for finding in checked):  # the rest of the manifest cannot be trusted
        return
    yield from _differences(root, document, remove)


def _differences(root: Root, document: Manifest, remove: str) -> Iterator[FileProblem]:
    """The differences from a manifest."""
    yield from _parts(root, document)
    yield from _labels(root, document)
    yield from _strays(root, document)
    yield from _row(root, document)
    if problem := pin_problem(root, document):
        again = "repeat the command that made the run; it rewrites the file"
        yield FileProblem(document.run, paths.spec_path(document.run), problem, again)
    yield from _corpus(root, document, remove)
    yield from _results(root, document)


def damaged_parts(root: Root, document: Manifest) -> list[FileProblem]:
    """The table files of a run that are missing or damaged; the same command computes them again."""
    return list(_parts(root, document))


def is_intact(root: Root, part: PartFile) -> bool:
    """Whether a file exists and is the one that the manifest names."""
    return not _part_problem(root, part)


def row_problem(root: Root, document: Manifest) -> str:
    """What is wrong with a run's row in `runs`; empty if there is exactly one intact file.

    No manifest has its hash, since the row is derived from the manifest. The file's name contains the first 16 digits.
    """
    folder = paths.table_folder(RUNS.name, document.run)
    names = sorted(name for name in root.files(folder) if name.endswith(".parquet"))
    if len(names) != 1:
        return f"has {len(names)} files instead of one"
    [name] = names
    if content(root, f"{folder}/{name}").sha256[:16] != name.removesuffix(".parquet").rpartition("-")[2]:
        return f"holds {name}, which does not match the SHA-256 in its name"
    row, wanted = read_table(root, f"{folder}/{name}"), documents.runs_row(document)
    if not row.equals(wanted.select(row.column_names)):
        return f"holds {name}, which differs from the row that the manifest implies"
    return ""


def pin_problem(root: Root, document: Manifest) -> str:
    """What is wrong with the spec.json of a run; empty if it agrees with the manifest, or the run has none."""
    if document.listing is None or document.identity is None:
        return ""
    path = paths.spec_path(document.run)
    if not root.exists(path):
        return "is missing"
    wanted = PIN.encode(Pin(document.identity, document.listing))
    return "" if root.read(path) == wanted else "differs from the manifest"


def _checksum(root: Root, run: str, data: bytes, remove: str) -> Iterator[FileProblem]:
    path = paths.checksum_path(run)
    if not root.exists(path):
        problem = "is missing: an older version published the run, and its manifest.json cannot be checked"
        yield FileProblem(run, path, problem, "nothing to do", damage=False)
    elif root.read(path) != documents.checksum(data):
        problem = f"does not match the SHA-256 in {path}, or that file is damaged"
        yield FileProblem(run, paths.manifest_path(run), problem, remove)


def _parts(root: Root, document: Manifest) -> Iterator[FileProblem]:
    again = "repeat the command that made the run; it recomputes the file"
    for part in document.parts:
        if problem := _part_problem(root, part):
            yield FileProblem(document.run, part.path, problem, again)


def _part_problem(root: Root, part: PartFile) -> str:
    """What is wrong with a table file; empty if it is the one that the manifest names."""
    if not root.exists(part.path):
        return "is missing"
    actual = content(root, part.path)
    if actual.bytes != part.bytes:
        return f"has {actual.bytes} bytes instead of {part.bytes}"
    if actual.sha256 != part.sha256:
        return f"has the SHA-256 {actual.sha256[:16]}... instead of {part.sha256[:16]}..."
    with root.open(part.path) as file:
        count = pq.ParquetFile(file).metadata.num_rows
    return "" if count == part.rows else f"has {count} rows instead of {part.rows}"


def _strays(root: Root, document: Manifest) -> Iterator[FileProblem]:
    for path, _ in labels.unnamed_files(root, document):
        if path.endswith(".parquet"):
            problem = "is not in the manifest, but readers of whole folders see its rows"
            remedy = "repeat the command that made the run, or run deconvoy gc; both remove the file"
            yield FileProblem(document.run, path, problem, remedy)


def _labels(root: Root, document: Manifest) -> Iterator[FileProblem]:
    """Problems of the labels that the run was given."""
    run = document.run
    again = labels.way_out(run)
    try:
        given = labels.parse_given(root, run, document.created)
    except ValueError as error:
        yield FileProblem(run, paths.labels_path(run), f"cannot be parsed: {error}", again)
        return
    for part in given.parts if given else ():
        if problem := _part_problem(root, part):
            yield FileProblem(run, part.path, problem, again)


def _row(root: Root, document: Manifest) -> Iterator[FileProblem]:
    if problem := row_problem(root, document):
        folder, run = paths.table_folder(RUNS.name, document.run), document.run
        yield FileProblem(run, folder, problem, "repeat the command that made the run; it rewrites the row")


def _corpus(root: Root, document: Manifest, remove: str) -> Iterator[FileProblem]:
    path, wanted = document.listing, document.corpus.sha256 if document.corpus else None
    if path is None:
        return
    if not root.exists(path):
        yield FileProblem(document.run, path, "is missing", remove)
    elif wanted is None:  # an older version published the run
        if problem := _read_problem(root, path):
            yield FileProblem(document.run, path, problem, remove)
    elif content(root, path).sha256 != wanted:
        yield FileProblem(document.run, path, "is not the corpus manifest that the run was made from", remove)


def _read_problem(root: Root, path: str) -> str:
    """Why a Parquet file cannot be read; empty if the checksums of all its pages are right."""
    try:
        with damage.translate("it"), footers.open_parquet(root, path, lambda _: None) as parquet:
            for _ in parquet.iter_batches():
                pass
    except DamagedFile as error:
        return str(error).removeprefix("it ")
    return ""


def _others(count: int, results: int) -> str:
    """The missing results other than the first, for its message."""
    if not count:
        return ""
    return f", as {'is 1 other' if count == 1 else f'are {count} others'} of the run's {results} results"


def _results(root: Root, document: Manifest) -> Iterator[FileProblem]:
    results = document.results
    folders = {paths.shard_folder(paths.configuration_of(path)) for path in results}
    existing = {f"{folder}/{name}" for folder in folders for name in root.files(folder)}
    missing = [path for path in results if path not in existing]
    if missing:
        problem = f"is missing{_others(len(missing) - 1, len(results))}"
        yield FileProblem(document.run, missing[0], problem, "they will be computed again when needed", damage=False)
