"""Corpora whose storage fails, falls silent or changes while it is listed: waited for, or one line."""

import os

import pytest

from tests.support import silent
from workers import retrying
from workers.corpus import manifest, sources
from workers.errors import CorpusError, ReadError
from workers.spec import CorpusSpec


def listed(source, **options):
    with manifest.listed(CorpusSpec(source=str(source)), lambda _: None, **options) as listing:
        return sorted(listing.some_ids())


@pytest.fixture
def photos(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.jpg").write_bytes(b"bytes")
    return tmp_path


def test_a_dead_mount_is_named_after_its_time():
    assert not silent.answer.is_set()
    with pytest.raises(ReadError, match=r"^silent://photos has not answered for 0.3 s; is its storage alive\?"):
        listed("silent://photos", hang_s=0.3)


def test_a_storage_that_fails_in_the_middle_is_listed_again_from_its_beginning(photos, monkeypatch):
    monkeypatch.setattr(retrying, "FIRST_PAUSE_S", 0.01)
    whole, failures = sources.listing, [ConnectionResetError("reset"), ConnectionResetError("reset")]

    def failing(corpus):
        entries = whole(corpus)
        yield next(entries)
        if failures:
            raise failures.pop()
        yield from entries

    monkeypatch.setattr(sources, "listing", failing)
    assert listed(photos) == ["a.jpg", "b.jpg", "c.jpg"]
    assert not failures


def test_a_storage_that_has_listed_nothing_is_not_waited_for(photos, monkeypatch):
    def refused(_):
        raise ConnectionRefusedError("no credentials\nand a page more")

    monkeypatch.setattr(sources, "listing", refused)
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
