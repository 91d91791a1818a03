"""A corpus listed, listed again, and frozen: who keeps which row number."""

import os
from pathlib import Path

import pytest

from workers.corpus import entries, manifest
from workers.errors import CorpusError
from workers.spec.parts import CorpusSpec
from workers.store.root import Root


def write(folder: Path, *names: str, data: bytes = b"x") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    return folder


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path / "root"))


def commit(folder: Path | str, root: Root, **more: str) -> str:
    with manifest.list_corpus(CorpusSpec(source=str(folder), **more), lambda _: None) as listing:
        return listing.commit(root)


def rows(root: Root, rel: str) -> list[manifest.Row]:
    return manifest.rows(root, rel, 0, manifest.count(root, rel))


def ids(folder: Path | str, **more: str) -> list[str]:
    return sorted(entry.image_id for entry in entries.listing(CorpusSpec(source=str(folder), **more)))


def test_a_first_listing_is_sorted_by_image_id_whatever_the_folders_order(folder, root):
    write(folder, "b/2.jpg", "a/9.png", "c.webp", "a/10.PNG")
    found = rows(root, commit(folder, root))
    assert [(row.image_index, row.image_id) for row in found] == list(
        enumerate(["a/10.PNG", "a/9.png", "b/2.jpg", "c.webp"])
    )
    assert [row.label for row in found] == ["a", "a", "b", None]
    assert all(row.uri == str(folder / row.image_id) and row.bytes == 1 and not row.removed for row in found)


def test_a_later_listing_keeps_rows_appends_new_ones_sorted_and_marks_removed_ones(folder, root):
    write(folder, "b.jpg", "d.jpg", "f.jpg")
    first = commit(folder, root)
    write(folder, "e.jpg", "a.jpg")
    (folder / "d.jpg").unlink()
    second = commit(folder, root)
    assert second != first
    assert [row.image_id for row in rows(root, first)] == ["b.jpg", "d.jpg", "f.jpg"]
    assert [(row.image_id, row.removed) for row in rows(root, second)] == [
        ("b.jpg", False), ("d.jpg", True), ("f.jpg", False), ("a.jpg", False), ("e.jpg", False)
    ]  # fmt: skip


def test_a_file_that_comes_back_takes_its_row_again_and_a_changed_one_keeps_it_with_another_etag(folder, root):
    write(folder, "a.jpg", "b.jpg")
    commit(folder, root)
    (folder / "a.jpg").unlink()
    write(folder, "b.jpg", data=b"longer")
    second = rows(root, commit(folder, root))
    write(folder, "a.jpg")
    third = rows(root, commit(folder, root))
    assert [(row.image_id, row.removed) for row in second] == [("a.jpg", True), ("b.jpg", False)]
    assert [(row.image_id, row.removed, row.bytes) for row in third] == [("a.jpg", False, 1), ("b.jpg", False, 6)]


def test_an_unchanged_corpus_makes_no_new_manifest(folder, root):
    write(folder, "a.jpg", "b.jpg")
    assert commit(folder, root) == commit(folder, root)
    assert len(list(Path(root.base).glob("corpora/*/*"))) == 1


def test_slices_and_streams_are_the_rows_of_the_whole(folder, root, monkeypatch):
    monkeypatch.setattr(manifest, "GROUP_ROWS", 8)
    write(folder, *(f"{number:03d}.jpg" for number in range(50)))
    rel = commit(folder, root)
    whole = rows(root, rel)
    assert [row.image_index for row in whole] == list(range(50))
    for start, stop in ((0, 8), (7, 9), (15, 41), (48, 50), (3, 3)):
        assert manifest.rows(root, rel, start, stop) == whole[start:stop]
    for step in (1, 7, 8, 50, 99):
        assert [row for part in manifest.stream(root, rel, step) for row in part] == whole


def test_groups_are_folders_or_what_a_pattern_finds(folder):
    write(folder, "cup-1.jpg", "cup-2.jpg", "cat/x.jpg")
    by_name = {e.image_id: e.group for e in entries.listing(CorpusSpec(source=str(folder), group=r"(\w+)-\d"))}
    assert by_name == {"cup-1.jpg": "cup", "cup-2.jpg": "cup", "cat/x.jpg": None}
    by_folder = {e.image_id: e.group for e in entries.listing(CorpusSpec(source=str(folder), group="folder"))}
    assert by_folder["cat/x.jpg"] == "cat" and by_folder["cup-1.jpg"] is None


def test_a_name_that_is_no_text_is_listed_and_refused(folder, root):
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.jpg"))).write_bytes(b"x")
    [row] = rows(root, commit(folder, root))
    assert row.refused == "bad_name" and "\\xff" in row.image_id


def test_a_corpus_that_is_not_there_or_holds_no_image_is_told(folder, root, tmp_path):
    with pytest.raises(CorpusError, match="does not exist"):
        commit(tmp_path / "nowhere", root)
    with pytest.raises(CorpusError, match="contains no image"):
        commit(folder, root)
    with pytest.raises(CorpusError, match="cannot be listed"):
        commit("nosuch://place", root)
