"""Rows of a published run's tables. Takes runs, tables and filters, gives Arrow tables; reads only the files of the manifest."""

from functools import lru_cache
from threading import Condition
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from cachetools import TTLCache, cached
from fsspec import AbstractFileSystem

from service.query.catalog import PublishedRun
from workers.errors import DamagedRun, QueryError, nearest
from workers.store import paths
from workers.store.columns import Table
from workers.store.tables.registry import TABLES

DATASETS_KEPT = 64
CHECKS_KEPT = 4096
CHECK_EVERY_S = 10.0  # for missing files; reading a file that has disappeared since is an error, too
FORMAT = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=True, page_checksum_verification=True)
)


def read(
    run: PublishedRun, table: Table, wanted: pc.Expression, columns: list[str] | dict[str, pc.Expression]
) -> pa.Table:
    """Columns of the rows of a table that match an expression, in the table's order.

    Raises:
        QueryError: the run has no such table.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    files = _files(run, table)
    try:
        return _dataset(files, table.name, run.root.filesystem).to_table(columns=columns, filter=wanted)
    except (OSError, pa.ArrowInvalid) as error:
        raise DamagedRun(f"run {run.run!r}: its table {table.name!r} cannot be read: {error}") from error


def row(run: PublishedRun, table: Table, number: int, columns: list[str]) -> dict[str, Any]:
    """Columns of row `number` of a table; only its row group is read. A column that an older run lacks is None.

    Raises:
        QueryError: there is no such row.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    offset = number
    for path in _files(run, table) if number >= 0 else ():
        with pq.ParquetFile(path, filesystem=run.root.filesystem, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if offset < rows:
                    existing = [name for name in columns if name in file.schema_arrow.names]
                    [values] = file.read_row_group(group, existing).slice(offset, 1).to_pylist()
                    return {**dict.fromkeys(columns), **values}
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
