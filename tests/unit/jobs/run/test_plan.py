"""The images that a job without a list of images takes, and the images that are left to run."""

import hashlib
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet

import pytest

from jobs import scan
from jobs.run import plan
from workers.actors.shard import Shard
from workers.corpus import manifest
from workers.corpus.manifest import Row
from workers.spec.parts import CorpusSpec
from workers.store.root import Root

GROUPS, GROUP, SAMPLE = 50, 20, 8


class Counted(Row):
    """A row that is counted while it exists; each is another one."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


def row(index: int) -> Counted:
    return Counted(index, f"{index}.jpg", f"u{index}", 1, "", None, None, removed=index % 7 == 0, refused=None)


@pytest.fixture
def alive(monkeypatch) -> list[int]:
    """The number of rows in memory before each group is read."""
    rows, counts = WeakSet[Counted](), list[int]()

    def stream(*_):
        for start in range(0, GROUPS * GROUP, GROUP):
            counts.append(len(rows))
            group = [row(index) for index in range(start, start + GROUP)]
            rows.update(group)
            yield group
            del group

    monkeypatch.setattr(manifest, "stream", stream)
    return counts


@pytest.mark.usefixtures("alive")
def test_a_sample_is_the_images_whose_ids_have_the_smallest_hashes():
    listed = [row(index) for index in range(GROUPS * GROUP) if index % 7]
    by_hash = sorted(listed, key=lambda row: hashlib.sha256(row.image_id.encode()).digest())[:SAMPLE]
    sample = plan.select_rows(None, "m", (), SAMPLE)
    assert [row.image_index for row in sample] == sorted(row.image_index for row in by_hash)


@pytest.mark.parametrize("wanted", [(), ("3.jpg", "500.jpg")])
def test_memory_does_not_grow_with_the_number_of_images(alive, wanted):
    assert len(plan.select_rows(None, "m", wanted, SAMPLE)) == (len(wanted) or SAMPLE)
    assert len(alive) == GROUPS and max(alive) <= SAMPLE + 2 * GROUP


def test_removed_images_are_no_part_of_the_work_that_is_left(tmp_path):
    photos, root = tmp_path / "photos", Root(str(tmp_path / "root"))
    photos.mkdir()
    for number in range(10):
        (photos / f"{number}.jpg").write_bytes(b"x")

    def planned() -> plan.Plan:
        with manifest.list_corpus(CorpusSpec(source=str(photos)), lambda _: None) as listing:
            return plan.plan(root, listing.commit(root), "0" * 32, 4)

    assert (planned().images, planned().images_to_run) == (10, 10)
    for number in (0, 5, 6):
        (photos / f"{number}.jpg").unlink()
    found = planned()
    assert (found.images, found.images_to_run, found.removed) == (7, 7, {0: 1, 4: 2})
    assert [(shard.start, shard.stop) for shard in found.shards] == [(0, 4), (4, 8), (8, 10)]
    root.put(found.shards[1].result, b"done")
    assert planned().images_to_run == 5


def shards(*numbers: int) -> tuple[Shard, ...]:
    return tuple(Shard(8 * number, 8 * number + 8, "m", f"shards/c/{number}.parquet") for number in numbers)


def test_shards_that_are_left_are_put_together_in_order():
    planned = plan.Plan(shards(*range(9)), shards(0, 1, 3, 4, 5, 7, 8), 72, {8: 2})
    assert plan.grouped(planned, 1) is planned
    together = plan.grouped(planned, 3)
    assert together.works == planned.works and together.images_to_run == planned.images_to_run == 54
    assert [[shard.start // 8 for shard in work.shards] for work in together.todo] == [[0, 1, 3], [4, 5, 7], [8]]


@pytest.mark.parametrize(
    ("device", "left", "actors", "expected"),
    [
        ("cpu", 1000, 2, 1),
        ("cuda", 0, 2, 1),
        ("cuda", 15, 2, 1),
        ("cuda", 16, 2, 2),
        ("cuda", 1000, 2, 4),
        ("cuda", 1000, 99, 2),
    ],
)
def test_shards_run_together_on_a_gpu_if_there_is_enough_for_all_actors(device, left, actors, expected):
    spec = SimpleNamespace(resources=SimpleNamespace(device=device))
    run: Any = SimpleNamespace(job=SimpleNamespace(spec=spec), pool=SimpleNamespace(actors=actors))
    assert scan._at_once(run, plan.Plan((), shards(*range(left)), 0)) == expected
