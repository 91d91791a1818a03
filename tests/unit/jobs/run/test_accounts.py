"""The parts of `images` and `rejects` against rows made one by one, whatever the sizes of shards; what is made again."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.run import accounts
from jobs.run.accounts import Accounted, account
from jobs.run.results import StoredResults
from jobs.watch import SilentWatcher
from workers.actors.derive import derive
from workers.actors.shard import Account, Shard
from workers.corpus import manifest
from workers.corpus.lister import GROUP_ROWS
from workers.corpus.manifest import Row
from workers.errors import NodeError, RunStopped
from workers.store import paths, rows
from workers.store.root import Root
from workers.store.rows import TableWriter
from workers.store.tables.scan import SHARD
from workers.store.tables.shared import IMAGES, REJECTS

IMAGES_LISTED = 47
PART = 20
LISTED = "corpora/c/manifest-0.parquet"


class Pool:
    """Runs items at once; keeps what it ran."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.ran: list[Account] = []

    def run(self, items, progress, judge):
        del progress, judge
        for item in items:
            self.ran.append(item)
            yield derive(self.root, item)


def row(index: int, label: str | None = "a") -> Row:
    return Row(index, f"{index}.jpg", f"/x/{index}.jpg", 10 + index, "e", label, None, index % 11 == 5, None)


def image(index: int) -> dict[str, Any]:
    size = {"width": 20 + index, "height": 30, "bytes": 10 + index}
    return {"image_index": index, **size, "sha256": f"{index:064x}", "decoder": "pillow"}


def reject(index: int) -> dict[str, Any]:
    return {
        "image_index": index,
        "bytes": 10 + index,
        "reason": ["damaged", "empty"][index % 2],
        "detail": f"no {index}",
    }


def prediction(index: int) -> dict[str, Any]:
    return {"image_index": index, "class_index": index % 3, "probability": (1 + index) / 64}


def is_rejected(index: int) -> bool:
    return index % 4 == 3 or 20 <= index < 30


def list_images(root: Root, count: int, name: str = LISTED, label: str | None = "a") -> str:
    with root.scratch() as folder:
        table = manifest.as_table([row(index, label) for index in range(count)])
        pq.write_table(table, folder / "m.parquet", row_group_size=GROUP_ROWS, write_page_checksum=True)
        root.put_file(folder / "m.parquet", name)
    return name


def write(root: Root, shard: Shard, rejected=is_rejected, left_out: int | None = None) -> None:
    listed = [index for index in range(shard.start, shard.stop) if not row(index).removed and index != left_out]
    lists: dict[str, list[Any]] = {
        "images": [image(index) for index in listed if not rejected(index)],
        "rejects": [reject(index) for index in listed if rejected(index)],
        "top": [],
        "statistics": [],
        "predictions": [prediction(index) for index in listed if not rejected(index)],
    }
    root.put(shard.result, rows.encode(SHARD, pa.Table.from_pylist([lists], SHARD)))


def shards(size: int, count: int = IMAGES_LISTED, listed: str = LISTED) -> list[Shard]:
    """Shards; their results do not depend on the manifest."""
    starts = range(0, count, size)
    return [
        Shard(start, min(start + size, count), listed, f"shards/c{size}/{start}-{min(start + size, count)}.parquet")
        for start in starts
    ]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(accounts, "PART_IMAGES", PART)


def attempt(folder: Path) -> Any:
    root = Root(str(folder / "root"))
    run = SimpleNamespace(root=root, run="r", pool=Pool(root), watch=SilentWatcher(), replan=None)
    (folder / "scratch").mkdir(parents=True, exist_ok=True)
    run.writer = lambda table: TableWriter(root, table, "r", folder / "scratch", staged=True)
    return run


def accounted(
    run: Any, every: list[Shard], wanted: tuple[int, ...] = (), classes: tuple[str, ...] | None = None, **how: Any
) -> Accounted:
    existing = run.root.files(paths.shard_folder(every[0].result.split("/")[1]))
    for shard in every:
        if shard.result.rpartition("/")[2] not in existing:
            write(run.root, shard, **how)
    stored = StoredResults(run.root, lambda shard: write(run.root, shard))
    return account(run, stored, every, np.array(wanted, np.int64), classes)


def table(run: Any, done: Accounted, name: str) -> list[dict[str, Any]]:
    parts = [run.root.read(paths.staged_path(part.path)) for part in done.parts[name]]
    tables = [pq.read_table(pa.BufferReader(part)) for part in parts]
    assert [part.rows for part in done.parts[name]] == [len(each) for each in tables]
    return pa.concat_tables(tables).to_pylist()


@pytest.mark.parametrize("size", [1, 3, 10, 20, 64])
def test_each_image_has_its_row_and_the_parts_do_not_depend_on_the_sizes_of_shards(tmp_path, size):
    run = attempt(tmp_path)
    list_images(run.root, IMAGES_LISTED)
    done = accounted(run, shards(size), (0, 4, 5, 24, 46))
    present = [index for index in range(IMAGES_LISTED) if index % 11 != 5]
    key = {"label": "a", "group": None}
    expected = [
        {**image(i), "image_id": f"{i}.jpg", "uri": f"/x/{i}.jpg", **key} for i in present if not is_rejected(i)
    ]
    assert table(run, done, "images") == [{name: each[name] for name in IMAGES.schema.names} for each in expected]
    refused = [{**reject(i), "image_id": f"{i}.jpg", "uri": f"/x/{i}.jpg"} for i in present if is_rejected(i)]
    assert table(run, done, "rejects") == [{name: each[name] for name in REJECTS.schema.names} for each in refused]
    assert (done.counts.images, done.counts.listed) == (len(expected), len(present))
    assert done.counts.rejects == {
        reason: sum(each["reason"] == reason for each in refused) for reason in ("damaged", "empty")
    }
    assert sorted(done.known) == [0, 4, 46] and done.hashes == {i: f"{i:064x}" for i in (0, 4, 46)}
    assert (done.known[4].image_id, done.known[4].label, done.known[4].width) == ("4.jpg", "a", 24)
    hashes = [part.sha256 for parts in done.parts.values() for part in parts]
    other = attempt(tmp_path / "other")
    list_images(other.root, IMAGES_LISTED)
    again = accounted(other, shards(7))
    assert hashes == [part.sha256 for parts in again.parts.values() for part in parts]
    assert len(done.parts["images"]) == len(done.results) == 3


def test_a_part_is_the_file_that_a_writer_of_the_table_makes(tmp_path, monkeypatch):
    monkeypatch.setattr(accounts, "PART_IMAGES", 1 << 18)
    run = attempt(tmp_path)
    list_images(run.root, IMAGES_LISTED)
    done = accounted(run, shards(8))
    for name, kind in (("images", IMAGES), ("rejects", REJECTS)):
        with run.writer(kind) as writer:
            writer.write(pa.Table.from_pylist(table(run, done, name), kind.schema))
            assert writer.close() == done.parts[name]


def test_only_the_parts_of_new_or_changed_images_are_made_again(tmp_path):
    run = attempt(tmp_path)
    list_images(run.root, IMAGES_LISTED)
    first = accounted(run, shards(10))
    run.pool.ran.clear()
    again = accounted(run, shards(10))
    assert not run.pool.ran and again.parts == first.parts
    grown = list_images(run.root, IMAGES_LISTED + 1, "corpora/c/manifest-1.parquet")
    larger = accounted(run, shards(10, IMAGES_LISTED + 1, grown))
    assert [(item.start, item.stop) for item in run.pool.ran] == [(40, 48)]
    assert larger.parts["images"][:2] == first.parts["images"][:2] and larger.counts.listed == first.counts.listed + 1
    run.pool.ran.clear()
    relabelled = list_images(run.root, IMAGES_LISTED, "corpora/c/manifest-2.parquet", label="b")
    labelled = accounted(run, shards(10, listed=relabelled))
    assert len(run.pool.ran) == 3 and {each["label"] for each in table(run, labelled, "images")} == {"b"}


@pytest.mark.parametrize("size", [10, 15], ids=["whole", "shared"])  # the second of 15 is part of two parts
@pytest.mark.parametrize("harm", ["missing", "damaged"])
def test_results_that_are_missing_or_damaged_are_made_again(tmp_path, harm, size):
    run = attempt(tmp_path)
    list_images(run.root, IMAGES_LISTED)
    first = accounted(run, shards(size))
    part, shard = first.results[1], shards(size)[1].result
    run.root.delete(part)
    for path in (first.results[0], shard):
        if harm == "missing":
            run.root.delete(path)
        else:
            data = bytearray(run.root.read(path))
            data[len(data) // 2] ^= 0xFF
            run.root.put(path, bytes(data))
    again = account(run, StoredResults(run.root, partial(write, run.root)), shards(size), np.array([], np.int64))
    assert again.parts == first.parts and again.counts == first.counts


def test_an_image_without_an_account_stops_the_run(tmp_path):
    run = attempt(tmp_path)
    list_images(run.root, IMAGES_LISTED)
    with pytest.raises(RunStopped, match=r"images 20 to 40: 18 are listed, but the results account for 17"):
        accounted(run, shards(10), left_out=33)


def test_a_run_that_can_use_no_image_says_why(tmp_path):
    run = attempt(tmp_path)
    list_images(run.root, IMAGES_LISTED)
    expected = (
        r"none of the 43 images .* \(22 damaged, 21 empty\); for example, 0.jpg: damaged: no 0; 1.jpg: .*; 2.jpg: .* 2$"
    )
    with pytest.raises(RunStopped, match=expected):
        accounted(run, shards(10), rejected=lambda _: True)


def test_a_node_with_another_pyarrow_is_refused(tmp_path):
    run = attempt(tmp_path)
    list_images(run.root, IMAGES_LISTED)
    [item, *_] = accounts._items(run.root, shards(10), ())
    with pytest.raises(NodeError, match=rf"has pyarrow {pa.__version__} instead of 1\.0"):
        derive(run.root, replace(item, pyarrow="1.0"))


def test_parts_of_other_columns_or_docs_are_made_again(tmp_path, monkeypatch):
    run = attempt(tmp_path)
    list_images(run.root, IMAGES_LISTED)
    first = accounted(run, shards(10))
    monkeypatch.setattr(accounts, "_FORM", "another")
    assert not set(accounted(run, shards(10)).results) & set(first.results)


def test_a_table_without_rows_has_one_empty_part(tmp_path):
    run = attempt(tmp_path)
    list_images(run.root, IMAGES_LISTED)
    done = accounted(run, shards(10), rejected=lambda _: False)
    assert [part.rows for part in done.parts["rejects"]] == [0] and done.counts.rejects == {}


@pytest.mark.parametrize("size", [1, 7, 64])
def test_each_image_has_its_prediction_by_name(tmp_path, size):
    run = attempt(tmp_path)
    list_images(run.root, IMAGES_LISTED)
    done = accounted(run, shards(size), classes=("tench", "goldfish", "shark"))
    used = [each["image_index"] for each in table(run, done, "images")]
    expected = [
        {
            "image_id": f"{index}.jpg", "uri": f"/x/{index}.jpg", **prediction(index),
            "class_name": ("tench", "goldfish", "shark")[index % 3],
        }
        for index in used
    ]  # fmt: skip
    rows_of_table = table(run, done, "predictions")
    assert [{name: row[name] for name in expected[0]} for row in rows_of_table] == expected
    other = accounted(run, shards(size), classes=("a", "b", "c"))
    assert {row["class_name"] for row in table(run, other, "predictions")} == {"a", "b", "c"}


def test_without_classes_the_table_is_empty_and_other_jobs_have_none(tmp_path):
    run = attempt(tmp_path)
    list_images(run.root, IMAGES_LISTED)
    assert [part.rows for part in accounted(run, shards(10), classes=()).parts["predictions"]] == [0]
    assert set(accounted(run, shards(10)).parts) == {"images", "rejects"}
