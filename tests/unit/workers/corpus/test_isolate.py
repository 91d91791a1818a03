"""Who kills or hangs a decoder, which files are stale, and what is remembered of both."""

import os
import shutil
from multiprocessing import Pipe
from pathlib import Path

import fsspec
import pytest
import torch

from tests.support import hanging, silent
from workers.corpus import crew, entries, fetch, isolate, manifest, reader, trial
from workers.corpus.isolate import Verdict
from workers.corpus.pixels import PixelFormat
from workers.errors import ReadError, Reason, RunStopped
from workers.host.hangs import Limit
from workers.sources import single_files
from workers.spec.parts import CorpusSpec, LimitsSpec
from workers.store.root import Root

LIMITS = LimitsSpec(bytes=1000)


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def rows(folder: Path, *contents: bytes) -> list[manifest.Row]:
    """Files of these contents, listed."""
    for index, data in enumerate(contents):
        (folder / f"{index}.jpg").write_bytes(data)
    listed = sorted(entries.listing(CorpusSpec(source=str(folder))), key=lambda each: each.uri)
    return [
        manifest.Row(n, each.image_id, each.uri, each.bytes, each.etag, None, None, False, None)
        for n, each in enumerate(listed)
    ]


def test_culprits_are_found_alone_and_judged(folder):
    listed = rows(folder, b"1 good", b"7 hangs", b"2 good", b"8 dies", b"3 good")
    found = isolate.find_culprits(listed, LIMITS, 1.5, "tests.support.hanging:hang_at_seven")
    assert {index: verdict.reason for index, verdict in found.items()} == {1: "decoder_hang", 3: "decoder_crash"}
    assert "exit code 9" in found[3].detail and "1.5 s" in found[1].detail
    assert callable(hanging.hang_at_seven)


def test_culprits_are_looked_for_with_the_pixels_of_the_run(folder):
    listed, form = rows(folder, b"1"), PixelFormat(bands=(4, 3, 2))
    decoder = "tests.support.hanging:die_for_bands"
    assert isolate.find_culprits(listed, LIMITS, 5.0, decoder) == {}
    [verdict] = isolate.find_culprits(listed, LIMITS, 5.0, decoder, form=form).values()
    assert verdict.reason is Reason.DECODER_CRASH


def test_what_passes_the_second_time_alone_is_not_poison(folder, tmp_path):
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    listed = rows(folder, b"1 good", b"9" + str(deaths).encode(), b"2 good")
    assert isolate.find_culprits(listed, LIMITS, 5.0, "tests.support.hanging:die_the_first_time_alone") == {}
    assert len(list(deaths.iterdir())) == 2  # among others, and once alone


def test_nobody_is_blamed_for_being_killed_from_outside(folder):
    assert isolate.find_culprits(rows(folder, b"1"), LIMITS, 5.0, "tests.support.hanging:killed_from_outside") == {}


def test_a_kill_from_outside_does_not_end_the_search(folder):
    found = isolate.find_culprits(
        rows(folder, b"1", b"8 dies"), LIMITS, 5.0, "tests.support.hanging:killed_from_outside"
    )
    assert {index: verdict.reason for index, verdict in found.items()} == {1: "decoder_crash"}


def test_a_decoder_that_gets_little_of_a_cpu_does_not_hang(folder):
    assert isolate.find_culprits(rows(folder, b"2.0"), LIMITS, 0.8, "tests.support.hanging:slow_but_at_work") == {}


def test_a_read_that_hangs_is_not_blamed_on_the_decoder(folder):
    [row] = rows(folder, b"1")
    there = manifest.Row(**{**vars(row), "uri": "silent://0.jpg"})
    assert callable(silent.SilentFileSystem)
    with pytest.raises(ReadError, match=r"silent://0.jpg has not responded for 0.5 s; is its storage available\?"):
        isolate.find_culprits([there], LIMITS, 30.0, "tests.support.silent:LONGEST_S", read_hang_s=0.5)


def test_all_stale_files_of_a_shard_are_found_at_once(folder):
    listed = rows(folder, b"same", b"gone", b"size", b"text", b"pipe", b"dir", b"same")
    (folder / "1.jpg").unlink()
    (folder / "2.jpg").write_bytes(b"another size")
    (folder / "3.jpg").write_bytes(b"TEXT")
    for name, make in (("4.jpg", os.mkfifo), ("5.jpg", os.mkdir)):
        (folder / name).unlink()
        make(folder / name)
    found = isolate.find_stale(listed)
    assert {index: str(verdict.reason) for index, verdict in found.items()} == {
        1: "vanished", 2: "changed", 3: "changed", 4: "changed", 5: "changed"
    }  # fmt: skip


def test_a_whole_shard_that_is_gone_is_a_storage_that_is_gone(folder):
    listed = rows(folder, *[b"x"] * 8)
    for row in listed:
        Path(row.uri).unlink()
    (folder / "left.jpg").touch()
    with pytest.raises(ReadError, match=r"all 8 images .* are gone; is their storage mounted\?"):
        isolate.find_stale(listed)
    assert isolate.find_stale(listed[:1])[0].reason is Reason.VANISHED
    assert isolate.find_stale([]) == {}


@pytest.mark.parametrize("left", ["an empty folder", "nothing"])
def test_one_image_of_a_corpus_of_which_nothing_is_left_is_not_judged(folder, left):
    """Its storage is not mounted; shards of one image, and short ones, would become rejects."""
    (folder / "below").mkdir()
    listed = rows(folder / "below", b"1", b"2")
    [row, other] = [manifest.Row(**{**vars(row), "image_id": f"below/{row.image_id}"}) for row in listed]
    shutil.rmtree(folder / "below")
    if left == "nothing":
        folder.rmdir()
    with pytest.raises(ReadError, match=rf"^{row.uri} and its whole corpus are gone; is their storage mounted\?"):
        isolate.find_stale([row])
    folder.mkdir(exist_ok=True)
    (folder / "more.jpg").touch()
    assert isolate.find_stale([row, other])[0].reason is Reason.VANISHED


def test_an_object_of_a_bucket_that_is_gone_is_not_judged():
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/emptied/a.jpg", b"bytes")
    memory.pipe_file("/emptied/b.jpg", b"bytes")
    listed = sorted(entries.listing(CorpusSpec(source="memory:///emptied")), key=lambda each: each.uri)
    row, _ = (manifest.Row(n, e.image_id, e.uri, 5, e.etag, None, None, False, None) for n, e in enumerate(listed))
    memory.rm_file("/emptied/a.jpg")
    assert isolate.find_stale([row])[0].reason is Reason.VANISHED
    memory.rm("/emptied", recursive=True)
    with pytest.raises(ReadError, match=r"a.jpg and its whole corpus are gone"):
        isolate.find_stale([row])


def test_a_storage_that_is_silent_is_named_and_not_waited_for(folder):
    [row] = rows(folder, b"1")
    there = manifest.Row(**{**vars(row), "uri": "silent://0.jpg"})
    with pytest.raises(ReadError, match=r"silent://0.jpg has not responded for 0.3 s; .* resumes the run"):
        isolate.find_stale([there], read_hang_s=0.3)
    with pytest.raises(ReadError, match=r"silent://0.jpg has not responded for 0.3 s"):
        crew.wait_for_answer(lambda: fetch.first_byte("silent://0.jpg"), "silent://0.jpg", Limit(0.3))


def test_a_verdict_about_a_stale_file_goes_once_the_file_is_there_again_as_it_was(folder, tmp_path):
    root = Root(str(tmp_path / "root"))
    back, gone, other, poison = listed = rows(folder, b"back", b"gone", b"other", b"poison")
    for row in (back, gone, other):
        isolate.write_verdict(root, row, Verdict(Reason.VANISHED, "gone"))
    isolate.write_verdict(root, poison, Verdict(Reason.DECODER_CRASH, "signal 11"))
    (folder / "1.jpg").unlink()
    (folder / "2.jpg").write_bytes(b"other bytes")
    with manifest.list_corpus(CorpusSpec(source=str(folder)), lambda _: None) as listing:
        assert isolate.forget_stale(root, listing) == [back.uri]
        assert isolate.forget_stale(root, listing) == []
    assert sorted(isolate.read_verdicts(root, listed, root.files("verdicts"))) == [1, 2, 3]


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b"\xff", b'{"uri": "a", "reason": "bored", "detail": "none"}'])
@pytest.mark.parametrize("reason", [Reason.CHANGED, Reason.DECODER_CRASH])
def test_a_damaged_verdict_is_none_and_is_reported_once(folder, tmp_path, caplog, damage, reason):
    root, listed = Root(str(tmp_path / "root")), rows(folder, b"1", b"2")
    for row in listed:
        isolate.write_verdict(root, row, Verdict(reason, "why"))
    name = sorted(root.files("verdicts"))[0]
    root.put(f"verdicts/{name}", damage)
    for _ in range(2):
        assert len(isolate.read_verdicts(root, listed, root.files("verdicts"))) == 1
    with manifest.list_corpus(CorpusSpec(source=str(folder)), lambda _: None) as listing:
        assert len(isolate.forget_stale(root, listing)) == (reason is Reason.CHANGED)
    assert [record.getMessage() for record in caplog.records] == [
        f"{root.path('verdicts')}/{name} is damaged and ignored; delete it"
    ]


def test_a_verdict_that_another_run_forgets_between_its_listing_and_its_reading_is_none(folder, tmp_path, monkeypatch):
    root, [row] = Root(str(tmp_path / "root")), rows(folder, b"1")
    isolate.write_verdict(root, row, Verdict(Reason.VANISHED, "gone"))
    names = root.files("verdicts")
    for name in names:
        root.delete(f"verdicts/{name}")
    monkeypatch.setattr(Root, "files", lambda *_: names)
    assert isolate.read_verdicts(root, [row], root.files("verdicts")) == {}
    with manifest.list_corpus(CorpusSpec(source=str(folder)), lambda _: None) as listing:
        assert isolate.forget_stale(root, listing) == []


def test_only_verdicts_on_stale_files_are_read_to_forget_them(folder, tmp_path, monkeypatch):
    root, listed = Root(str(tmp_path / "root")), rows(folder, b"1", b"2", b"3")
    for row, reason in zip(listed, (Reason.DECODER_CRASH, Reason.DECODER_HANG, Reason.VANISHED), strict=True):
        isolate.write_verdict(root, row, Verdict(reason, "why"))
    read, asked = Root.read, []
    monkeypatch.setattr(Root, "read", lambda root, rel: asked.append(rel) or read(root, rel))
    with manifest.list_corpus(CorpusSpec(source=str(folder)), lambda _: None) as listing:
        assert isolate.forget_stale(root, listing) == [listed[2].uri]
    assert len(asked) == 1


class StoresOwn(Exception):
    """botocore's errors are not OSErrors."""


@pytest.mark.parametrize(
    ("seconds", "line"), [("0", "cannot be read: slow down"), ("0.3", "failed . times in . s: slow down")]
)
def test_images_are_waited_for_as_long_as_the_environment_says(folder, monkeypatch, seconds, line):
    [row] = rows(folder, b"bytes")

    def failing(*_: object) -> None:
        raise StoresOwn("slow down")

    monkeypatch.setenv("DECONVOY_STORE_PATIENCE_S", seconds)
    monkeypatch.setattr(single_files.SingleFiles, "read", failing)
    receiver, sender = Pipe(duplex=False)
    monkeypatch.setattr(single_files.SingleFiles, "staleness", failing)
    with pytest.raises(RunStopped, match=line):
        list(reader.batches([row], 1, lambda pixels, **_: torch.from_numpy(pixels), reader.ReadOptions(LIMITS)))
    with pytest.raises(RunStopped, match=line):
        isolate.find_stale([row])
    with pytest.raises(RunStopped, match=line):
        trial._read(row, 0, LIMITS, sender)
    receiver.close()
