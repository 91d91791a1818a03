"""A root that a plan may write: everything reads as if it was written, and the root keeps its bytes."""

from pathlib import Path

import pytest

from workers.store.overlay import Overlay
from workers.store.root import Root


@pytest.fixture
def below(tmp_path) -> Root:
    root = Root(str(tmp_path / "root"))
    for name in ("kept", "changed", "gone", "moved"):
        root.put(f"folder/{name}", name.encode())
    return root


def files(root: Root) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(root.base).rglob("*") if path.is_file()}


def test_writes_are_read_again_and_do_not_reach_the_root(below, tmp_path):
    before, over = files(below), Overlay(below, str(tmp_path / "above"))
    over.put("folder/changed", b"new")
    over.delete("folder/gone")
    over.move("folder/moved", "other/place")
    assert over.create("folder/made", b"made") and not over.create("folder/kept", b"other")
    over.check_writable()
    with over.scratch() as scratch:
        (scratch / "file").write_bytes(b"file")
        over.put_file(scratch / "file", "other/file")

    assert over.files("folder") == {"kept": 4, "changed": 3, "made": 4}
    names = ("folder/kept", "folder/changed", "folder/made")
    assert {rel: info["size"] for rel, info in over.below("folder").items()} == dict(zip(names, (4, 3, 4), strict=True))
    assert over.files("other") == {"place": 5, "file": 4} and over.folders("") == ["folder", "other"]
    assert over.below("other")["other/place"]["size"] == over.info("other/place")["size"] == 5
    assert [over.read(f"folder/{name}") for name in ("kept", "changed", "made")] == [b"kept", b"new", b"made"]
    with over.open("other/place") as file:
        assert file.read() == b"moved"
    assert not over.exists("folder/gone") and over.info("folder/changed")["size"] == 3
    with pytest.raises(FileNotFoundError):
        over.read("folder/moved")
    over.put("folder/gone", b"back")
    assert over.read("folder/gone") == b"back"
    assert files(below) == before


def test_a_root_that_does_not_exist_is_not_made(tmp_path):
    over = Overlay(Root(str(tmp_path / "none")), str(tmp_path / "above"))
    over.put("file", b"data")
    assert over.read("file") == b"data" and not (tmp_path / "none").exists()


def test_a_file_of_the_root_is_moved_without_a_copy(below, tmp_path):
    before, over = files(below), Overlay(below, str(tmp_path / "above"))
    over.move("folder/moved", "new/deep/place")
    over.move("new/deep/place", "new/end")
    over.move("folder/gone", "folder/kept")
    assert not list((tmp_path / "above").rglob("*"))
    assert (
        over.read("new/end") == b"moved"
        and over.read("folder/kept") == b"gone"
        and over.folders("") == ["folder", "new"]
    )
    assert (
        over.files("folder") == {"changed": 7, "kept": 4}
        and over.folders("new") == []
        and not over.exists("new/deep/place")
    )
    over.put("new/end", b"written")
    over.move("new/end", "folder/changed")
    assert over.read("folder/changed") == b"written" and not over.exists("new/end")
    with pytest.raises(FileNotFoundError):
        over.move("new/end", "anywhere")
    assert files(below) == before
