"""The images that a job without a list of images takes, and the images that are left to run."""

import hashlib
from weakref import WeakSet

import pytest

from jobs.run import plan
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
