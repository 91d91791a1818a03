"""Whether a published run is what was published. Takes a root and a run, gives what is wrong, with the way out of it."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow.parquet as pq

from workers.errors import DamagedFile, DamagedRun
from workers.store import damage, documents, footers, manifest, paths
from workers.store.documents import PIN, Pin
from workers.store.files import content
from workers.store.manifest import Manifest, PartFile
from workers.store.root import Root
from workers.store.rows import read_table
from workers.store.tables.shared import RUNS


@dataclass(frozen=True)
class Finding:
    """Something about a published run.

    Attributes:
        run: its id.
        path: the file, relative to the root.
        problem: what is wrong with it.
        remedy: the way out.
        damage: whether the run is not what was published; otherwise it is worth knowing.
    """

    run: str
    path: str
    problem: str
    remedy: str
    damage: bool = True


def verify(root: Root, run: str) -> Iterator[Finding]:
    """Read every file of a published run and compare it with what its manifest says."""
    remove = f"restore it from a copy, or remove the run (deconvoy rm {run}) and run the same command again"
    data = root.read(paths.manifest_path(run))
    try:
        document = manifest.decode(data, run)
    except (ValueError, DamagedRun) as error:
        yield Finding(run, paths.manifest_path(run), str(error), remove)
        return
    checked = list(_checksum(root, run, data, remove))
    yield from checked
    if any(finding.damage for finding in checked):  # what else it says is not to be trusted
        return
    yield from _differences(root, document, remove)


def _differences(root: Root, document: Manifest, remove: str) -> Iterator[Finding]:
    """What differs from what a manifest says."""
    yield from _parts(root, document)
    yield from _strays(root, document)
    yield from _row(root, document)
    if problem := pin_problem(root, document):
        again = "run the same command again: it writes the file again"
        yield Finding(document.run, paths.spec_path(document.run), problem, again)
    yield from _corpus(root, document, remove)
    yield from _results(root, document)


def damaged_parts(root: Root, document: Manifest) -> list[Finding]:
    """The files of a run's tables that are missing or damaged; the same command makes them again."""
    return list(_parts(root, document))


def is_intact(root: Root, part: PartFile) -> bool:
    """Whether a file is there and is the one that a manifest names."""
    return not _wrong(root, part)


def row_problem(root: Root, document: Manifest) -> str:
    """What is wrong with the row of a run in `runs`; nothing if it is there, whole and alone.

    Its hash is in no manifest, since it is made from the manifest; the file's name holds the first 16 digits of it.
    """
    folder = paths.table_folder(RUNS.name, document.run)
    names = sorted(name for name in root.files(folder) if name.endswith(".parquet"))
    if len(names) != 1:
        return f"holds {len(names)} files instead of one"
    [name] = names
    if content(root, f"{folder}/{name}").sha256[:16] != name.removesuffix(".parquet").rpartition("-")[2]:
        return f"{name} does not have the SHA-256 in its name"
    row, wanted = read_table(root, f"{folder}/{name}"), documents.runs_row(document)
    if not row.equals(wanted.select(row.column_names)):
        return f"{name} is not the row that the manifest implies"
    return ""


def pin_problem(root: Root, document: Manifest) -> str:
    """What is wrong with the spec.json of a run; nothing if it says what the manifest says, or the run has none."""
    if document.listing is None or document.identity is None:
        return ""
    path = paths.spec_path(document.run)
    if not root.exists(path):
        return "is missing"
    wanted = PIN.encode(Pin(document.identity, document.listing))
    return "" if root.read(path) == wanted else "is not what the manifest says"


def _checksum(root: Root, run: str, data: bytes, remove: str) -> Iterator[Finding]:
    path = paths.checksum_path(run)
    if not root.exists(path):
        problem = "is missing: an older version published the run, and its manifest.json cannot be checked"
        yield Finding(run, path, problem, "nothing to do", damage=False)
    elif root.read(path) != documents.checksum(data):
        problem = f"does not have the SHA-256 in {path}, or that file is damaged"
        yield Finding(run, paths.manifest_path(run), problem, remove)


def _parts(root: Root, document: Manifest) -> Iterator[Finding]:
    again = "run the same command again: it makes the file again"
    for part in document.parts:
        if problem := _wrong(root, part):
            yield Finding(document.run, part.path, problem, again)


def _wrong(root: Root, part: PartFile) -> str:
    """What is wrong with a file; nothing if it is the one that the manifest names."""
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


def _strays(root: Root, document: Manifest) -> Iterator[Finding]:
    run, named = document.run, {part.path for part in document.parts}
    for table in set(root.folders(paths.TABLES)) - {RUNS.name}:
        folder = paths.table_folder(table, run)
        for name in root.files(folder):
            if name.endswith(".parquet") and f"{folder}/{name}" not in named:
                problem = "is not named by the manifest, and readers of whole folders see its rows"
                yield Finding(run, f"{folder}/{name}", problem, "run the same command again: it removes the file")


def _row(root: Root, document: Manifest) -> Iterator[Finding]:
    if problem := row_problem(root, document):
        folder, run = paths.table_folder(RUNS.name, document.run), document.run
        yield Finding(run, folder, problem, "run the same command again: it writes the row again")


def _corpus(root: Root, document: Manifest, remove: str) -> Iterator[Finding]:
    path, wanted = document.listing, document.corpus.sha256 if document.corpus else None
    if path is None:
        return
    if not root.exists(path):
        yield Finding(document.run, path, "is missing", remove)
    elif wanted is None:  # an older version published the run
        if problem := _unreadable(root, path):
            yield Finding(document.run, path, problem, remove)
    elif content(root, path).sha256 != wanted:
        yield Finding(document.run, path, "is not the list of images that the run was made of", remove)


def _unreadable(root: Root, path: str) -> str:
    """What keeps a Parquet file from being read; nothing if all its pages have their checksums."""
    try:
        with damage.named("it"), footers.opened(root, path, lambda _: None) as parquet:
            for _ in parquet.iter_batches():
                pass
    except DamagedFile as error:
        return str(error).removeprefix("it ")
    return ""


def _results(root: Root, document: Manifest) -> Iterator[Finding]:
    named = document.results
    folders = {paths.configuration_of(path) for path in named}
    there = {f"{paths.shard_folder(each)}/{name}" for each in folders for name in root.files(paths.shard_folder(each))}
    missing = [path for path in named if path not in there]
    if missing:
        problem = f"is missing, as are {len(missing) - 1} other results of the {len(named)} that the run was made of"
        yield Finding(document.run, missing[0], problem, "they will be made again if they are needed", damage=False)
