"""The result of a SQL query as a file. Takes a root and a query, writes CSV or Parquet piece by piece."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from service.query import sql
from service.query.sql import Limits
from workers.errors import QueryError
from workers.store.root import Root

PIECE_ROWS = 10_000


class Format(StrEnum):
    """Formats of files, by the end of their names."""

    CSV = ".csv"
    PARQUET = ".parquet"


def write(root: Root, query: str, output: Path, limits: Limits) -> int:
    """Write the result of a query to a file, which appears whole; returns the number of rows.

    Args:
        root: the root.
        query: the query.
        output: the file; its name ends in `.csv` or `.parquet`.
        limits: limits of the query. The result is not held in memory, so it may be larger than their memory.

    Raises:
        QueryError: the name has another end, CSV cannot hold a column, DuckDB reports an error, or the time is over.
        DamagedRun: all runs are damaged.
        OSError: the file cannot be written.
    """
    if output.suffix.lower() not in list(Format):
        raise QueryError(f"{str(output)!r} ends in neither .csv nor .parquet")
    form = Format(output.suffix.lower())
    with sql.connected(root, query, limits) as connection:
        relation = connection.sql(query)
        if relation is None:
            raise QueryError(sql.NO_TABLE)
        reader = relation.to_arrow_reader(PIECE_ROWS)
        if form is Format.CSV:
            _require_plain(reader.schema)
        with _whole(output) as file:
            return _write(form, file, reader, limits)


def _write(form: Format, file: BinaryIO, reader: pa.RecordBatchReader, limits: Limits) -> int:
    """Write a result; returns the number of rows.

    Raises:
        QueryError: the format cannot hold a column, or see `_batches`.
    """
    rows = 0
    try:
        with _writer(form, file, reader.schema) as writer:
            for batch in _batches(reader, limits):
                writer.write_batch(batch)
                rows += batch.num_rows
    except pa.ArrowException as error:
        reason = str(error).strip().splitlines()[0]
        raise QueryError(
            f"{form} cannot hold a column of the result: {reason}; cast it, for example to VARCHAR"
        ) from error
    return rows


def _require_plain(schema: pa.Schema) -> None:
    nested = [field.name for field in schema if pa.types.is_nested(field.type) or pa.types.is_binary(field.type)]
    if nested:
        raise QueryError(
            f"column {nested[0]!r} has pictures or lists, which CSV cannot store; select other columns, or write a .parquet file"
        )


def _writer(form: Format, file: BinaryIO, schema: pa.Schema) -> Any:  # noqa: ANN401 - pyarrow's two writers
    return pq.ParquetWriter(file, schema) if form is Format.PARQUET else pyarrow.csv.CSVWriter(file, schema)


def _batches(reader: pa.RecordBatchReader, limits: Limits) -> Iterator[pa.RecordBatch]:
    """The pieces of a result. pyarrow wraps the errors of DuckDB.

    Raises:
        QueryError: DuckDB reports an error, or the time is over.
    """
    while True:
        try:
            yield reader.read_next_batch()
        except StopIteration:
            return
        except (pa.ArrowException, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            if "INTERRUPT" in reason:
                reason = f"the query took longer than {limits.timeout_s:g} s; simplify it, or raise --timeout"
                raise QueryError(reason) from error
            raise QueryError(f"the query failed: {reason}") from error


@contextmanager
def _whole(output: Path) -> Iterator[BinaryIO]:
    """A temporary file beside the output, which replaces it at the end."""
    temporary = output.with_name(f".{output.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            yield file
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
