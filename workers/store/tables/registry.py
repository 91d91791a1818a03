"""The registry of tables and stored results. Takes a kind or a name, gives schemas.

The module `workers/store/tables/KIND.py` defines `TABLES`, the tables that only this kind of job publishes, and `RESULTS`, the
schemas of its stored results. An instrument has one table.
"""

from collections.abc import Mapping
from importlib import import_module

import pyarrow as pa

from workers.kinds import Kind
from workers.store.columns import Table
from workers.store.tables.shared import IMAGES, LABELS, REJECTS, RUNS


def _tables(kind: Kind) -> tuple[Table, ...]:
    tables: tuple[Table, ...] = import_module(f"workers.store.tables.{kind}").TABLES
    return tables


def _results(kind: Kind) -> tuple[pa.Schema, ...]:
    results: tuple[pa.Schema, ...] = import_module(f"workers.store.tables.{kind}").RESULTS
    return results


# Tables that only one kind publishes, by kind.
TABLES_OF: Mapping[Kind, tuple[Table, ...]] = {kind: _tables(kind) for kind in Kind}
# All tables, by name.
TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (RUNS, IMAGES, REJECTS, LABELS, *(table for tables in TABLES_OF.values() for table in tables))
}
# Schemas of stored results, by the name in a file's metadata.
RESULTS: Mapping[str, pa.Schema] = {
    schema.metadata[b"deconvoy.schema"].decode(): schema for kind in Kind for schema in _results(kind)
}
