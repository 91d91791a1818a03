"""Published tables as DuckDB sees them. Takes a root, gives views over exactly the files that its runs' manifests name.

A query reads through Arrow, which checks page checksums, in a DuckDB that itself can open no file and no connection: whatever it
names, it sees the published tables and nothing else. `unsafe` opens the files with DuckDB, which can then open any.
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

from service.query import catalog, checking
from service.query.catalog import PublishedRun
from service.query.reading import FORMAT
from workers.errors import DamagedRun, QueryError
from workers.host import log
from workers.store import paths
from workers.store.root import Root
from workers.store.tables.registry import TABLES

MEMORY = "4GB"
TIMEOUT_S = 300.0
RUN = pa.field("run", pa.string())
LARGEST_PIECE, PIECES = 10_000, 16  # rows that are read at once: at most so many, and a part of what may be read
_UNITS = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "PiB": 1 << 50, "EiB": 1 << 60}

# Locked, so that no query lifts one of them. Without a folder to spill to DuckDB writes nothing at all.
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
    """What a query gave: names of the columns, and the rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Limits:
    """What a query may use.

    Attributes:
        memory: of DuckDB, and as much again of its answer, such as 4GB.
        timeout_s: seconds after which it is stopped.
        unsafe: it may read and write files, load extensions and open connections.
        cell_bytes: what the caller needs for each value of the answer, beside the value itself.
    """

    memory: str = MEMORY
    timeout_s: float = TIMEOUT_S
    unsafe: bool = False
    cell_bytes: int = 0


def ask(root: Root, query: str, limits: Limits = Limits()) -> Answer:
    """Ask the published tables of a root a question in SQL. Runs whose files are damaged are named in the log and left out.

    Raises:
        QueryError: DuckDB refuses the question, with what it says, or it goes beyond its limits.
        DamagedRun: all runs are damaged.
    """
    files = published(root, [name for name in TABLES if re.search(rf"\b{name}\b", query, re.IGNORECASE)])
    with duckdb.connect(config={} if limits.unsafe else _CLOSED) as connection, _plain(limits):
        connection.execute(f"SET memory_limit = {_quoted(limits.memory)}")
        limit_bytes = _limit_bytes(connection)
        if limits.unsafe:
            _open(connection, root, files)
        else:
            _register(connection, root, files)
        with _timed(connection, limits.timeout_s):
            result = connection.execute(query)
            if not result or not result.description:
                raise QueryError("the query is empty, or gives no rows; try SHOW TABLES")
            return Answer(tuple(str(column[0]) for column in result.description), _rows(result, limits, limit_bytes))


def views(root: Root) -> str:
    """`CREATE VIEW` statements for every table that a published run has. Damaged runs are left out, and named in a comment."""
    damaged: dict[str, str] = {}
    files = published(root, TABLES, damaged)
    head = [f"The files under {root.url} as they were published; `deconvoy verify --root {root.url}` checks them."]
    head += [f"Left out: {problem}" for problem in damaged.values()]
    made = (view(name, [_opened_as(root, path) for path in listed]) for name, listed in files.items())
    return "".join(f"{line}\n" for line in (*(f"-- {log.one_line(line)}" for line in head), *made))


def view(name: str, files: Sequence[str]) -> str:
    """The statement that makes a table's view out of its files; `run` is read from their paths."""
    listed = ", ".join(map(_literal, files))
    options = "hive_partitioning = true, hive_types = {'run': VARCHAR}, union_by_name = true"
    return f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM read_parquet([{listed}], {options});"  # noqa: S608 - quoted


def published(root: Root, checked: Iterable[str], damaged: dict[str, str] | None = None) -> Mapping[str, list[str]]:
    """Paths of the files by table, of all published runs, newest run first.

    Args:
        root: the root.
        checked: tables whose files are held against their hashes.
        damaged: filled with what is wrong with the runs that are left out, by run id.

    Raises:
        RunError: there is no published run.
        DamagedRun: all are damaged.
    """
    runs, wrong = checking.find_intact(root, catalog.require_runs(root), checked)
    problems = {run: f"run {run!r}: {problem}; deconvoy verify {run} says more" for run, problem in wrong.items()}
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


def _limit_bytes(connection: duckdb.DuckDBPyConnection) -> float:
    """The memory that DuckDB may use, which it shows as `3.7 GiB`."""
    [(shown,)] = connection.execute("SELECT current_setting('memory_limit')").fetchall()
    number, unit = str(shown).split()
    return float(number) * _UNITS[unit]


def _rows(result: duckdb.DuckDBPyConnection, limits: Limits, limit_bytes: float) -> tuple[tuple[Any, ...], ...]:
    """The rows of an answer, read piece by piece: DuckDB's limit does not count what Python holds.

    Raises:
        QueryError: they take more than `limit_bytes`.
    """
    rows: list[tuple[Any, ...]] = []
    size, piece = 0, 1
    while batch := result.fetchmany(piece):
        rows += batch
        size += sum(map(_size, batch)) + sum(map(len, batch)) * limits.cell_bytes
        if size > limit_bytes:
            way_out = "add LIMIT, ask for fewer columns, or raise --memory"
            raise QueryError(f"the answer takes more than {limits.memory}, after {len(rows):,} rows; {way_out}")
        piece = max(1, min(LARGEST_PIECE, int(limit_bytes / PIECES / (size / len(rows)))))
    return tuple(rows)


def _size(value: object) -> int:
    """Bytes of a value of Python's, with all that it holds."""
    held: Iterable[object] = value if isinstance(value, list | tuple) else ()
    if isinstance(value, dict):
        held = (*value, *value.values())
    return sys.getsizeof(value) + sum(map(_size, held))


@contextmanager
def _plain(limits: Limits) -> Iterator[None]:
    """Say in one line what DuckDB refuses, without the caret that points into a line."""
    try:
        yield
    except duckdb.InterruptException as error:
        raise QueryError(
            f"the query took longer than {limits.timeout_s:g} s; ask for less, or raise --timeout"
        ) from error
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        if isinstance(error, duckdb.OutOfMemoryException):
            reason += "; ask for less, or raise --memory"
        if isinstance(error, duckdb.PermissionException):
            reason += "; --unsafe lets a query do this"
        raise QueryError(f"the query cannot be answered: {reason}") from error


@contextmanager
def _timed(connection: duckdb.DuckDBPyConnection, timeout_s: float) -> Iterator[None]:
    timer = Timer(timeout_s, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _register(connection: duckdb.DuckDBPyConnection, root: Root, files: Mapping[str, Sequence[str]]) -> None:
    """Make every table a view over an Arrow dataset, then close DuckDB's way to any file."""
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
        connection.register(name, source)
    for setting in _SANDBOX:
        connection.execute(setting)


def _open(connection: duckdb.DuckDBPyConnection, root: Root, files: Mapping[str, Sequence[str]]) -> None:
    """Make every table a view over its files."""
    if not root.is_local:
        connection.register_filesystem(root.filesystem)
    for name, table in TABLES.items():
        if name in files:
            connection.execute(view(name, [_opened_as(root, path) for path in files[name]]))
        else:
            connection.register(name, table.schema.append(RUN).empty_table())


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _literal(path: str) -> str:
    """A path in SQL: quotes doubled, and what DuckDB would take for a pattern in brackets."""
    return _quoted(re.sub(r"[*?\[]", lambda match: f"[{match[0]}]", path))


def _parts(run: PublishedRun) -> Iterator[tuple[str, str]]:
    """(table, path under the root) of a run's files, its row of `runs` included."""
    folder = paths.table_folder("runs", run.run)
    for name in sorted(run.root.files(folder)):
        if name.endswith(".parquet"):
            yield "runs", f"{folder}/{name}"
    for table, parts in run.tables.items():
        for part in parts:
            yield table, part.path


def _opened_as(root: Root, path: str) -> str:
    return root.path(path) if root.is_local else str(root.filesystem.unstrip_protocol(root.path(path)))
