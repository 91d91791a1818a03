"""A corpus manifest under the root: its rows decide, not its bytes; flipped bits are found; its length costs nothing."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from workers.corpus import manifest
from workers.corpus.lister import GROUP_ROWS
from workers.corpus.manifest import Listing
from workers.errors import DamagedFile
from workers.spec.parts import CorpusSpec
from workers.store.root import Root
from workers.store.tables.shared import MANIFEST

IMAGES = 30


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path / "root"))


@pytest.fixture
def listing(tmp_path):
    (tmp_path / "corpus").mkdir()
    for number in range(IMAGES):
        (tmp_path / "corpus" / f"{number:03d}.jpg").write_bytes(b"x")
    with manifest.list_corpus(CorpusSpec(source=str(tmp_path / "corpus")), lambda _: None) as listing:
        yield listing


def rewrite(path: Path, **options: Any) -> None:
    """The same rows as another Parquet writer encodes them."""
    before, table = path.read_bytes(), pq.read_table(path)
    pq.write_table(table, path, **options)
    assert path.read_bytes() != before


def test_a_manifest_that_another_version_of_the_writer_encoded_is_the_same_list(root, listing):
    rel = listing.commit(root)
    rewrite(Path(root.path(rel)), compression="SNAPPY", write_page_checksum=True)
    assert listing.matches(root, rel)
    assert listing.commit(root) == rel


def test_a_manifest_with_one_other_row_is_another_list(root, listing):
    rel = listing.commit(root)
    path = Path(root.path(rel))
    table = pq.read_table(path)
    etags = pa.array(["other", *table["etag"].to_pylist()[1:]])
    pq.write_table(table.set_column(3, MANIFEST.field("etag"), etags), path, write_page_checksum=True)
    assert not listing.matches(root, rel)
    assert listing.commit(root) != rel


@pytest.mark.parametrize("trials", [120, pytest.param(3000, marks=pytest.mark.slow)])
def test_a_flipped_bit_never_reads_as_other_rows(root, listing, trials):
    rel = listing.commit(root)
    path = Path(root.path(rel))
    data, whole = path.read_bytes(), manifest.rows(root, rel, 0, IMAGES)
    reads: dict[str, tuple[Callable[[], object], object]] = {
        "rows": (lambda: manifest.rows(root, rel, 0, IMAGES), whole),
        "stream": (lambda: [row for part in manifest.stream(root, rel, 7) for row in part], whole),
        "count": (lambda: manifest.count(root, rel), IMAGES),
        "same": (lambda: listing.matches(root, rel), True),
    }
    found = 0
    for bit in random.Random(0).sample(range(len(data) * 8), trials):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        for name, (read, right) in reads.items():
            found += damaged_or(read, right, f"{name}, bit {bit}")
    assert found > trials  # most flips are found by most readers


def damaged_or(read: Callable[[], object], right: object, about: str) -> bool:
    """Whether a file is refused in one line that names it; otherwise what is read must be right."""
    try:
        assert read() == right, about
    except DamagedFile as error:
        assert "manifest-0.parquet is damaged: " in str(error) and "\n" not in str(error)
        return True
    return False


def test_a_manifest_that_is_missing_is_named_and_is_no_changed_corpus(root, listing):
    rel = listing.commit(root)
    root.delete(rel)
    with pytest.raises(DamagedFile, match=r"manifest-0.parquet is missing; restore the file from a backup"):
        listing.matches(root, rel)


def test_the_footer_is_read_once_however_many_slices_are(root, listing, monkeypatch):
    rel = listing.commit(root)
    counted: list[int] = []
    opened = Root.open

    def counting(self: Root, path: str) -> Any:
        file = opened(self, path)
        read = file.read
        file.read = lambda *size: note(read(*size))  # type: ignore[method-assign]
        return file

    def note(data: bytes) -> bytes:
        counted.append(len(data))
        return data

    monkeypatch.setattr(Root, "open", counting)
    costs = []
    for _ in range(3):
        counted.clear()
        manifest.rows(root, rel, 0, 1)
        costs.append(sum(counted))
    assert costs[0] > costs[1] == costs[2] > 0


def test_a_manifest_written_anew_under_the_same_name_is_read_anew(root, listing):
    rel = listing.commit(root)
    assert len(manifest.rows(root, rel, 0, IMAGES)) == IMAGES
    write(root, rel, 10)
    assert [row.image_id for row in manifest.rows(root, rel, 8, 12)] == ["8", "9"]


@pytest.mark.slow
def test_a_slice_of_five_million_rows_costs_no_more_than_twice_one_of_fifty_thousand(root):
    times = []
    for count in (50_000, 5_000_000):
        rel = f"corpora/c/manifest-{count}.parquet"
        write(root, rel, count)
        starts = [random.Random(0).randrange(count // 512) * 512 for _ in range(1000)]
        begun = time.perf_counter()
        for start in starts:
            manifest.rows(root, rel, start, start + 512)
        times.append(time.perf_counter() - begun)
    assert times[1] < 2 * times[0]


def write(root: Root, rel: str, count: int) -> None:
    """A manifest of made up images."""
    path = Path(root.path(rel))
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, MANIFEST, compression="ZSTD", write_page_checksum=True, use_dictionary=False) as writer:
        for start in range(0, count, GROUP_ROWS):
            rows = min(GROUP_ROWS, count - start)
            ids, none = pc.cast(pa.array(np.arange(start, start + rows)), pa.string()), pa.nulls(rows, pa.string())
            sizes, removed = pa.array(np.full(rows, 7)), pa.array(np.zeros(rows, bool))
            writer.write_table(pa.table([ids, ids, sizes, ids, none, none, removed, none], schema=MANIFEST))


def test_a_listing_is_compared_in_pieces(root, listing, monkeypatch):
    monkeypatch.setattr(manifest, "GROUP_ROWS", 8)
    rel = listing.commit(root)
    assert isinstance(listing, Listing) and listing.matches(root, rel) and listing.commit(root) == rel
