"""Reading and writing Parquet files. Takes Arrow tables, gives files named by their content; takes files, gives tables."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from cachetools import LRUCache

from workers.store import damage, paths, seals
from workers.store.columns import IMAGE, Table
from workers.store.facts import PartFile
from workers.store.files import content_of, stamp
from workers.store.root import Root
from workers.store.tables.registry import RESULTS, TABLES

PART_BYTES = 200_000_000
GROUP_BYTES = 1_500_000
SMALL_GROUP_ROWS = 256
_VERIFIED: LRUCache[str, bool] = LRUCache(4096)  # files whose seal has been verified
_LOCK = Lock()


def encode(schema: pa.Schema, table: pa.Table) -> bytes:
    """One small Parquet file, sealed; see `writer`."""
    buffer = io.BytesIO()
    with writer(buffer, schema) as opened:
        opened.write_table(table.cast(schema), row_group_size=SMALL_GROUP_ROWS)
    return seals.seal(buffer.getvalue())


@contextmanager
def writer(where: Path | BinaryIO, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A writer of a small Parquet file, compressed, with page checksums, and with statistics of its keys for filters.

    The seal stays blank until `seals` fills it in.
    """
    keys = [field.name for field in schema if not pa.types.is_nested(field.type) and not pa.types.is_binary(field.type)]
    with pq.ParquetWriter(
        where, schema, compression="ZSTD", write_page_checksum=True, use_dictionary=False, write_statistics=keys
    ) as opened:
        yield opened
        opened.add_key_value_metadata({seals.NAME: seals.BLANK})


def read_table(
    root: Root,
    rel: str,
    columns: list[str] | None = None,
    filters: Any = None,  # noqa: ANN401
    *,
    sealed: bool = False,
) -> pa.Table:
    """Read rows of a file of ours. `filters` are pyarrow's; row groups that cannot match are not read.

    A `sealed` file, as `encode` writes it, is read as a whole the first time and checked against its hash.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFile: its hash, page checksums, columns or number of rows are wrong.
    """
    with root.open(rel) as file, damage.translate(root.path(rel)):
        source = _verify_seal(file, f"{root.url} {rel} {stamp(root, rel)}") if sealed else file
        opened = pq.ParquetFile(source, page_checksum_verification=True)
        footer = opened.metadata
        _check_columns(footer.schema.to_arrow_schema(), (footer.metadata or {}).get(b"deconvoy.schema", b""))
        if filters is None:
            table = opened.read(columns, use_threads=False)
        else:
            source.seek(0)
            table = pq.read_table(
                source, columns=columns, filters=filters, partitioning=None, page_checksum_verification=True
            )
        if filters is None and len(table) != footer.num_rows:
            raise pa.ArrowInvalid(f"it has {len(table)} rows, but its footer counts {footer.num_rows}")
    return table


def values(result: pa.Table, name: str) -> pa.StructArray:
    """The values of a column of lists of structs, such as those in a shard's result."""
    return result[name].combine_chunks().flatten()


def _verify_seal(file: BinaryIO, key: str) -> BinaryIO:
    """The file, after its seal is verified. The first time, the whole file is read into memory.

    Raises:
        ArrowInvalid: the seal is broken.
    """
    with _LOCK:
        if key in _VERIFIED:
            return file
    data = file.read()
    if seals.is_broken(data):
        raise pa.ArrowInvalid("it does not match the SHA-256 in its footer")
    with _LOCK:
        _VERIFIED[key] = True
    return io.BytesIO(data)


def _check_columns(actual: pa.Schema, schema_name: bytes) -> None:
    """Refuse columns that are not those of the file's named schema. A table of an older version may lack some."""
    name = schema_name.decode()
    known = RESULTS[name] if name in RESULTS else TABLES[name].schema if name in TABLES else pa.schema([])
    types = {field.name: field.type for field in known}
    if any(types.get(field.name) != field.type for field in actual) or (name in RESULTS and len(actual) != len(known)):
        raise pa.ArrowInvalid(f"its columns are not those of the schema {name!r}")


def options(table: Table) -> dict[str, Any]:
    """The options of a table's writer. ARCHITECTURE.md has the measurements behind them."""
    plain = [field.name for field in table.schema if field.type != IMAGE and not pa.types.is_list(field.type)]
    compression = dict.fromkeys(_leaves(table.schema), "ZSTD")
    compression |= {f"{name}.bytes": "NONE" for name in table.images}
    return {
        "compression": compression,
        "use_dictionary": [name for name in ("layer", "label") if name in table.schema.names],
        "write_statistics": plain,
        "write_page_index": True,
        "write_page_checksum": True,
        "sorting_columns": [pq.SortingColumn(table.schema.get_field_index(name)) for name in table.sorted_by] or None,
        "version": "2.6",
    }


def _leaves(schema: pa.Schema) -> list[str]:
    names = []
    for field in schema:
        if pa.types.is_struct(field.type):
            names += [f"{field.name}.{child.name}" for child in field.type]
        elif pa.types.is_list(field.type):
            names.append(f"{field.name}.list.element")
        else:
            names.append(field.name)
    return names


def group_stops(table: Table, rows: pa.Table) -> list[int]:
    """The ends of row groups, chosen so that reading one key (such as a channel) reads few other rows.

    A group has at most `table.group_rows` rows. In a table with images, it also has at most about GROUP_BYTES of images, ends
    between two keys, and ends where `table.apart` changes. Rows after the last end wait for more rows.
    """
    if not table.images:
        return list(range(table.group_rows, len(rows) + 1, table.group_rows))
    ends = np.concatenate(([0], np.cumsum(_image_bytes(table, rows))))  # bytes of the first n rows
    is_apart = _changes(rows[table.apart]) if table.apart else np.zeros(len(rows), bool)
    stops, begin = [], 0
    for start, stop in pairwise([*_key_starts(table, rows), len(rows)]):
        is_full = stop - begin > table.group_rows or ends[stop] - ends[begin] > GROUP_BYTES
        if start > begin and (is_full or is_apart[start]):
            stops.append(start)
            begin = start
    return stops


def _image_bytes(table: Table, rows: pa.Table) -> np.ndarray[Any, Any]:
    sizes = np.zeros(len(rows), np.int64)
    for name in table.images:
        lengths = pc.binary_length(pc.struct_field(rows[name], "bytes"))
        sizes += pc.fill_null(lengths, 0).to_numpy().astype(np.int64)
    return sizes


def _key_starts(table: Table, rows: pa.Table) -> list[int]:
    """The first row of each key: all sorting columns but the last. With a single sorting column, each row is a key."""
    changed = np.full(len(rows), len(table.sorted_by) == 1)
    changed[:1] = True
    for name in table.sorted_by[:-1]:
        changed |= _changes(rows[name])
    return [int(start) for start in np.nonzero(changed)[0]]


def _changes(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """Whether each row's value differs from the previous row's; False for the first row."""
    values, changed = column.to_numpy(), np.zeros(len(column), bool)
    changed[1:] = values[1:] != values[:-1]
    return changed


def stage_part(root: Root, table: Table, run: str, number: int, data: bytes) -> PartFile:
    """Stage a part that is already a Parquet file, as `TableWriter` would have written it."""
    content = content_of(io.BytesIO(data))
    rel = _part_path(paths.table_folder(table.name, run), number, content.sha256)
    root.put(paths.staged_path(rel), data)
    return PartFile(rel, pq.read_metadata(io.BytesIO(data)).num_rows, content.bytes, content.sha256)


def _part_path(folder: str, number: int, sha256: str) -> str:
    return f"{folder}/part-{number:05d}-{sha256[:16]}.parquet"


class TableWriter:
    """Writes one table of one run. Takes rows, gives parts, each named by its content.

    Rows must be sorted. They are cut into row groups by `group_stops`. A part larger than `part_bytes` is closed and the next one
    is started. There is always at least one part, so that every table of a run can be read.

    Args:
        root: where the parts are written.
        table: the table.
        run: run id.
        scratch: local temporary folder.
        part_bytes: size in bytes from which a part is closed.
        staged: whether parts wait in the run's folder until `jobs.run.publish` moves them into place.
    """

    def __init__(
        self,
        root: Root,
        table: Table,
        run: str,
        scratch: Path,
        part_bytes: int = PART_BYTES,
        *,
        staged: bool = False,
    ) -> None:
        self._root = root
        self._staged = staged
        self.table = table
        self._folder = paths.table_folder(table.name, run)
        self._scratch = scratch
        self._part_bytes = part_bytes
        self._waiting: list[pa.Table] = []
        self._parts: list[PartFile] = []
        self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def write(self, rows: pa.Table) -> None:
        """Add rows; they are written when a row group is full."""
        self._waiting.append(rows.cast(self.table.schema))
        if self.table.images or sum(len(part) for part in self._waiting) >= self.table.group_rows:
            waiting, begin = pa.concat_tables(self._waiting), 0
            for stop in group_stops(self.table, waiting):
                self._write_group(waiting.slice(begin, stop - begin))
                begin = stop
            self._waiting = [waiting.slice(begin)]

    def close(self) -> tuple[PartFile, ...]:
        """Write the remaining rows and commit the last part; returns all parts."""
        rest = [part for part in self._waiting if len(part)]
        if rest:
            self._write_group(pa.concat_tables(rest))
        if self._rows or not self._parts:
            self._commit()
        return tuple(self._parts)

    def _begin(self) -> None:
        self._local = self._scratch / f"{self.table.name}-{len(self._parts):05d}.parquet"
        self._writer = pq.ParquetWriter(self._local, self.table.schema, **options(self.table))
        self._rows = 0

    def _write_group(self, rows: pa.Table) -> None:
        if self._rows and self._local.stat().st_size >= self._part_bytes:
            self._commit()
            self._begin()
        self._writer.write_table(rows.combine_chunks(), row_group_size=self.table.group_rows)
        self._rows += len(rows)

    def _commit(self) -> None:
        self._writer.close()
        with self._local.open("rb") as file:
            content = content_of(file)
        rel = _part_path(self._folder, len(self._parts), content.sha256)
        self._root.put_file(self._local, paths.staged_path(rel) if self._staged else rel)
        self._parts.append(PartFile(rel, self._rows, content.bytes, content.sha256))
        self._rows = 0
