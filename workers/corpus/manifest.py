"""The frozen list of a corpus, whose row number is the image index. Takes a listing, gives Parquet and slices of it.

A first manifest is sorted by image_id. A later one keeps the rows that were there, appends new ones sorted, and marks
those that vanished. DuckDB sorts and merges on disk, so memory does not grow with the number of images.
"""

import hashlib
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.corpus import sources
from workers.errors import CorpusError
from workers.spec import CorpusSpec
from workers.store import paths
from workers.store.results import MANIFEST
from workers.store.root import Root

GROUP_ROWS = 8192
_LISTED = pa.schema([field for field in MANIFEST if field.name != "removed"])


@dataclass(frozen=True)
class Row:
    """One row of a manifest."""

    image_index: int
    image_id: str
    uri: str
    bytes: int
    etag: str
    label: str | None
    group: str | None
    removed: bool
    refused: str | None


@dataclass(frozen=True)
class Listing:
    """What a corpus holds now, in a local file that lives as long as the `with` around it.

    Attributes:
        images: files listed.
        folder: temporary folder.
        corpus: hash of source, label and group: what makes two listings comparable.
    """

    images: int
    folder: Path
    corpus: str

    def commit(self, root: Root) -> str:
        """Merge with the latest manifest of this corpus and freeze the result, unless nothing has changed.

        Returns:
            The manifest's path under the root. Of two racing writers one creates the file and the other reads it.
        """
        while True:
            latest = self.latest(root)
            data = self._merged(root, latest)
            if latest is not None and root.read(latest) == data:
                return latest
            number = 0 if latest is None else int(latest.rpartition("-")[2].removesuffix(".parquet")) + 1
            rel = f"{paths.corpus_folder(self.corpus)}/manifest-{number}.parquet"
            if root.create(rel, data):
                return rel

    def same_as(self, root: Root, rel: str) -> bool:
        """Whether the corpus still is what a manifest says."""
        return root.exists(rel) and self._merged(root, rel) == root.read(rel)

    def missing(self, image_ids: Sequence[str]) -> list[str]:
        """Those of some ids that are not listed, in their order."""
        known = set(self._ids().filter(pc.is_in(self._ids(), pa.array(image_ids, pa.string()))).to_pylist())
        return [image_id for image_id in image_ids if image_id not in known]

    def some_ids(self) -> list[str]:
        """The first few thousand ids, to name the nearest ones."""
        return [str(each) for each in self._ids().slice(0, 5000).to_pylist()]

    def versions(self, uris: Collection[str]) -> Iterator[tuple[str, int, str]]:
        """Uri, size in bytes and etag of those of some files that are listed."""
        wanted = pa.array(uris, pa.string())
        with pq.ParquetFile(self.folder / "listed.parquet") as file:
            for batch in file.iter_batches(GROUP_ROWS, columns=["uri", "bytes", "etag"]):
                here = batch.filter(pc.is_in(batch["uri"], wanted))
                yield from zip(*(here[name].to_pylist() for name in ("uri", "bytes", "etag")), strict=True)

    def _ids(self) -> pa.ChunkedArray:
        return pq.read_table(self.folder / "listed.parquet", columns=["image_id"])["image_id"]

    def latest(self, root: Root) -> str | None:
        """The newest manifest of this corpus under a root."""
        folder = paths.corpus_folder(self.corpus)
        numbers = [
            int(name[9:-8]) for name in root.files(folder) if name.startswith("manifest-") and name.endswith(".parquet")
        ]
        return f"{folder}/manifest-{max(numbers)}.parquet" if numbers else None

    def _merged(self, root: Root, old: str | None) -> bytes:
        before = self.folder / "before.parquet"
        if old is None:
            pq.write_table(MANIFEST.empty_table(), before)
        else:
            before.write_bytes(root.read(old))
        target = self.folder / "merged.parquet"
        _merge(before, self.folder / "listed.parquet", target)
        return target.read_bytes()


@contextmanager
def listed(corpus: CorpusSpec, watch: Callable[[int], None]) -> Iterator[Listing]:
    """List a corpus into a local temporary file.

    Args:
        corpus: what to list.
        watch: is told the number of files found so far.

    Raises:
        CorpusError: it cannot be listed or holds no image.
    """
    with tempfile.TemporaryDirectory(prefix="deconvoy-") as folder:
        count = 0
        with pq.ParquetWriter(Path(folder) / "listed.parquet", _LISTED) as writer:
            for entries in sources.batched(sources.listing(corpus), GROUP_ROWS):
                writer.write_table(pa.Table.from_pylist([vars(entry) for entry in entries], schema=_LISTED))
                count += len(entries)
                watch(count)
        if not count:
            raise CorpusError(
                f"corpus {corpus.source!r} holds no image: files end in .jpg .jpeg .png .webp .bmp .gif .tif .tiff"
            )
        told = "\0".join((corpus.source, corpus.label, corpus.group))
        yield Listing(count, Path(folder), hashlib.sha256(told.encode()).hexdigest()[:32])


def count(root: Root, rel: str) -> int:
    """Rows of a manifest."""
    with root.open(rel) as file:
        return int(pq.ParquetFile(file).metadata.num_rows)


def rows(root: Root, rel: str, start: int, stop: int) -> list[Row]:
    """Rows [start, stop) of a manifest; only the row groups that hold them are read."""
    with root.open(rel) as file:
        parquet = pq.ParquetFile(file)
        first, last = start // GROUP_ROWS, (max(stop, start + 1) - 1) // GROUP_ROWS
        groups = [group for group in range(first, last + 1) if group < parquet.num_row_groups]
        table = parquet.read_row_groups(groups).slice(start - first * GROUP_ROWS, stop - start)
    return _rows(table, start)


def stream(root: Root, rel: str, step: int) -> Iterator[list[Row]]:
    """Consecutive slices of `step` rows."""
    with root.open(rel) as file:
        start, waiting = 0, pa.Table.from_batches([], MANIFEST)
        for batch in pq.ParquetFile(file).iter_batches(batch_size=max(step, GROUP_ROWS)):
            waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch]).cast(MANIFEST)])
            while len(waiting) >= step:
                yield _rows(waiting.slice(0, step), start)
                waiting, start = waiting.slice(step), start + step
        if len(waiting):
            yield _rows(waiting, start)


def _rows(table: pa.Table, start: int) -> list[Row]:
    return [Row(image_index=start + number, **row) for number, row in enumerate(table.to_pylist())]


# Rows that were there keep their place, with today's bytes and etag; new ones follow by image_id; `now` may be null.
_MERGE = """
    SELECT
        coalesce(now.image_id, old.image_id) AS image_id,
        coalesce(now.uri, old.uri) AS uri,
        coalesce(now.bytes, old.bytes) AS bytes,
        coalesce(now.etag, old.etag) AS etag,
        CASE WHEN now.image_id IS NULL THEN old.label ELSE now.label END AS label,
        CASE WHEN now.image_id IS NULL THEN old."group" ELSE now."group" END AS "group",
        now.image_id IS NULL AS removed,
        CASE WHEN now.image_id IS NULL THEN old.refused ELSE now.refused END AS refused
    FROM (SELECT *, file_row_number AS place FROM read_parquet(?, file_row_number = true)) AS old
    FULL OUTER JOIN read_parquet(?) AS now ON now.image_id = old.image_id
    ORDER BY old.place NULLS LAST, now.image_id
"""


def _merge(before: Path, now: Path, target: Path) -> None:
    with duckdb.connect(config=_frugal(target.parent)) as database:
        reader = database.sql(_MERGE, params=[str(before), str(now)]).to_arrow_reader(GROUP_ROWS)
        with pq.ParquetWriter(
            target, MANIFEST, compression="ZSTD", write_page_checksum=True, use_dictionary=False
        ) as writer:
            waiting = MANIFEST.empty_table()
            for batch in reader:
                waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch]).cast(MANIFEST)])
                while len(waiting) >= GROUP_ROWS:
                    writer.write_table(waiting.slice(0, GROUP_ROWS).combine_chunks(), row_group_size=GROUP_ROWS)
                    waiting = waiting.slice(GROUP_ROWS)
            if len(waiting):
                writer.write_table(waiting.combine_chunks(), row_group_size=GROUP_ROWS)


def _frugal(scratch: Path) -> dict[str, Any]:
    return {
        "memory_limit": "384MB",
        "threads": 1,
        "temp_directory": str(scratch / "spill"),
        "preserve_insertion_order": True,
    }
