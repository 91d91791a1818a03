"""Corpora of single files: which of them a folder or a glob lists, and whether one is still the version that was listed."""

import hashlib
import os
from io import FileIO
from pathlib import Path

import fsspec
import pytest

from workers.corpus import entries, fetch
from workers.errors import CorpusError, ReadError, Reason, StaleFile
from workers.sources import single_files
from workers.spec.parts import CorpusSpec


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def write(folder: Path, *names: str, data: bytes = b"x") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def ids(source: Path | str) -> list[str]:
    return sorted(entry.image_id for entry in entries.listing(CorpusSpec(source=str(source))))


def test_a_folder_lists_known_extensions_and_nothing_hidden_and_follows_no_circle(folder):
    write(folder, "a.jpg", "b.txt", ".hidden.jpg", ".hidden/c.jpg", "deep/er/d.TIFF", "noextension")
    os.symlink(folder, folder / "deep" / "circle")
    assert ids(folder) == ["a.jpg", "deep/er/d.TIFF"]


def test_a_glob_lists_all_that_it_matches(folder):
    write(folder, "a.jpg", "b.txt", "deep/c.jpg", "deep/d.txt")
    assert ids(f"{folder}/**/*.txt") == ["b.txt", "deep/d.txt"]
    assert ids(f"{folder}/deep/*") == ["c.jpg", "d.txt"]


@pytest.mark.parametrize("source", ["http://photos.example/a", "simplecache::https://photos.example/**/*.jpg"])
def test_what_has_no_folders_is_refused_before_it_is_asked(source):
    with pytest.raises(CorpusError, match="http has no folders; give a local folder or a bucket"):
        entries.listing(CorpusSpec(source=source))


def test_a_file_that_has_gone_or_changed_since_it_was_listed_stops_the_run(folder):
    write(folder, "a.jpg", data=b"12345")
    assert fetch.read(str(folder / "a.jpg"), 5) == b"12345"
    with pytest.raises(ReadError, match=r"has changed .*\(4 bytes then, 5 now\)"):
        fetch.read(str(folder / "a.jpg"), 4)
    with pytest.raises(ReadError, match="no longer exists"):
        fetch.read(str(folder / "b.jpg"), 4)


@pytest.mark.parametrize("protocol", ["file", "memory"])
def test_bytes_of_another_version_are_never_read_under_the_old_etag(folder, protocol):
    filesystem, base = fsspec.core.url_to_fs(f"{protocol}://{folder}")
    filesystem.makedirs(base, exist_ok=True)
    filesystem.pipe_file(f"{base}/a.jpg", b"first")
    [listed] = entries.listing(CorpusSpec(source=f"{protocol}://{folder}"))
    assert fetch.read(listed.uri, 5, listed.etag) == b"first"
    assert fetch.staleness(listed.uri, 5, listed.etag) is None
    filesystem.pipe_file(f"{base}/a.jpg", b"other")
    with pytest.raises(StaleFile, match="has changed since it was listed"):
        fetch.read(listed.uri, 5, listed.etag)
    assert fetch.staleness(listed.uri, 5, listed.etag) is Reason.CHANGED
    filesystem.rm_file(f"{base}/a.jpg")
    with pytest.raises(StaleFile, match="no longer exists") as caught:
        fetch.read(listed.uri, 5, listed.etag)
    assert caught.value.reason is Reason.VANISHED
    assert fetch.staleness(listed.uri, 5, listed.etag) is Reason.VANISHED


def test_a_file_that_is_replaced_while_it_is_read_is_noticed(folder, monkeypatch):
    write(folder, "a.jpg", data=b"first")
    [row] = entries.listing(CorpusSpec(source=str(folder)))
    readall = FileIO.readall

    class Replaced(FileIO):
        def readall(self) -> bytes:
            data = readall(self)
            Path(row.uri).write_bytes(b"other")
            return data

    monkeypatch.setattr(single_files, "FileIO", Replaced)
    with pytest.raises(StaleFile, match="it has been written to"):
        fetch.read(row.uri, row.bytes, row.etag)


def test_an_object_whose_etag_is_its_md5_costs_one_request(monkeypatch):
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/md5/a.jpg", b"bytes")
    monkeypatch.setattr(type(memory), "info", lambda *_, **__: pytest.fail("asked once more"))
    assert (
        fetch.read("memory:///md5/a.jpg", 5, f'"{hashlib.md5(b"bytes", usedforsecurity=False).hexdigest()}"')
        == b"bytes"
    )


class StoresOwn(Exception):
    """botocore's errors are not OSErrors."""


def test_a_store_that_fails_for_a_while_is_asked_again_whatever_it_raises(monkeypatch):
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/again/a.jpg", b"bytes")
    answers = iter([StoresOwn("slow down"), OSError("reset"), *[memory.info("/again/a.jpg")] * 5])

    def info(*_: object, **__: object) -> object:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    etag = str(memory.info("/again/a.jpg")["created"])
    monkeypatch.setattr(type(memory), "info", info)
    begun = []
    assert fetch.read("memory:///again/a.jpg", 5, etag, patience_s=20.0, begin=lambda: begun.append(1)) == b"bytes"
    assert len(begun) == 3  # the clock of a read starts anew with each try
