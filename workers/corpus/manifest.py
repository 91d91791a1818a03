"""Manifests: frozen lists of a corpus, whose row number is the image index. Takes a listing, gives Parquet and its rows.

The first manifest of a corpus is sorted by image_id. A later one keeps the existing rows, appends new ones in sorted
order, and marks removed ones. DuckDB sorts and merges on disk, so memory does not grow with the number of images.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers import formats
from workers.corpus import fetch, labels
from workers.corpus.lister import GROUP_ROWS, Lister
from workers.corpus.merging import merge
from workers.errors import CorpusError, DamagedFile
from workers.host.hangs import Limit
from workers.host.retrying import retried
from workers.sources.source import describe
from workers.spec.parts import CorpusSpec
from workers.store import damage, footers, paths
from workers.store.root import Root
from workers.store.tables.shared import MANIFEST

_BLOCK = 1 << 20
_WAY_OUT = "restore the file from a backup, or remove it and the runs that name it (deconvoy rm) and scan again"


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
    """The current content of a corpus, in a local file that exists until the end of the `with` block.

    Attributes:
        images: number of files listed.
        folder: temporary folder.
        corpus: hash of the corpus and its keys. Only listings with the same hash are comparable.
        passed_over: number of files and folders that are not listed, by reason; see `Tally`.
    """

    images: int
    folder: Path
    corpus: str
    passed_over: Mapping[str, int]

    def commit(self, root: Root) -> str:
        """Merge with the latest manifest of this corpus, and commit the result unless its rows are the same.

        Rows are compared, not files: other versions of pyarrow write the same rows as other bytes.

        Returns:
            The manifest's path under the root. Of two concurrent writers, one creates the file and the other reads it.

        Raises:
            DamagedFile: the latest manifest is damaged.
        """
        while True:
            latest = self.latest(root)
            merged = self._merge_with(root, latest)
            if latest is not None and _same_rows(self.before, merged):
                return latest
            number = 0 if latest is None else int(latest.rpartition("-")[2].removesuffix(".parquet")) + 1
            rel = f"{paths.corpus_folder(self.corpus)}/manifest-{number}.parquet"
            if root.create(rel, merged.read_bytes()):
                return rel

    def matches(self, root: Root, rel: str) -> bool:
        """Whether the corpus still has the rows of a manifest.

        Raises:
            DamagedFile: the manifest is missing or damaged.
        """
        if not root.exists(rel):
            raise DamagedFile(f"{root.path(rel)} is missing; {_WAY_OUT}")
        merged = self._merge_with(root, rel)
        return _same_rows(self.before, merged)

    def missing(self, image_ids: Sequence[str]) -> list[str]:
        """The ids among `image_ids` that are not listed, in the given order."""
        known = set(self._ids().filter(pc.is_in(self._ids(), pa.array(image_ids, pa.string()))).to_pylist())
        return [image_id for image_id in image_ids if image_id not in known]

    def first_ids(self) -> list[str]:
        """The first 5,000 ids; error messages name the nearest of them."""
        return [str(image_id) for image_id in self._ids().slice(0, 5000).to_pylist()]

    def versions(self, uris: Collection[str]) -> Iterator[tuple[str, int, str]]:
        """Uri, size in bytes and etag of the given files; files that are not listed are left out."""
        wanted = pa.array(uris, pa.string())
        with pq.ParquetFile(self.folder / "listed.parquet") as file:
            for batch in file.iter_batches(GROUP_ROWS, columns=["uri", "bytes", "etag"]):
                matches = batch.filter(pc.is_in(batch["uri"], wanted))
                yield from zip(*(matches[name].to_pylist() for name in ("uri", "bytes", "etag")), strict=True)

    def _ids(self) -> pa.ChunkedArray:
        return pq.read_table(self.folder / "listed.parquet", columns=["image_id"])["image_id"]

    def latest(self, root: Root) -> str | None:
        """The newest manifest of this corpus under a root."""
        folder = paths.corpus_folder(self.corpus)
        numbers = [
            int(name[9:-8]) for name in root.files(folder) if name.startswith("manifest-") and name.endswith(".parquet")
        ]
        return f"{folder}/manifest-{max(numbers)}.parquet" if numbers else None

    @property
    def before(self) -> Path:
        """The local copy of the manifest that was merged last."""
        return self.folder / "before.parquet"

    def _merge_with(self, root: Root, old: str | None) -> Path:
        """Merge the listing with a manifest, or with an empty one; gives the local result."""
        if old is None:
            pq.write_table(MANIFEST.empty_table(), self.before)
        else:
            with root.open(old) as source, self.before.open("wb") as copy:
                shutil.copyfileobj(source, copy, _BLOCK)
        target = self.folder / "merged.parquet"
        with damage.translate(root.path(old) if old else str(self.folder), _WAY_OUT, duckdb.Error):
            _check_pages(self.before)
            merge(self.before, self.folder / "listed.parquet", target, GROUP_ROWS)
        return target


@contextmanager
def list_corpus(
    corpus: CorpusSpec, watch: Callable[[int], None], hang_s: float = fetch.READ_HANG_S
) -> Iterator[Listing]:
    """List a corpus into a local temporary file.

    Args:
        corpus: the corpus to list.
        watch: called with the number of files listed so far.
        hang_s: how long the storage may be silent, seconds.

    Raises:
        CorpusError: the corpus cannot be listed or contains no image.
        ReadError: its storage does not answer.
        StoreError: its storage listed some files, then kept failing until the retries ran out.
    """
    with tempfile.TemporaryDirectory(prefix="deconvoy-") as folder:
        lister = Lister(corpus, Path(folder) / "listed.parquet", watch, Limit(hang_s))
        try:
            count = retried(lister, f"listing {corpus.source}")
        except OSError as error:
            raise lister.refusal(error) from error
        if not count:
            left_out = f" (skipped: {describe(lister.tally.counts)})" if lister.tally.counts else ""
            raise CorpusError(
                f"corpus {corpus.source!r} contains no images{left_out}; supported formats are {formats.supported()}; "
                f"videos are {' '.join(formats.FRAME.extensions)}"
            )
        labels.add_from_files(lister.target, corpus)
        yield Listing(count, Path(folder), _corpus_hash(corpus), lister.tally.counts)


def _corpus_hash(corpus: CorpusSpec) -> str:
    """The hash that listings of the same corpus share; keys at their defaults do not count."""
    values = corpus.model_dump(mode="json")
    first = [values.pop(key) for key in ("source", "label", "group")]
    key = "\0".join([*first, json.dumps(values, sort_keys=True)] if values else first)
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def count(root: Root, rel: str) -> int:
    """The number of rows of a manifest."""
    with _open(root, rel) as parquet:
        return int(parquet.metadata.num_rows)


def rows(root: Root, rel: str, start: int, stop: int) -> list[Row]:
    """Rows [start, stop) of a manifest; see `table`.

    Raises:
        DamagedFile: the manifest is damaged.
    """
    return rows_of(table(root, rel, start, stop), start)


def table(root: Root, rel: str, start: int, stop: int) -> pa.Table:
    """Rows [start, stop) of a manifest as a table. Only their row groups are read, and the footer once per process.

    Raises:
        DamagedFile: the manifest is damaged.
    """
    with _open(root, rel) as parquet:
        first, last = start // GROUP_ROWS, (max(stop, start + 1) - 1) // GROUP_ROWS
        groups = range(first, min(last + 1, parquet.num_row_groups))
        found = parquet.read_row_groups(list(groups))
        expected = min(parquet.metadata.num_rows - first * GROUP_ROWS, len(groups) * GROUP_ROWS)
        if len(found) != expected:
            raise pa.ArrowInvalid(f"row groups {first} to {last} have {len(found)} rows instead of {expected}")
        return found.slice(start - first * GROUP_ROWS, stop - start)


def stream(root: Root, rel: str, step: int) -> Iterator[list[Row]]:
    """All rows, in consecutive slices of `step` rows.

    Raises:
        DamagedFile: the manifest is damaged.
    """
    for number, part in enumerate(tables(root, rel, step)):
        yield rows_of(part, number * step)


def tables(root: Root, rel: str, step: int) -> Iterator[pa.Table]:
    """All rows, in consecutive tables of `step` rows; the last may have fewer.

    Raises:
        DamagedFile: the manifest is damaged.
    """
    with _open(root, rel) as parquet:
        yield from _slices(parquet, step)


@contextmanager
def _open(root: Root, rel: str) -> Iterator[pq.ParquetFile]:
    """A manifest, whose pages are checked when they are read."""
    with (
        damage.translate(root.path(rel), _WAY_OUT, duckdb.Error),
        footers.open_parquet(root, rel, _check_footer) as parquet,
    ):
        yield parquet


def _check_footer(footer: pq.FileMetaData) -> None:
    """Refuse other columns, and row groups of unexpected sizes: the group of a row is computed from the row's number."""
    if not footer.schema.to_arrow_schema().equals(MANIFEST):
        raise pa.ArrowInvalid("its columns are not those of a corpus manifest")
    sizes = [footer.row_group(number).num_rows for number in range(footer.num_row_groups)]
    if sum(sizes) != footer.num_rows or any(size != GROUP_ROWS for size in sizes[:-1]):
        raise pa.ArrowInvalid(f"its footer counts {footer.num_rows} rows, but its row groups have {sum(sizes)}")


def _check_pages(local: Path) -> None:
    """Read all pages of a local manifest, because DuckDB does not verify checksums."""
    with pq.ParquetFile(local, page_checksum_verification=True) as parquet:
        _check_footer(parquet.metadata)
        for _ in _slices(parquet, GROUP_ROWS):
            pass


def _same_rows(one: Path, other: Path) -> bool:
    """Whether two local manifests have the same rows in the same order."""
    with pq.ParquetFile(one) as left, pq.ParquetFile(other) as right:
        same = left.metadata.num_rows == right.metadata.num_rows
        return same and all(map(pa.Table.equals, _slices(left, GROUP_ROWS), _slices(right, GROUP_ROWS)))


def _slices(parquet: pq.ParquetFile, step: int) -> Iterator[pa.Table]:
    """All rows, in tables of `step` rows; the last may have fewer.

    Raises:
        ArrowInvalid: the number of rows in the pages differs from the footer's.
    """
    waiting, count = MANIFEST.empty_table(), 0
    for batch in parquet.iter_batches(batch_size=max(step, GROUP_ROWS)):
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch]).cast(MANIFEST)])
        count += len(batch)
        while len(waiting) >= step:
            yield waiting.slice(0, step)
            waiting = waiting.slice(step)
    if count != parquet.metadata.num_rows:
        raise pa.ArrowInvalid(f"it has {count} rows, but its footer counts {parquet.metadata.num_rows}")
    if len(waiting):
        yield waiting


def rows_of(listed: pa.Table, start: int) -> list[Row]:
    """The rows of a table whose first image has the index `start`."""
    return [Row(image_index=start + number, **row) for number, row in enumerate(listed.to_pylist())]


def as_table(rows: Sequence[Row]) -> pa.Table:
    """Rows as a table with the columns of a manifest."""
    return pa.Table.from_pylist([vars(row) for row in rows], MANIFEST)
