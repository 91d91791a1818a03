"""Tar archives as corpora: members are listed with labels, read by their place, and checked; damage is one line."""

import gzip
import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.http.places import Allowed
from workers.corpus import entries, fetch, isolate, manifest
from workers.errors import CorpusError, Reason, RefusedError, StaleFile
from workers.sources import blocks
from workers.sources.member_uris import MemberUri, is_member, parse
from workers.sources.tar import TAR
from workers.spec.parts import CorpusSpec
from workers.spec.scan import make_spec
from workers.store.root import Root

PHOTOS = {"./cat/1.jpg": b"first cat", "cat/2.PNG": b"second", "dog/3.webp": b"a dog" * 400, "4.jpg": b""}


def write(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    make: Any = tarfile.open  # its overloads accept no variable
    with make(path, mode, format=tarfile.PAX_FORMAT, errors="surrogateescape") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def listed(source: object, **keys: str) -> list[entries.ListedImage]:
    return list(entries.listing(CorpusSpec(source=str(source), **keys)))


def read(image: entries.ListedImage) -> bytes:
    return fetch.read(image.uri, image.bytes, image.etag)


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tgz", "w:gz")])
def test_members_are_listed_with_their_folders_and_read_byte_for_byte(tmp_path, name, mode):
    images = listed(write(tmp_path / name, PHOTOS, mode))
    assert [(image.image_id, image.label) for image in images] == [
        ("cat/1.jpg", "cat"), ("cat/2.PNG", "cat"), ("dog/3.webp", "dog"), ("4.jpg", None)
    ]  # fmt: skip
    assert [read(image) for image in images] == list(PHOTOS.values())
    assert [read(image) for image in reversed(images)] == list(reversed(PHOTOS.values()))
    assert images[0].uri.startswith(f"tar://cat/1.jpg::{tmp_path}/{name}#")


def test_the_uri_without_its_offset_is_one_of_fsspec(tmp_path):
    image = listed(write(tmp_path / "a.tar", {"cat/1.jpg": b"x" * 700}))[0]
    with fsspec.open(image.uri.rpartition("#")[0], "rb") as file:
        assert file.read() == read(image)


def test_several_archives_are_one_corpus_whose_ids_begin_with_the_archive(tmp_path):
    for number in range(3):
        (tmp_path / "shards").mkdir(exist_ok=True)
        write(tmp_path / "shards" / f"{number:03}.tar", {f"cat/{number}.jpg": b"%d" % number})
    for source in ("shards/*.tar", "shards/{000..002}.tar", "shards/{000,001,002}.tar"):
        images = listed(tmp_path / source)
        assert [image.image_id for image in images] == [f"00{number}.tar/cat/{number}.jpg" for number in range(3)]
        assert [(image.label, read(image)) for image in images] == [("cat", b"%d" % number) for number in range(3)]


def test_an_image_keeps_its_id_when_a_glob_matches_another_archive(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    write(tmp_path / "a" / "x.tar", {"1.jpg": b"1"})
    assert [image.image_id for image in listed(tmp_path / "*/x.tar")] == ["a/x.tar/1.jpg"]
    assert [image.image_id for image in listed(tmp_path / "{a,a}/x.tar")] == ["x.tar/1.jpg"]
    write(tmp_path / "b" / "x.tar", {"1.jpg": b"2"})
    assert [image.image_id for image in listed(tmp_path / "*/x.tar")] == ["a/x.tar/1.jpg", "b/x.tar/1.jpg"]
    assert [image.image_id for image in listed(tmp_path / "{a,b}/x.tar")] == ["a/x.tar/1.jpg", "b/x.tar/1.jpg"]


def test_folders_among_the_matches_are_passed_over_and_joined_names_are_refused(tmp_path):
    write(tmp_path / "a.tar", {"1.jpg": b"1"})
    (tmp_path / "z.tar").mkdir()
    assert [image.image_id for image in listed(tmp_path / "[az].tar")] == ["a.tar/1.jpg"]
    write(tmp_path / "p::q.tar", {"1.jpg": b"1"})
    with pytest.raises(CorpusError, match="'::' in a name chains file systems"):
        listed(tmp_path / "p*.tar")


def test_braces_without_end_are_one_line(tmp_path):
    with pytest.raises(CorpusError, match="nested too deeply"):
        listed(f"{tmp_path}/{'{' * 2000}{'}' * 2000}.tar")


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("folder:0", "neither folder nor folder:N"), ("folder:100", "neither"), ("folders", "neither"), ("Folder", "neither"),
        ("folder:", "neither"), ("column:", "write column:NAME"), ("parent", "is not one of none, folder"),
        (r"image_\d+", r"label 'image_\\d\+' is not one of .*; its first capture group gives the label$"),
        (r"image_(\d+", r"label 'image_\(\\d\+' cannot be used as a regular expression: missing \)"),
    ],
)  # fmt: skip
def test_a_mistyped_label_is_refused(form, message):
    with pytest.raises(ValidationError) as caught:
        CorpusSpec(source="x", label=form)
    assert re.search(message, caught.value.errors()[0]["msg"])


def test_a_label_may_be_a_regular_expression_that_begins_as_another_form_does():
    for form in (r"folder_(\d+)", r"folders/([^/]+)/", r"columns_(\d+)"):
        assert CorpusSpec(source="x", label=form)


def test_members_that_are_not_images_are_passed_over(tmp_path):
    path = write(
        tmp_path / "a.tar", {"a.jpg": b"a", "b.txt": b"caption", ".hidden.jpg": b"h", "._a.jpg": b"m", ".x/c.jpg": b"c"}
    )
    with tarfile.open(path, "a") as archive:
        for name, kind in (
            ("link.jpg", tarfile.SYMTYPE),
            ("hard.jpg", tarfile.LNKTYPE),
            ("folder.jpg", tarfile.DIRTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    assert [image.image_id for image in listed(path)] == ["a.jpg"]


@pytest.mark.parametrize(
    "name", ["../../up.jpg", "/etc/x.jpg", "a::b#12.jpg", "a b?*[1].jpg", "ä/ü.jpg", "tar://x::y#3.jpg"]
)
def test_the_name_of_a_member_is_data(tmp_path, name):
    image = listed(write(tmp_path / "a.tar", {"first.jpg": b"1", name: b"content"}))[1]
    assert (image.image_id, read(image)) == (name, b"content")


def test_a_name_that_is_not_text_is_refused_for_that_image_alone(tmp_path):
    images = listed(write(tmp_path / "a.tar", {"\udcff.jpg": b"1", "b.jpg": b"2"}))
    assert [(image.image_id, image.refused) for image in images] == [("\\xff.jpg", Reason.BAD_NAME), ("b.jpg", None)]


@pytest.mark.parametrize(
    ("sidecars", "label"),
    [
        ({"1.cls": b"7\n"}, "7"),
        ({"1.json": json.dumps({"label": "cat", "width": 3}).encode()}, "cat"),
        ({"1.json": json.dumps({"cls": 281}).encode()}, "281"),
        ({"1.txt": b"a tabby cat"}, "a tabby cat"),
        ({"1.cls": b"7", "1.json": b'{"label": "cat"}', "1.txt": b"words"}, "7"),
        ({"1.json": b'{"width": 3}', "1.txt": b"words"}, "words"),
        ({"1.json": b"[" * 100_000}, "folder"),
        ({"1.json": b'{"label": true}'}, "folder"),
        ({"1.json": b'{"label": null}', "1.txt": b"two\nlines", "1.cls": b" "}, "folder"),
        ({"2.cls": b"7"}, "folder"),
    ],
)
def test_a_label_comes_from_the_best_sidecar_of_the_same_sample(tmp_path, sidecars, label):
    inside = {f"folder/{name}": data for name, data in sidecars.items()}
    for members in ({"folder/1.jpg": b"x", **inside}, {**inside, "folder/1.jpg": b"x"}):
        assert [image.label for image in listed(write(tmp_path / "a.tar", members))] == [label]
    assert [image.label for image in listed(tmp_path / "a.tar", label="none")] == [None]
    assert [image.label for image in listed(tmp_path / "a.tar", label="folder:1", group="folder")] == ["folder"]


def flipped(data: bytes, place: int) -> bytes:
    """The data with one byte changed."""
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


def test_a_damaged_archive_is_one_line(tmp_path):
    members = {f"{number}.jpg": bytes([number]) * 3000 for number in range(9)}
    whole = write(tmp_path / "a.tar", members).read_bytes()
    header = whole.index(b"5.jpg")
    for name, data, words in [
        (
            "b.tar",
            whole[:header] + b"?" * 512 + whole[header + 512 :],
            r"damaged after 5 members: the header at byte 17,920 is not valid",
        ),
        ("c.tar", whole[: header + 1000], "damaged after 6 members: unexpected end of data"),
        ("d.tar", b"", "damaged after 0 members: empty file"),
        ("e.tar.gz", gzip.compress(whole)[:200], "damaged after"),
        ("f.tar.gz", whole, "damaged after 0 members: not a gzip file"),
        ("h.tar", whole[: whole.index(b"6.jpg")], "damaged after 6 members: it has no end-of-archive marker"),
        ("i.tar", whole + whole, "damaged after 9 members: data follows the end-of-archive marker at byte"),
        ("j.tar.gz", gzip.compress(whole)[:-4], "damaged after 9 members"),
        (
            "k.tar.gz",
            gzip.compress(whole)[:-8] + b"????" + gzip.compress(whole)[-4:],
            "damaged after 9 members: CRC check",
        ),
        *((f"{n}.tar.gz", flipped(gzip.compress(whole), n), "is damaged after") for n in range(40, 130, 9)),
        ("g.tar", b"no archive at all" * 100, "damaged after 0 members"),
    ]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CorpusError, match=words):
            listed(tmp_path / name)


@pytest.mark.parametrize("source", ["none.tar", "no*.tar", "{1..3}.tar"])
def test_a_missing_archive_is_one_line(tmp_path, source):
    with pytest.raises(CorpusError, match=r"matches no archive|is not a file|does not exist"):
        listed(tmp_path / source)


def test_a_name_with_a_backslash_is_read_as_it_is(tmp_path):
    assert [image.image_id for image in listed(write(tmp_path / "a\\b.tar", {"1.jpg": b"1"}))] == ["1.jpg"]


def test_a_folder_with_the_name_of_an_archive_is_a_folder(tmp_path):
    (tmp_path / "x.tar").mkdir()
    (tmp_path / "x.tar" / "1.jpg").write_bytes(b"1")
    assert [image.image_id for image in listed(tmp_path / "x.tar")] == ["1.jpg"]


def test_an_archive_that_changed_or_vanished_is_noticed(tmp_path):
    path = write(tmp_path / "a.tar", PHOTOS)
    image = listed(path)[0]
    write(path, {"cat/1.jpg": b"other cat"})
    with pytest.raises(StaleFile, match="has changed since it was listed"):
        read(image)
    row = manifest.Row(0, image.image_id, image.uri, image.bytes, image.etag, None, None, False, None)
    assert isolate.find_stale([row])[0].reason is Reason.CHANGED
    path.unlink()
    with pytest.raises(StaleFile) as caught:
        read(image)
    assert caught.value.reason is Reason.VANISHED


def test_two_members_of_one_name_are_refused(tmp_path):
    path = write(tmp_path / "a.tar", {"1.jpg": b"1", "2.jpg": b"2"})
    with tarfile.open(path, "a") as archive:
        archive.addfile(tarfile.TarInfo("1.jpg"))
    with (
        manifest.list_corpus(CorpusSpec(source=str(path)), lambda _: None) as listing,
        pytest.raises(CorpusError, match=r"two images with the id '1\.jpg'"),
    ):
        listing.commit(Root(str(tmp_path / "root")))


@given(st.text().filter(lambda text: "\ud800" not in text), st.integers(0, 1 << 60))
def test_a_uri_gives_back_what_it_was_made_of(member, offset):
    uri = MemberUri("tar", member, "s3://bucket/a.tar", str(offset))
    assert is_member(str(uri), "tar") and parse(str(uri)) == uri


def test_archives_of_a_bucket_are_read_in_blocks_and_checked_once(monkeypatch):
    store = fsspec.filesystem("memory")
    buffer = io.BytesIO()
    members = {f"{number}.jpg": bytes([number]) * 5000 for number in range(40)}
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    store.pipe("/shards/a.tar", buffer.getvalue())
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 16)
    images, access, calls = listed("memory://shards/a.tar"), TAR.access, []
    cat = store.cat_file
    monkeypatch.setattr(type(store), "cat_file", lambda _, *a, **k: calls.append(a) or cat(*a, **k))
    assert [access.read(image.uri, image.bytes, image.etag) for image in images] == list(members.values())
    assert len(calls) == 4  # the last member ends in the fourth block


def test_the_service_allows_what_a_range_names(tmp_path):
    spec = CorpusSpec(source=f"{tmp_path}/{{000..002}}.tar")
    job = make_spec({"root": "x", "model": {"source": "deconvoy://zfnet-mini"}, "corpus": spec.model_dump()})
    Allowed((str(tmp_path),)).check_spec(job)
    with pytest.raises(RefusedError):
        Allowed((f"{tmp_path}/other",)).check_spec(job)
