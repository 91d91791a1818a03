"""Corpora whose storage fails, falls silent or changes while it is listed: waited for, or one line."""

import os
import time

import fsspec
import pytest

from tests.support import silent
from workers.corpus import entries, manifest
from workers.errors import CorpusError, ReadError
from workers.host import retrying
from workers.sources import walking
from workers.spec.parts import CorpusSpec


def listed(source, **options):
    with manifest.list_corpus(CorpusSpec(source=str(source)), lambda _: None, **options) as listing:
        return sorted(listing.first_ids())


@pytest.fixture
def photos(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.jpg").write_bytes(b"bytes")
    return tmp_path


def test_a_dead_mount_is_named_after_its_time():
    assert not silent.answer.is_set()
    with pytest.raises(ReadError, match=r"^silent://photos has not responded for 0.3 s; is its storage available\?"):
        listed("silent://photos", hang_s=0.3)


class Entries:
    """A folder as `os.scandir` gives it, each of whose entries takes a while."""

    def __init__(self, entries, pause_s):
        self._entries, self._pause_s = entries, pause_s

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._entries.close()

    def __iter__(self):
        for entry in self._entries:
            yield entry
            time.sleep(self._pause_s)


@pytest.fixture
def slow_folder(photos, monkeypatch):
    for number in range(8):
        (photos / f"{number}.txt").touch()
    scandir = os.scandir

    def slow(pause_s):
        def scan(folder):
            return Entries(scandir(folder), pause_s) if folder == str(photos) else scandir(folder)

        monkeypatch.setattr(os, "scandir", scan)

    return slow


def test_entries_that_are_no_images_show_that_a_storage_answers(photos, slow_folder):
    slow_folder(0.15)
    assert listed(photos, hang_s=0.4) == ["a.jpg", "b.jpg", "c.jpg"]


def test_a_local_mount_that_dies_in_the_middle_of_a_folder_is_noticed(photos, slow_folder):
    slow_folder(30.0)
    with pytest.raises(ReadError, match=r"has not responded for 0.4 s"):
        listed(photos, hang_s=0.4)


@pytest.mark.parametrize(("source", "question"), [("memory:///bulk/*.jpg", "glob"), ("memory:///bulk", "ls")])
def test_one_question_that_lists_a_whole_bucket_may_take_long_and_not_for_ever(monkeypatch, source, question):
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bulk/a.jpg", b"bytes")
    ask = getattr(type(memory), question)

    def slow(*args, **options):
        time.sleep(0.9)
        return ask(*args, **options)

    monkeypatch.setattr(type(memory), question, slow)
    assert listed(source, hang_s=0.3) == ["a.jpg"]
    monkeypatch.setattr(walking, "BULK_S", 0.4)
    with pytest.raises(ReadError, match=r"has not responded for 0.4 s"):
        listed(source, hang_s=0.3)


def test_a_dead_storage_is_not_waited_for_in_bulk():
    with pytest.raises(ReadError, match=r"^silent://photos/\*.jpg has not responded for 0.3 s"):
        listed("silent://photos/*.jpg", hang_s=0.3)


def test_a_storage_that_fails_in_the_middle_is_listed_again_from_its_beginning(photos, monkeypatch):
    monkeypatch.setattr(retrying, "FIRST_PAUSE_S", 0.01)
    whole, failures = entries.listing, [ConnectionResetError("reset"), ConnectionResetError("reset")]

    def failing(corpus, limit, tally):
        entries = whole(corpus, limit, tally)
        yield next(entries)
        if failures:
            raise failures.pop()
        yield from entries

    monkeypatch.setattr(entries, "listing", failing)
    assert listed(photos) == ["a.jpg", "b.jpg", "c.jpg"]
    assert not failures


def test_a_storage_that_has_listed_nothing_is_not_waited_for(photos, monkeypatch):
    def refused(*_):
        raise ConnectionRefusedError("no credentials\nand a page more")

    monkeypatch.setattr(entries, "listing", refused)
    with pytest.raises(CorpusError, match=r"^corpus '.*' cannot be listed: no credentials$"):
        listed(photos)


def test_a_file_that_goes_while_its_folder_is_listed_is_not_in_the_list(photos, monkeypatch):
    scan = os.scandir

    def going(folder):
        entries = list(scan(folder))
        assert all(entry.is_file() for entry in entries)
        (photos / "b.jpg").unlink(missing_ok=True)

        class Folder:
            def __enter__(self):
                return iter(entries)

            def __exit__(self, *_):
                return None

        return Folder()

    monkeypatch.setattr(os, "scandir", going)
    assert listed(photos) == ["a.jpg", "c.jpg"]
