"""SQL over published tables. Takes a root and a query, gives rows or views over exactly the files in the runs' manifests.

A query reads through Arrow, which verifies page checksums. DuckDB itself cannot open files or connections, so a query can only
read the published tables. With `unsafe`, DuckDB opens the files itself, and a query can open any file.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Timer
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from service.query import catalog, checking, derived, noted, relabelled
from service.query.catalog import PublishedRun
from service.query.quoting import quoted, without_patterns
from service.query.reading import FORMAT
from workers.errors import DamagedRun, QueryError
from workers.host import log
from workers.store import paths
from workers.store.root import Root
from workers.store.tables.registry import TABLES
from workers.store.tables.shared import LABELS

MEMORY = "4GB"
TIMEOUT_S = 300.0
RUN = pa.field("run", pa.string())
LARGEST_PIECE, PIECES = 10_000, 16  # a piece has at most LARGEST_PIECE rows, and 1/PIECES of the memory limit
NO_TABLE = "the query is empty or returns no table; try SHOW TABLES"
_UNITS = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "PiB": 1 << 50, "EiB": 1 << 60}

# Locked, so that queries cannot change them. Without a folder for temporary files, DuckDB writes nothing.
_SANDBOX = (
    "SET temp_directory = ''",
    "SET enable_external_access = false",
    "SET python_enable_replacements = false",
    "SET lock_configuration = true",
)
_CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
}


@dataclass(frozen=True, eq=False)
class Answer:
    """The result of a query: names of the columns, and the rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Limits:
    """Limits of a query.

    Attributes:
        memory: memory limit of DuckDB, such as 4GB; the answer may take as much again.
        timeout_s: seconds after which the query is stopped.
        unsafe: whether the query may read and write files, load extensions and open connections.
        cell_bytes: memory that the caller needs per value of the answer, in addition to the value itself.
    """

    memory: str = MEMORY
    timeout_s: float = TIMEOUT_S
    unsafe: bool = False
    cell_bytes: int = 0


def ask(root: Root, query: str, limits: Limits = Limits()) -> Answer:
    """Run a SQL query on the published tables of a root. Runs whose files are damaged are left out and logged.

    Raises:
        QueryError: DuckDB reports an error, or the query exceeds its limits.
        DamagedRun: all runs are damaged.
    """
    with connected(root, query, limits) as connection:
        limit_bytes = _limit_bytes(connection)
        result = connection.execute(query)
        if not result or not result.description:
            raise QueryError(NO_TABLE)
        names = tuple(str(column[0]) for column in result.description)
        answer = Answer(names, _rows(result, limits, limit_bytes))
    return _documented(query, answer)


@contextmanager
def connected(root: Root, query: str, limits: Limits) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB with every table that a query names. The time limit begins now.

    Raises:
        QueryError: DuckDB reports an error in the block.
        DamagedRun: all runs are damaged.
    """
    named = {name for name in TABLES if re.search(rf"\b{name}(_as_scanned)?\b", query, re.IGNORECASE)}
    named |= derived.tables_read_by(query)
    files = published(root, {*named, LABELS.name} if named else ())
    with duckdb.connect(config={} if limits.unsafe else _CLOSED) as connection, _one_line_errors(limits):
        connection.execute(f"SET memory_limit = {quoted(limits.memory)}")
        connection.register(noted.NOTES, noted.table(root) if noted.is_named(query) else noted.SCHEMA.empty_table())
        (_open if limits.unsafe else _register)(connection, root, files)
        with _timeout(connection, limits.timeout_s):
            yield connection


def views(root: Root) -> str:
    """`CREATE VIEW` statements for every table of the published runs. Damaged runs are left out and named in a comment."""
    damaged: dict[str, str] = {}
    files = published(root, TABLES, damaged)
    head = [f"The published files under {root.url}; `deconvoy verify --root {root.url}` checks them."]
    head += [f"Left out: {problem}" for problem in damaged.values()]
    statements = [
        view(relabelled.name_of_stored(name, files), [_location(root, path) for path in listed])
        for name, listed in files.items()
    ]
    statements += [*relabelled.views(files), *derived.statements(files), noted.view(root)]
    return "".join(f"{line}\n" for line in (*(f"-- {log.one_line(line)}" for line in head), *statements))


def view(name: str, files: Sequence[str]) -> str:
    """The statement that creates a table's view over its files; `run` is read from their paths."""
    listed = ", ".join(quoted(without_patterns(path)) for path in files)
    options = "hive_partitioning = true, hive_types = {'run': VARCHAR}, union_by_name = true"
    return f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM read_parquet([{listed}], {options});"  # noqa: S608 - quoted


def published(root: Root, checked: Iterable[str], damaged: dict[str, str] | None = None) -> Mapping[str, list[str]]:
    """The paths of the files of all published runs, by table, newest run first.

    Args:
        root: the root.
        checked: tables whose files are compared with their hashes.
        damaged: filled with the problems of the runs that are left out, by run id.

    Raises:
        RunError: there is no published run.
        DamagedRun: all runs are damaged.
    """
    runs, damage = checking.find_intact(root, catalog.require_runs(root), checked)
    problems = {
        run: f"run {run!r}: {problem}; `deconvoy verify {run} --root ROOT` gives details"
        for run, problem in damage.items()
    }
    if not runs:
        raise DamagedRun(next(iter(problems.values())))
    for line in problems.values():
        log.Log().say(f"{line}; the run is left out", log.WARNING)
    (damaged if damaged is not None else {}).update(problems)
    files: dict[str, list[str]] = {}
    for run in runs:
        for table, path in _parts(run):
            if table in TABLES:
                files.setdefault(table, []).append(path)
    return {name: files[name] for name in TABLES if name in files}


def _documented(query: str, answer: Answer) -> Answer:
    """The answer to `DESCRIBE NAME` with the documentation of its columns; any other answer as it is."""
    described = re.fullmatch(r"\s*desc(?:ribe)?\s+(\w+)\s*;?\s*", query, re.IGNORECASE)
    docs = _docs(described[1].lower()) if described else None
    if not docs:
        return answer
    return Answer(("column_name", "column_type", "doc"), tuple((*row[:2], docs[row[0]]) for row in answer.rows))


def _docs(name: str) -> Mapping[str, str] | None:
    """The documentation of the columns of a table or a computed view; None if there is none of this name."""
    if name in TABLES:
        schema = TABLES[name].schema
        return {field.name: (field.metadata or {}).get(b"doc", b"").decode() for field in schema} | {RUN.name: "run id"}
    return {derived.PURITY: derived.DOCS, noted.NOTES: noted.DOCS}.get(name)


def _limit_bytes(connection: duckdb.DuckDBPyConnection) -> float:
    """The memory limit of DuckDB, which reports it as `3.7 GiB`."""
    [(shown,)] = connection.execute("SELECT current_setting('memory_limit')").fetchall()
    number, unit = str(shown).split()
    return float(number) * _UNITS[unit]


def _rows(result: duckdb.DuckDBPyConnection, limits: Limits, limit_bytes: float) -> tuple[tuple[Any, ...], ...]:
    """The rows of an answer, read piece by piece: DuckDB's limit does not include Python's memory.

    Raises:
        QueryError: the rows take more than `limit_bytes`.
    """
    rows: list[tuple[Any, ...]] = []
    size, piece = 0, 1
    while batch := result.fetchmany(piece):
        rows += batch
        size += sum(map(_size, batch)) + sum(map(len, batch)) * limits.cell_bytes
        if size > limit_bytes:
            way_out = "add LIMIT, select fewer columns, or raise --memory"
            raise QueryError(f"the result takes more than {limits.memory}, after {len(rows):,} rows; {way_out}")
        piece = max(1, min(LARGEST_PIECE, int(limit_bytes / PIECES / (size / len(rows)))))
    return tuple(rows)


def _size(value: object) -> int:
    """The bytes of a Python value and of all values in it."""
    items: Iterable[object] = value if isinstance(value, list | tuple) else ()
    if isinstance(value, dict):
        items = (*value, *value.values())
    return sys.getsizeof(value) + sum(map(_size, items))


@contextmanager
def _one_line_errors(limits: Limits) -> Iterator[None]:
    """Turn DuckDB's errors into ours, on one line and without the caret that points into the query."""
    try:
        yield
    except duckdb.InterruptException as error:
        raise QueryError(
            f"the query took longer than {limits.timeout_s:g} s; simplify it, or raise --timeout"
        ) from error
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        if isinstance(error, duckdb.OutOfMemoryException):
            reason += "; select fewer rows or columns, or raise --memory"
        if isinstance(error, duckdb.PermissionException):
            reason += "; --unsafe allows this"
        raise QueryError(f"the query failed: {reason}") from error


@contextmanager
def _timeout(connection: duckdb.DuckDBPyConnection, timeout_s: float) -> Iterator[None]:
    timer = Timer(timeout_s, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _register(connection: duckdb.DuckDBPyConnection, root: Root, files: Mapping[str, Sequence[str]]) -> None:
    """Make every table a view over an Arrow dataset, then disable DuckDB's access to files."""
    for name, table in TABLES.items():
        schema = table.schema.append(RUN)
        if name not in files:
            connection.register(name, schema.empty_table())
            continue
        hive = ds.partitioning(pa.schema([RUN]), flavor="hive")
        base, listed = root.path(f"{paths.TABLES}/{name}"), [root.path(path) for path in files[name]]
        source = ds.dataset(
            listed, schema=schema, format=FORMAT, filesystem=root.filesystem, partitioning=hive, partition_base_dir=base
        )
        connection.register(relabelled.name_of_stored(name, files), source)
    for statement in (*relabelled.views(files), *derived.statements(TABLES)):
        connection.execute(statement)
    for setting in _SANDBOX:
        connection.execute(setting)


def _open(connection: duckdb.DuckDBPyConnection, root: Root, files: Mapping[str, Sequence[str]]) -> None:
    """Make every table a view over its files."""
    if not root.is_local:
        connection.register_filesystem(root.filesystem)
    for name, table in TABLES.items():
        if name in files:
            stored = relabelled.name_of_stored(name, files)
            connection.execute(view(stored, [_location(root, path) for path in files[name]]))
        else:
            connection.register(name, table.schema.append(RUN).empty_table())
    for statement in (*relabelled.views(files), *derived.statements(TABLES)):
        connection.execute(statement)


def _parts(run: PublishedRun) -> Iterator[tuple[str, str]]:
    """(table, path under the root) of each of a run's files, including its row of `runs`."""
    folder = paths.table_folder("runs", run.run)
    for name in sorted(run.root.files(folder)):
        if name.endswith(".parquet"):
            yield "runs", f"{folder}/{name}"
    for table, parts in run.tables.items():
        for part in parts:
            yield table, part.path


def _location(root: Root, path: str) -> str:
    """The path or URL by which DuckDB opens a file."""
    return root.path(path) if root.is_local else str(root.filesystem.unstrip_protocol(root.path(path)))
