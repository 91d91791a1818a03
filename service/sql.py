"""Published tables as DuckDB sees them. Takes a root, gives views over exactly the files that its runs' manifests name."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from service import catalog
from service.catalog import PublishedRun
from workers.errors import DamagedRun, QueryError
from workers.store import paths
from workers.store.root import Root
from workers.store.schema import TABLES


@dataclass(frozen=True, eq=False)
class Answer:
    """What a query gave: names of the columns, and the rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def ask(root: Root, query: str) -> Answer:
    """Ask the published tables of a root a question in SQL.

    Raises:
        QueryError: DuckDB refuses the question, with what it says.
    """
    with duckdb.connect() as connection:
        if not root.is_local:
            connection.register_filesystem(root.filesystem)
        _create_views(connection, published(root))
        try:
            found = connection.execute(query)
            if not found or not found.description:
                raise QueryError("the query is empty, or gives no rows; try SHOW TABLES")
            return Answer(tuple(str(column[0]) for column in found.description), tuple(found.fetchall()))
        except duckdb.Error as error:
            told = str(error).partition("\nLINE ")[0]  # what follows points with a caret at a place in a line
            raise QueryError(f"the query cannot be answered: {told}") from error


def views(root: Root) -> str:
    """`CREATE VIEW` statements for every table that a published run has."""
    return "".join(f"{view(name, files)}\n" for name, files in published(root).items())


def view(name: str, files: Sequence[str]) -> str:
    """The statement that makes a table's view out of its files; `run` is read from their paths."""
    listed = ", ".join(map(_literal, files))
    options = "hive_partitioning = true, hive_types = {'run': VARCHAR}, union_by_name = true"
    return f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM read_parquet([{listed}], {options});"  # noqa: S608 - quoted


def published(root: Root) -> Mapping[str, Sequence[str]]:
    """Files by table, of all published runs, newest run first; as DuckDB opens them.

    Raises:
        RunError: there is no published run.
    """
    found: dict[str, list[str]] = {}
    for run in catalog.some(root):
        for table, path in _parts(run):
            if table in TABLES:
                found.setdefault(table, []).append(_opened_as(root, path))
    return {name: found[name] for name in TABLES if name in found}


def _literal(path: str) -> str:
    """A path in SQL: quotes doubled, and what DuckDB would take for a pattern in brackets."""
    plain = re.sub(r"[*?\[]", lambda found: f"[{found[0]}]", path)
    return "'" + plain.replace("'", "''") + "'"


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


def _create_views(connection: duckdb.DuckDBPyConnection, files: Mapping[str, Sequence[str]]) -> None:
    for name in TABLES:
        if name not in files:
            _create_without_rows(connection, name)
            continue
        try:
            connection.execute(view(name, files[name]))
        except duckdb.Error as error:
            raise DamagedRun(f"table {name!r} of the published runs cannot be read: {error}") from error


def _create_without_rows(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """A table that no run has: its columns and no row."""
    connection.register("nothing", TABLES[name].schema.empty_table())
    connection.execute(f"CREATE TABLE {name} AS SELECT *, NULL::VARCHAR AS run FROM nothing")  # noqa: S608 - ours
    connection.unregister("nothing")
