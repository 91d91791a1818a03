"""Corpora in Parquet: images in a column, or a list of their paths. Takes a file, gives an entry per row; reads images by row."""

import bisect
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from cachetools import LRUCache

from workers import files
from workers.errors import CorpusError, Reason, Rejected
from workers.sources import columns, lists, members
from workers.sources.columns import Layout, Row
from workers.sources.containers import Container, ContainerSource
from workers.sources.member_uris import MemberUri
from workers.sources.members import Members
from workers.sources.source import Alive, SourceEntry, nothing
from workers.sources.versions import UNKNOWN_BYTES

SCHEME = "parquet"
ROWS = 8192  # read at once when a file is listed
BATCH_BYTES = 4 << 20  # of images that are read at once
BATCHES = 8  # that are kept, so that threads may read a little out of order


def _entries(container: Container) -> Iterator[SourceEntry]:
    """The images of one file, in its order.

    Raises:
        CorpusError: the file is damaged, changed while it was being listed, or has no column of images.
    """
    with container.open() as (file, etag):
        try:
            with pq.ParquetFile(file) as parquet:
                layout = columns.layout_of(parquet.schema_arrow, container.request, container.place)
                rows = _rows(parquet, layout, container)
                if layout.holds_images:
                    yield from _images(rows, layout, container, etag)
                else:
                    yield from lists.entries(rows, layout, container)
        except (pa.ArrowException, OSError) as error:
            if not _is_damage(error):
                raise
            raise CorpusError(f"file {container.place!r} is damaged or not Parquet: {_first_line(error)}") from error


def _is_damage(error: Exception) -> bool:
    """Whether pyarrow itself has raised an error, rather than the storage: its OSErrors have no number."""
    return isinstance(error, pa.ArrowException) or (type(error) is OSError and error.errno is None)


@contextmanager
def _rejecting_damage() -> Iterator[None]:
    """Turn pyarrow's errors into a reject."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if not _is_damage(error):
            raise
        raise Rejected(Reason.DAMAGED, f"its page in the Parquet file cannot be read: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


def _rows(parquet: pq.ParquetFile, layout: Layout, container: Container) -> Iterator[Row]:
    """The rows of a file as text, without its images."""
    for batch in parquet.iter_batches(ROWS, columns=list(layout.read)):
        container.limit.restart()
        texts = {name: _texts(batch, name, layout) for name in layout.read}
        for number in range(len(batch)):
            yield {name: values[number] for name, values in texts.items()}


def _texts(batch: pa.RecordBatch, name: str, layout: Layout) -> list[str | None]:
    """The values of a column as text; numbers of classes become their names."""
    first, _, inner = name.partition(".")
    column = batch.column(name) if name in batch.schema.names else pc.struct_field(batch.column(first), inner)
    values: list[str | None] = [value or None for value in pc.cast(column, pa.string()).to_pylist()]
    names = layout.names.get(name)
    return [names[int(v)] if v and v.isdecimal() and int(v) < len(names) else None for v in values] if names else values


def _images(rows: Iterator[Row], layout: Layout, container: Container, etag: str) -> Iterator[SourceEntry]:
    """An entry for each row of a file that holds the images themselves."""
    for number, row in enumerate(rows):
        name = f"{number:09d}"
        yield SourceEntry(
            image_id=layout.id_of(row, number + 1, container.place) or f"{container.prefix}{name}",
            uri=str(MemberUri(SCHEME, layout.image, container.place, str(number))),
            bytes=UNKNOWN_BYTES,
            etag=etag,
            label=layout.label_of(row),
            path=(row.get(layout.path) if layout.path else None) or name,
            columns=row,
        )


@dataclass(eq=False)
class _ParquetReader:
    """Reads images of one file by their row. Batches are read forward within a row group; the latest are kept.

    Attributes:
        place: path or URL of the file.
        version: its etag. It is checked after each batch, because images in Parquet have no size that could be compared.
    """

    place: str
    version: str
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _kept: LRUCache[tuple[str, int], pa.Array] = field(default_factory=lambda: LRUCache(BATCHES))
    _stream: Iterator[tuple[int, pa.Array]] = field(default_factory=lambda: iter(()))
    _next: tuple[str, int, int] = ("", 0, 0)  # column, row group and row of the stream's next batch

    def __post_init__(self) -> None:
        self._filesystem, self._path = files.filesystem(self.place)
        self._parquet = pq.ParquetFile(
            self._filesystem.open(self._path, "rb"), buffer_size=BATCH_BYTES, pre_buffer=False
        )
        metadata = self._parquet.metadata
        sizes = (metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))
        self._starts = list(itertools.accumulate(sizes, initial=0))

    def read(self, member: MemberUri, expected_bytes: int, alive: Alive = nothing) -> bytes:
        """The image of a row; empty if it is null. See `MemberReader`.

        Raises:
            Rejected: the row's page is damaged.
        """
        del expected_bytes, alive
        column, row = member.member, int(member.place)
        with self._lock, _rejecting_damage():
            start, batch = self._batch(column, row)
        return bytes(batch[row - start].as_py() or b"")

    def _batch(self, column: str, row: int) -> tuple[int, pa.Array]:
        """The batch that holds a row, and its first row."""
        for (name, start), batch in self._kept.items():
            if name == column and start <= row < start + len(batch):
                return start, self._kept[name, start]
        group = bisect.bisect_right(self._starts, row) - 1
        if self._next[:2] != (column, group) or self._next[2] > row:
            self._stream = self._open_group(column, group)
        self._next = "", 0, 0  # until the stream is known to be intact
        for start, batch in self._stream:
            members.require_version(self._filesystem, self._path, self.version)
            self._kept[column, start] = batch
            if row < start + len(batch):
                self._next = column, group, start + len(batch)
                return start, batch
        raise pa.ArrowInvalid(f"row {row} of {self.place} is not in its row group")

    def _open_group(self, column: str, group: int) -> Iterator[tuple[int, pa.Array]]:
        """The batches of a row group, each with its first row."""
        start = self._starts[group]
        for batch in self._parquet.iter_batches(self._batch_rows(column, group), row_groups=[group], columns=[column]):
            yield start, _leaf(batch.column(0))
            start += len(batch)

    def _batch_rows(self, column: str, group: int) -> int:
        """The rows of a row group whose images have about BATCH_BYTES together."""
        metadata = self._parquet.metadata.row_group(group)
        chunks = [metadata.column(number) for number in range(metadata.num_columns)]
        size = int(sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema == column))
        return max(1, BATCH_BYTES * int(metadata.num_rows) // max(size, 1))


def _leaf(array: pa.Array) -> pa.Array:
    """The only field of a struct, or the array itself."""
    return pc.struct_field(array, array.type.field(0).name) if pa.types.is_struct(array.type) else array


def _open(place: str, version: str) -> _ParquetReader:
    """The reader of a file.

    Raises:
        Rejected: the file is damaged, or is not Parquet.
    """
    with _rejecting_damage():
        return _ParquetReader(place, version)


PARQUET = ContainerSource("Parquet file", (".parquet", ".pq"), _entries, Members(SCHEME, _open), may_be_list=True)
