"""Rows of a published run's tables. Takes runs, tables and filters, gives Arrow tables; reads only the files of the manifest."""

from functools import lru_cache
from threading import Condition
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from cachetools import LRUCache, TTLCache, cached
from fsspec import AbstractFileSystem

from service.query.catalog import PublishedRun
from service.query.relabelled import has_labels
from workers.errors import DamagedRun, QueryError, nearest
from workers.store import paths
from workers.store.columns import Table
from workers.store.tables.registry import TABLES
from workers.store.tables.shared import LABELS

DATASETS_KEPT = 64
LABELS_KEPT = 16  # tables of labels that runs were given
CHECKS_KEPT = 4096
LABEL, INDEX = "label", "image_index"
CHECK_EVERY_S = 10.0  # for missing files; reading a file that has disappeared since is an error, too
FORMAT = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=True, page_checksum_verification=True)
)


def read(
    run: PublishedRun, table: Table, wanted: pc.Expression, columns: list[str] | dict[str, pc.Expression]
) -> pa.Table:
    """Columns of the rows of a table that match an expression, in the table's order.

    If the run was given other labels, these are the values of `label`.

    Raises:
        QueryError: the run has no such table.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    names = columns if isinstance(columns, dict) else {name: pc.field(name) for name in columns}
    expressions = (wanted, *names.values())
    if not _is_relabelled(run, table) or not any(_uses(expression, table.schema, LABEL) for expression in expressions):
        return _read(run, table, wanted, names)
    used = [name for name in table.schema.names if any(_uses(each, table.schema, name) for each in expressions)]
    is_filtered = _uses(wanted, table.schema, LABEL)  # by labels that are not those in the files
    stored = {name: pc.field(name) for name in {*used, LABEL, INDEX}}
    rows = _read(run, table, pc.scalar(True) if is_filtered else wanted, stored)
    labels = _replace_labels(run, rows[LABEL], rows[INDEX])
    return ds.dataset(rows.set_column(rows.column_names.index(LABEL), LABEL, labels)).to_table(names, filter=wanted)


def row(run: PublishedRun, table: Table, number: int, columns: list[str]) -> dict[str, Any]:
    """Columns of row `number` of a table; only its row group is read. A column that an older run lacks is None.

    Raises:
        QueryError: there is no such row.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    replaced = LABEL in columns and _is_relabelled(run, table)
    wanted, offset = dict.fromkeys([*columns, *([INDEX] if replaced else [])]), number
    for path in _files(run, table) if number >= 0 else ():
        with pq.ParquetFile(path, filesystem=run.root.filesystem, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if offset < rows:
                    existing = [name for name in wanted if name in file.schema_arrow.names]
                    found = file.read_row_group(group, existing).slice(offset, 1)
                    if replaced:
                        labels = _replace_labels(run, found[LABEL], found[INDEX])
                        found = found.set_column(existing.index(LABEL), LABEL, labels)
                    [values] = found.to_pylist()
                    return {name: values.get(name) for name in columns}
                offset -= rows
    raise QueryError(f"run {run.run!r} has no row {number} in its table {table.name!r}")


def picture(run: PublishedRun, table: Table, column: str, number: int) -> bytes:
    """The encoded picture in row `number` of a table.

    Raises:
        QueryError: there is no such row, or no picture in it.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    stored = row(run, table, number, [column])[column]
    if not stored or not stored["bytes"]:
        raise QueryError(f"run {run.run!r} has no picture {column!r} in row {number} of its table {table.name!r}")
    return bytes(stored["bytes"])


def _read(run: PublishedRun, table: Table, wanted: pc.Expression, columns: dict[str, pc.Expression]) -> pa.Table:
    """Columns of a table's rows as they are stored."""
    files = _files(run, table)
    try:
        return _dataset(files, table.name, run.root.filesystem).to_table(columns=columns, filter=wanted)
    except (OSError, pa.ArrowInvalid) as error:
        raise DamagedRun(f"run {run.run!r}: its table {table.name!r} cannot be read: {error}") from error


def _uses(expression: pc.Expression, schema: pa.Schema, column: str) -> bool:
    """Whether an expression over the columns of a schema refers to one of them."""
    without = schema.remove(schema.get_field_index(column))
    try:
        ds.dataset(without.empty_table()).to_table({"value": expression})
    except pa.ArrowInvalid:  # no match for the name of the column
        return True
    return False


def _is_relabelled(run: PublishedRun, table: Table) -> bool:
    """Whether labels that the run was given replace those of a table."""
    return LABELS.name in run.tables and has_labels(table.name)


def _replace_labels(run: PublishedRun, stored: pa.ChunkedArray, images: pa.ChunkedArray) -> pa.ChunkedArray:
    """Labels, with those that the run was given in place of the stored ones; `images` has the image index of each."""
    given = _given_labels(run)
    positions = pc.index_in(images, given[INDEX])
    return pc.if_else(positions.is_valid(), given[LABEL].take(positions), stored)


@cached(LRUCache(LABELS_KEPT), key=lambda run: (run.root.url, run.run, run.mark), condition=Condition())
def _given_labels(run: PublishedRun) -> pa.Table:
    """The labels that a run was given."""
    return _read(run, LABELS, pc.scalar(True), {name: pc.field(name) for name in (INDEX, LABEL)})


@lru_cache(DATASETS_KEPT)
def _dataset(files: tuple[str, ...], table: str, filesystem: AbstractFileSystem) -> ds.Dataset:
    """The files as one dataset, which caches their footers: files are named by their content, so they never change."""
    return ds.dataset(list(files), schema=TABLES[table].schema, format=FORMAT, filesystem=filesystem)


def _files(run: PublishedRun, table: Table) -> tuple[str, ...]:
    """Full paths of a table's files, after a check that they exist with their sizes."""
    if table.name not in run.tables:
        raise QueryError(f"run {run.run!r} has no table {table.name!r}; {nearest(table.name, run.tables)}")
    _check_files(run, table.name)
    return tuple(run.root.path(part.path) for part in run.tables[table.name])


@cached(
    TTLCache(CHECKS_KEPT, CHECK_EVERY_S),
    key=lambda run, table: (run.root.url, run.run, run.mark, table),
    condition=Condition(),
)
def _check_files(run: PublishedRun, table: str) -> None:
    """Check that a table's files exist with their sizes; the result is cached, since a page draws a hundred pictures of it."""
    folder = paths.table_folder(table, run.run)
    sizes = run.root.files(folder)
    for part in run.tables[table]:
        size = sizes.get(part.path.removeprefix(f"{folder}/"))
        if size != part.bytes:
            problem = "is missing" if size is None else f"has {size} bytes instead of {part.bytes}"
            raise DamagedRun(f"run {run.run!r}: {part.path} {problem}")
