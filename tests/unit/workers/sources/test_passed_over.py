"""Nothing is skipped in silence: images and counts together are all that lies in a corpus."""

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.registry import known_implementations

from tests.support import corpora
from workers.corpus import entries, fetch, manifest
from workers.errors import CorpusError, Reason
from workers.sources.source import PassedOver, Tally
from workers.spec.parts import CorpusSpec


def listed(source: object, tally: Tally | None = None, **keys: Any) -> list[entries.ListedImage]:
    return sorted(
        entries.listing(CorpusSpec(source=str(source), **keys), tally=tally), key=lambda image: image.image_id
    )


def ids(source: object, **keys: Any) -> list[str]:
    return [image.image_id for image in listed(source, **keys)]


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def list_as_nobody(folder: Path) -> tuple[list[str], dict[str, int]]:
    """The ids and counts of a folder for a user without root's right to read everything."""
    tally, is_root = Tally(), os.geteuid() == 0
    ids(folder)  # loads what is needed, which nobody may not be allowed to
    if is_root:
        os.seteuid(65534)
    try:
        return ids(folder, tally=tally), dict(tally.counts)
    finally:
        if is_root:
            os.seteuid(0)


@pytest.fixture
def oddities(tmp_path) -> Path:
    """A folder with one of each oddity, and two images."""
    folder = tmp_path / "photos"
    write(folder, "a.jpg", "deep/b.PNG", "c.txt", "noextension", ".hidden.jpg", ".hidden/d.jpg")
    os.symlink("nowhere.jpg", folder / "dangling.jpg")
    os.symlink("self.jpg", folder / "self.jpg")
    os.symlink("..", folder / "deep" / "circle")
    os.mkfifo(folder / "fifo.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket.jpg"))
    return folder


def test_images_and_counts_are_all_that_lies_there(oddities):
    tally = Tally()
    assert ids(oddities, tally=tally) == ["a.jpg", "deep/b.PNG"]
    assert tally.counts == {
        ".txt": 1, "no extension": 1, "hidden": 2, "dangling link": 1, "link loop": 2, "not a regular file": 2
    }  # fmt: skip
    things = [path for path in oddities.rglob("*") if path.is_symlink() or not path.is_dir()]
    assert 2 + sum(tally.counts.values()) == len(things)  # the hidden folder counts in place of its only file


def test_hidden_files_and_other_extensions_are_listed_if_asked_for(oddities):
    assert ids(oddities, include_hidden=True) == [".hidden.jpg", ".hidden/d.jpg", "a.jpg", "deep/b.PNG"]
    assert ids(oddities, extensions=("txt", ".JPG")) == ["a.jpg", "c.txt"]


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder below which others may read; those of pytest are private."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_folder_that_cannot_be_read_is_one_line(shared):
    write(shared / "photos", "a.jpg", "closed/b.jpg")
    (shared / "photos" / "closed").chmod(0)
    assert list_as_nobody(shared / "photos") == (["a.jpg"], {"unreadable folder": 1})


def test_a_link_into_an_unreadable_folder_costs_only_itself(shared):
    write(shared / "photos", "a/1.jpg", "a/sub/2.jpg", "z/3.jpg")
    write(shared, "closed/4.jpg")
    os.symlink(shared / "closed" / "4.jpg", shared / "photos" / "a" / "link.jpg")
    os.symlink(shared / "closed" / "4.jpg", shared / "photos" / "link.jpg")
    (shared / "closed").chmod(0)
    assert list_as_nobody(shared / "photos") == (
        ["a/1.jpg", "a/sub/2.jpg", "z/3.jpg"],
        {"link into an unreadable folder": 2},
    )


def test_folders_may_be_nested_deeper_than_python_recurses(tmp_path):
    folder = tmp_path
    for _ in range(1100):
        folder = folder / "d"
        folder.mkdir()
    (folder / "deep.jpg").write_bytes(b"x")
    found = ids(tmp_path)
    subprocess.run(["rm", "-r", tmp_path / "d"], check=True)  # shutil.rmtree, which pytest uses, recurses
    assert found == ["/".join("d" * 1100) + "/deep.jpg"]


def test_keys_that_name_columns_are_refused_without_columns(tmp_path):
    write(tmp_path, "a.jpg")
    for keys in ({"id_column": "id"}, {"image_column": "image"}, {"label": "column:x"}):
        with pytest.raises(CorpusError, match="the corpus has no column"):
            ids(tmp_path, **keys)


def test_the_listing_of_a_corpus_carries_the_counts_and_its_error_names_them(oddities, tmp_path):
    with manifest.list_corpus(CorpusSpec(source=str(oddities)), lambda _: None) as listing:
        assert listing.passed_over[PassedOver.HIDDEN] == 2 and listing.images == 2
    write(tmp_path / "texts", "a.txt", "b.txt", "c.md")
    corpora.refuse(tmp_path / "texts", r"contains no images \(skipped: 2 \.txt, 1 \.md\); supported formats are")


def test_globs_follow_links_as_folders_do_and_count_what_they_cannot_list(oddities, tmp_path):
    links = tmp_path / "links"
    links.mkdir()
    write(tmp_path / "other", "b.PNG")
    os.symlink(oddities / "a.jpg", links / "1.jpg")
    os.symlink(tmp_path / "other", links / "2")
    assert ids(f"{links}/**/*.{{jpg,PNG}}") == ["1.jpg", "2/b.PNG"]
    assert ids(links) == ["1.jpg", "2/b.PNG"]
    tally = Tally()
    assert ids(f"{oddities}/*", tally=tally) == [".hidden.jpg", "a.jpg", "c.txt", "noextension"]
    assert tally.counts == {"dangling link": 1, "link loop": 1, "not a regular file": 2}


@pytest.mark.parametrize("name", ["a[1]", "b*", "c?", "d::e", "f{g,h}", "zip::i"])
def test_an_existing_folder_is_a_folder_whatever_its_name(tmp_path, name):
    write(tmp_path / name, "x/1.jpg")
    [image] = listed(tmp_path / name)
    assert (image.image_id, image.label) == ("x/1.jpg", "x")
    assert fetch.read(image.uri, image.bytes, image.etag) == b"x"


def test_escaped_wildcards_are_the_characters_themselves(tmp_path):
    write(tmp_path, "a[1]/x.jpg", "a1/y.jpg", "b*/z.jpg")
    assert ids(f"{tmp_path}/a[[]1]/*.jpg") == ["x.jpg"]
    assert ids(f"{tmp_path}/b[*]/*") == ["z.jpg"]
    assert ids(f"{tmp_path}/a[1]/*.jpg") == ["a1/y.jpg"]


def test_braces_stand_for_several_globs(tmp_path):
    write(tmp_path, "cat/1.jpg", "dog/2.png", "cow/3.jpg", "cat/4.txt", "5.jpg")
    assert ids(f"{tmp_path}/{{cat,dog}}/*.{{jpg,png}}") == ["cat/1.jpg", "dog/2.png"]
    assert ids(f"{tmp_path}/{{cat/1,cow/{{3,4}}}}.jpg") == ["cat/1.jpg", "cow/3.jpg"]
    assert ids(f"{tmp_path}/{{*,cat/*}}.jpg") == ["5.jpg", "cat/1.jpg"]
    memory = fsspec.filesystem("memory")
    for name in ("cat/1.jpg", "dog/2.png", "cow/3.jpg"):
        memory.pipe_file(f"/braces/{name}", b"x")
    assert ids("memory://braces/{cat,dog}/*") == ["cat/1.jpg", "dog/2.png"]
    with pytest.raises(CorpusError, match=r"is not valid: \*\* must stand alone between slashes"):
        listed(f"{tmp_path}/**x/*.jpg")


def test_a_single_image_is_a_corpus(tmp_path):
    write(tmp_path, "cat/1.jpg", "cat/2.txt")
    [image] = listed(tmp_path / "cat" / "1.jpg")
    assert (image.image_id, image.bytes, image.label) == ("1.jpg", 1, None)
    assert fetch.read(image.uri, image.bytes, image.etag) == b"x"
    with pytest.raises(CorpusError, match=r"2.txt' is neither a folder nor a file with the extension of an image \(\."):
        listed(tmp_path / "cat" / "2.txt")
    with pytest.raises(CorpusError, match=r"does not exist; give an existing folder, or a glob such as"):
        listed(tmp_path / "cow")


def test_an_object_with_signs_of_fsspec_in_its_name_is_read_by_its_exact_key_or_is_a_reject():
    memory = fsspec.filesystem("memory")
    names = ["a::b.jpg", "e?versionId=1.jpg", "f#1.jpg"]
    for name in names:
        memory.pipe_file(f"/keys/{name}", name.encode())
    images = listed("memory://keys")
    assert [image.refused for image in images] == [None, Reason.BAD_NAME, None]
    assert [fetch.read(image.uri, image.bytes, image.etag) for image in images if not image.refused] == [
        b"a::b.jpg",
        b"f#1.jpg",
    ]


def test_a_first_look_is_small_and_the_same_each_time(tmp_path):
    write(tmp_path, *(f"{folder}/{number:02d}.jpg" for folder in "abc" for number in range(20)))
    assert ids(tmp_path, limit=25) == [f"a/{n:02d}.jpg" for n in range(20)] + [f"b/{n:02d}.jpg" for n in range(5)]
    sample = ids(tmp_path, sample=10)
    assert len(sample) == 10 and len({name[0] for name in sample}) == 3
    write(tmp_path, "d/00.jpg")
    assert len({*sample} & {*ids(tmp_path, sample=10)}) >= 9
    memory = fsspec.filesystem("memory")
    for number in (3, 1, 2):
        memory.pipe_file(f"/look/{number}.jpg", b"x")
    assert ids("memory://look", limit=2) == ["1.jpg", "2.jpg"]


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("hf://datasets/acme/photos", r"cannot be listed: .*offline mode is enabled"),
        ("absent://bucket/photos", r"cannot be listed: Install absentfs"),
        ("nope://photos", r"cannot be listed: Protocol not known: nope"),
    ],
)
def test_a_store_that_is_offline_or_not_installed_is_one_line(monkeypatch, source, line):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setitem(known_implementations, "absent", {"class": "absentfs.FS", "err": "Install absentfs"})
    corpora.refuse(source, line)
