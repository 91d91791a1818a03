"""Views over a root for other SQL engines. Takes a root and an engine, gives the statements that create them.

The views read folders, so they stay right when runs are published or removed. Only runs with a row in `runs` are seen: a run that
is being published or removed has none.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import pyarrow as pa

from service.query import catalog, derived, noted, relabelled
from service.query.quoting import quoted, without_patterns
from workers.errors import UsageError
from workers.host import log
from workers.store import paths
from workers.store.root import Root
from workers.store.tables.registry import TABLES
from workers.store.tables.shared import LABELS

RUNS = "runs"
_PATTERN = re.compile(r"[\\*?\[\]{}]")  # characters of Spark's patterns of paths


class Engine(StrEnum):
    """A SQL engine."""

    DUCKDB = "duckdb"
    SPARK = "spark"
    TRINO = "trino"
    ATHENA = "athena"
    BIGQUERY = "bigquery"


@dataclass(frozen=True)
class Dialect:
    """How an engine reads the files of a folder.

    Attributes:
        files: statements that make a relation of a name over a table's folder; `run` is read from the paths of the files.
        view: the beginning of a statement that creates a view, with a place for its name.
        schemes: the URL schemes of roots that it can read; all if empty.
        note: what its user has to know, for the head of the file.
    """

    files: Callable[[str, pa.Schema, str], Sequence[str]]
    view: str
    schemes: tuple[str, ...] = ()
    note: str = ""


def views(root: Root, engine: Engine) -> str:
    """The statements that create a view of every table of the published runs.

    Raises:
        RunError: there is no published run.
        UsageError: the engine cannot read this root.
    """
    dialect, location = DIALECTS[engine], _location(root, engine)
    tables = {name for run in catalog.require_runs(root) for name in run.tables} & TABLES.keys()
    if engine is Engine.DUCKDB:
        tables |= {LABELS.name}  # its view needs no files
    existing = sorted(tables | {RUNS}, key=lambda name: (name != RUNS, name != LABELS.name, [*TABLES].index(name)))
    head = [
        f"The published runs under {log.one_line(root.url)}, for {engine}.",
        *([dialect.note] if dialect.note else []),
    ]
    statements = [line for name in existing for line in _statements(dialect, location, name, existing)]
    statements += [f"{dialect.view.format(name)} AS {query}" for name, query in derived.views(existing)]
    if engine is Engine.DUCKDB:
        statements.append(noted.view(root).removesuffix(";"))
    return "".join(f"{line}\n" for line in (*(f"-- {line}" for line in head), *(f"{each};" for each in statements)))


def _location(root: Root, engine: Engine) -> str:
    """The URL of the root's tables; a plain path on this machine."""
    path = root.path(paths.TABLES)
    url = path if root.is_local else str(root.filesystem.unstrip_protocol(path))
    scheme = url.partition("://")[0] if "://" in url else "file"
    known = DIALECTS[engine].schemes
    if known and scheme not in known:
        forms = " or ".join(f"{name}://" for name in known)
        raise UsageError(f"{engine} cannot read root {root.url!r}: it supports only roots at {forms}")
    if engine is Engine.SPARK and ":" in path and _PATTERN.search(path):
        reason = "a path with any of \\ * ? [ ] { } must not contain ':'; use a link to the folder"
        raise UsageError(f"{engine} cannot read root {root.url!r}: {reason}")
    return url


def _statements(dialect: Dialect, location: str, name: str, existing: Collection[str]) -> Iterator[str]:
    """The statements for one table: its files, the published rows, and the labels that runs were given."""
    schema = TABLES[name].schema
    folder = f"{location}/{name}"
    if name == RUNS:
        yield from dialect.files(RUNS, schema, folder)
        return
    yield from dialect.files(f"{name}_files", schema, folder)
    stored = relabelled.name_of_stored(name, existing)
    published = f"SELECT * FROM {name}_files WHERE run IN (SELECT run FROM {RUNS})"  # noqa: S608 - our own names
    yield f"{dialect.view.format(stored)} AS {published}"
    if stored != name:
        yield f"{dialect.view.format(name)} AS {_relabelled(name, schema)}"


def _relabelled(name: str, schema: pa.Schema) -> str:
    """A table with the labels that runs were given, in words that all engines know."""
    given = "CASE WHEN given.image_index IS NULL THEN stored.label ELSE given.label END AS label"
    columns = ", ".join(given if column == "label" else f"stored.{column}" for column in (*schema.names, "run"))
    return (
        f"SELECT {columns} FROM {name}_as_scanned stored LEFT JOIN {LABELS.name} given "  # noqa: S608 - our own names
        "ON given.run = stored.run AND given.image_index = stored.image_index"
    )


def _duckdb(name: str, _: pa.Schema, folder: str) -> Sequence[str]:
    if name == f"{LABELS.name}_files":
        return [_duckdb_labels(name, folder)]
    files = quoted(f"{without_patterns(folder)}/*/*.parquet")
    options = "hive_partitioning = true, hive_types = {'run': VARCHAR}, union_by_name = true"
    return [f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM read_parquet({files}, {options})"]  # noqa: S608 - quoted


def _duckdb_labels(name: str, folder: str) -> str:
    """A view that is valid while no run has been given labels.

    DuckDB refuses a pattern that no file matches, so this one also matches the files of `images`, which have the same columns.
    """
    both = quoted(f"{without_patterns(folder.removesuffix(LABELS.name))}[il][am][ab][eg]*s/*/*.parquet")
    options = "hive_partitioning = true, hive_types = {'run': VARCHAR}, union_by_name = true, filename = true"
    columns = ", ".join((*LABELS.schema.names, "run"))
    own = f"filename LIKE '%/{LABELS.name}/run=%'"
    return f"CREATE OR REPLACE VIEW {name} AS SELECT {columns} FROM read_parquet({both}, {options}) WHERE {own}"  # noqa: S608


def _spark(name: str, schema: pa.Schema, folder: str) -> Sequence[str]:
    location = f"file://{folder}" if folder.startswith("/") else re.sub("^s3://", "s3a://", folder)
    path = _PATTERN.sub(r"\\\g<0>", location)  # Spark takes a path as a pattern
    return [
        f"CREATE OR REPLACE TEMPORARY VIEW {name} ({_hive_columns(schema)}, `run` string) USING parquet "
        f"OPTIONS (path {_escaped(path)}, ignoreMissingFiles 'true')"
    ]


def _athena(name: str, schema: pa.Schema, folder: str) -> Sequence[str]:
    return [
        f"CREATE EXTERNAL TABLE IF NOT EXISTS {name} ({_hive_columns(schema)}) PARTITIONED BY (run string) STORED AS PARQUET "
        f"LOCATION {quoted(f'{folder}/')}",
        f"MSCK REPAIR TABLE {name}",
    ]


def _hive_columns(schema: pa.Schema) -> str:
    return ", ".join(f"`{field.name}` {_HIVE.of(field.type)}" for field in schema)


def _trino(name: str, schema: pa.Schema, folder: str) -> Sequence[str]:
    columns = ", ".join(f'"{field.name}" {_TRINO.of(field.type)}' for field in schema)
    location = f"file://{folder}" if folder.startswith("/") else folder
    return [
        f"CREATE TABLE IF NOT EXISTS {name} ({columns}, run varchar) WITH (format = 'PARQUET', "
        f"external_location = {quoted(f'{location}/')}, partitioned_by = ARRAY['run'])",
        f"CALL system.sync_partition_metadata(schema_name => CURRENT_SCHEMA, table_name => '{name}', mode => 'FULL')",
    ]


def _bigquery(name: str, _: pa.Schema, folder: str) -> Sequence[str]:
    return [
        f"CREATE OR REPLACE EXTERNAL TABLE {name} WITH PARTITION COLUMNS (run STRING) OPTIONS (format = 'PARQUET', "
        f"uris = [{quoted(f'{folder}/*.parquet')}], hive_partition_uri_prefix = {quoted(folder)})"
    ]


_PLAIN: Mapping[pa.DataType, tuple[str, str]] = {  # of Hive and Trino
    pa.bool_(): ("boolean", "boolean"),
    pa.int32(): ("int", "integer"),
    pa.int64(): ("bigint", "bigint"),
    pa.float32(): ("float", "real"),
    pa.float64(): ("double", "double"),
    pa.string(): ("string", "varchar"),
    pa.binary(): ("binary", "varbinary"),
    pa.timestamp("us", "UTC"): ("timestamp", "timestamp"),
}


class _Types(NamedTuple):
    """How an engine writes types: its column of `_PLAIN`, and the forms of lists, structs and their fields."""

    plain: int
    list: str
    struct: str
    field: str

    def of(self, kind: pa.DataType) -> str:
        """A type as this engine writes it."""
        if pa.types.is_list(kind):
            return self.list.format(self.of(kind.value_type))
        if pa.types.is_struct(kind):
            return self.struct.format(", ".join(self.field.format(field.name, self.of(field.type)) for field in kind))
        return _PLAIN[kind][self.plain]


_HIVE = _Types(0, "array<{}>", "struct<{}>", "{}: {}")
_TRINO = _Types(1, "array({})", "row({})", "{} {}")


def _escaped(text: str) -> str:
    """A literal of Spark, where a backslash begins an escape and two quotes are one only since version 4."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


DIALECTS: Mapping[Engine, Dialect] = {
    Engine.DUCKDB: Dialect(_duckdb, "CREATE OR REPLACE VIEW {}"),
    Engine.SPARK: Dialect(
        _spark,
        "CREATE OR REPLACE TEMPORARY VIEW {}",
        note="Spark lists the folders when the views are created. Run this file again after runs are published. "
        "Removed runs disappear by themselves.",
    ),
    Engine.TRINO: Dialect(
        _trino,
        "CREATE OR REPLACE VIEW {}",
        note="For a schema of a Hive catalog. After runs are published or removed, repeat the CALL statements.",
    ),
    Engine.ATHENA: Dialect(
        _athena,
        "CREATE OR REPLACE VIEW {}",
        ("s3",),
        "After runs are published or removed, repeat the MSCK REPAIR TABLE statements.",
    ),
    Engine.BIGQUERY: Dialect(
        _bigquery, "CREATE OR REPLACE VIEW {}", ("gs", "gcs"), "Set a default dataset before you run this file."
    ),
}
