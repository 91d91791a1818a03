"""Rows of a published run's tables. Takes runs, tables and filters, gives Arrow tables; reads only the files of the manifest."""

from dataclasses import replace
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
from workers.store import labels as stored_labels
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
    expressions = columns if isinstance(columns, dict) else {name: pc.field(name) for name in columns}
    if not _is_relabelled(run, table) or not any(_uses(each, table, LABEL) for each in (wanted, *expressions.values())):
        return _read(run, table, wanted, expressions)
    if _uses(wanted, table, LABEL):  # the files have other labels, so the rows are found before pictures are read
        in_filter = [name for name in table.schema.names if _uses(wanted, table, name)]
        matches = _select(_relabelled(run, table, pc.scalar(True), in_filter), wanted, {INDEX: pc.field(INDEX)})
        known = pc.field(INDEX).isin(pc.unique(matches[INDEX]))
    else:
        in_filter, known = [], wanted
    used = [name for name in table.schema.names if any(_uses(each, table, name) for each in expressions.values())]
    return _select(
        _relabelled(run, table, known, [*used, *in_filter]), wanted if in_filter else pc.scalar(True), expressions
    )


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
        raise DamagedRun(
            f"run {run.run!r}: its table {table.name!r} cannot be read: {error}; {_remedy(run)}"
        ) from error


def _remedy(run: PublishedRun) -> str:
    return f"`deconvoy verify {run.run} --root ROOT` says what to do"


def _uses(expression: pc.Expression, table: Table, column: str) -> bool:
    """Whether an expression over the columns of a table refers to one of them."""
    without = table.schema.remove(table.schema.get_field_index(column))
    try:
        ds.dataset(without.empty_table()).to_table({"value": expression})
    except pa.ArrowInvalid as error:
        return f"FieldRef.Name({column})" in str(error)
    return False


def _is_relabelled(run: PublishedRun, table: Table) -> bool:
    """Whether labels that the run was given replace those of a table."""
    return LABELS.name in run.tables and has_labels(table.name)


def _relabelled(run: PublishedRun, table: Table, wanted: pc.Expression, columns: list[str]) -> pa.Table:
    """Columns of a table's rows, and their labels and image indices, with the labels that the run was given."""
    rows = _read(run, table, wanted, {name: pc.field(name) for name in {*columns, LABEL, INDEX}})
    labels = _replace_labels(run, rows[LABEL], rows[INDEX])
    return rows.set_column(rows.column_names.index(LABEL), LABEL, labels)


def _select(rows: pa.Table, wanted: pc.Expression, columns: dict[str, pc.Expression]) -> pa.Table:
    try:
        return ds.dataset(rows).to_table(columns, filter=wanted)
    except pa.ArrowInvalid as error:
        raise QueryError(f"the filter does not fit the table: {str(error).partition(chr(10))[0]}") from error


def _replace_labels(run: PublishedRun, stored: pa.ChunkedArray, images: pa.ChunkedArray) -> pa.ChunkedArray:
    """Labels, with those that the run was given in place of the stored ones; `images` has the image index of each."""
    given = given_labels(run)
    positions = pc.index_in(images, given[INDEX])
    return pc.if_else(positions.is_valid(), given[LABEL].take(positions), stored)


@cached(LRUCache(LABELS_KEPT), key=lambda run: (run.root.url, run.run, run.version), condition=Condition())
def given_labels(run: PublishedRun) -> pa.Table:
    """The labels that a run was given. If others have replaced them since the run was read, it is these.

    Raises:
        DamagedRun: their files are not the ones that labels.json names.
    """
    columns = {name: pc.field(name) for name in (INDEX, LABEL)}
    try:
        return _read(run, LABELS, pc.scalar(True), columns)
    except DamagedRun as error:
        now = stored_labels.read_given(run.root, run.run, run.created)
        parts = now.parts if now else ()
        if parts == run.tables[LABELS.name]:
            raise DamagedRun(f"{error}; {stored_labels.way_out(run.run)}") from error
    if not parts:
        return LABELS.schema.empty_table().select([*columns])
    return _read(replace(run, tables={**run.tables, LABELS.name: parts}), LABELS, pc.scalar(True), columns)


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
    key=lambda run, table: (run.root.url, run.run, run.version, table),
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
            raise DamagedRun(f"run {run.run!r}: {part.path} {problem}; {_remedy(run)}")
