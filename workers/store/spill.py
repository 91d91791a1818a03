"""Sorting more rows than fit in memory. Takes rows in any order, gives one sorted file; spills rows to a local file."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.store import rows, seals

HELD_BYTES = 32 << 20
SLICE_ROWS = rows.SMALL_GROUP_ROWS


class Spill:
    """Collects rows for a sorted file.

    Args:
        folder: local temporary folder.
        schema: schema of the rows.
        keys: columns that the file is sorted by; together they are unique.
    """

    def __init__(self, folder: Path, schema: pa.Schema, keys: tuple[str, ...]) -> None:
        self._folder, self._schema, self._keys = folder, schema, keys
        self._path = folder / "rows.arrow"
        self._file = pa.OSFile(str(self._path), "wb")
        self._writer = pa.ipc.new_file(self._file, schema)
        self._held: list[Mapping[str, Any]] = []
        self._held_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._file.closed:
            self._writer.close()
            self._file.close()

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one row."""
        self._held.append(row)
        self._held_bytes += sum(len(value) for value in row.values() if isinstance(value, bytes))
        if self._held_bytes > HELD_BYTES:
            self._flush()

    def encode(self) -> Path:
        """Write all rows, sorted, to a file. No rows can be added afterwards."""
        self._flush()
        self._writer.close()
        self._file.close()
        target = self._folder / "rows.parquet"
        with pa.memory_map(str(self._path)) as mapped, rows.writer(target, self._schema) as writer:
            for part in self._sorted(pa.ipc.open_file(mapped)):
                writer.write_table(part, row_group_size=SLICE_ROWS)
        seals.seal_file(target)
        return target

    def _flush(self) -> None:
        if self._held:
            self._writer.write_batch(pa.RecordBatch.from_pylist(self._held, self._schema))
            self._held, self._held_bytes = [], 0

    def _sorted(self, reader: pa.ipc.RecordBatchFileReader) -> Iterator[pa.Table]:
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        starts = np.cumsum([0, *(len(batch) for batch in batches)])
        keys = pa.Table.from_batches(
            [batch.select(list(self._keys)) for batch in batches], _subschema(self._schema, self._keys)
        )
        order = pc.sort_indices(keys, sort_keys=[(key, "ascending") for key in self._keys]).to_numpy().astype(np.int64)
        if not len(order):
            yield self._schema.empty_table()
        for start in range(0, len(order), SLICE_ROWS):
            yield _gather(batches, starts, order[start : start + SLICE_ROWS])


def _gather(batches: list[pa.RecordBatch], starts: np.ndarray[Any, Any], positions: np.ndarray[Any, Any]) -> pa.Table:
    """The rows at the given positions of the concatenated batches, in that order."""
    batch = np.searchsorted(starts, positions, "right") - 1
    by_batch = np.argsort(batch, kind="stable")
    parts = [batches[n].take(pa.array(positions[batch == n] - starts[n])) for n in np.unique(batch)]
    return pa.Table.from_batches(parts).combine_chunks().take(pa.array(np.argsort(by_batch)))


def _subschema(schema: pa.Schema, names: tuple[str, ...]) -> pa.Schema:
    return pa.schema([schema.field(name) for name in names])
