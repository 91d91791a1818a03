"""Corpora of videos: every n-th frame, whatever was read before it, and damage that stays with one video."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fsspec.implementations.local import LocalFileSystem

from tests.support import corpora, videos
from workers import formats
from workers.corpus import decode, fetch, manifest, reader
from workers.corpus.batch import PreparedImage, Reject
from workers.corpus.manifest import Row
from workers.errors import CorpusError, Reason, Rejected
from workers.sources import frames, video
from workers.sources.members import Members
from workers.sources.source import describe, nothing
from workers.sources.video import VIDEO
from workers.spec.parts import CorpusSpec, LimitsSpec
from workers.store.root import Root

FRAMES = videos.moving(60)


def listed(folder: Path, source: Path, **keys: Any) -> list[Row]:
    root = Root(str(folder / "root"))
    with manifest.list_corpus(CorpusSpec(source=str(source), **keys), lambda _: None) as listing:
        rel = listing.commit(root)
    return manifest.rows(root, rel, 0, manifest.count(root, rel))


def pixels_of(row: Row) -> np.ndarray:
    data = fetch.read(row.uri, row.bytes, row.etag)
    decode.require_fitting_name(data, row.image_id, row.uri)
    assert decode.decoder_of(data) == formats.version_of("av")
    return decode.decode(data, LimitsSpec())


def number_of(row: Row) -> int:
    """The number of a frame."""
    return int(row.image_id.rpartition("/")[2])


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {"bf": "2"}),
        ("a.mp4", "mpeg4", {}),
        ("a.mkv", "libx264", {"bf": "3"}),
        ("a.webm", "libvpx-vp9", {}),
        ("a.avi", "mpeg4", {"bf": "2"}),
        ("a.avi", "libx264", {"bf": "2"}),  # has wrong time stamps
    ],
)
def test_frames_are_those_of_decoding_from_the_start_in_any_order(tmp_path, name, codec, options):
    place = videos.write(tmp_path / name, codec, FRAMES, **options)
    expected = videos.read(place)
    rows = listed(tmp_path, place, every=5)
    assert [row.image_id for row in rows] == [f"{name}/{number:06d}" for number in range(0, 60, 5)]
    for row in [*rows, *rows[::-3], rows[5]]:
        np.testing.assert_array_equal(pixels_of(row), expected[number_of(row)])


def test_frames_without_loss_are_the_pictures_that_were_written(tmp_path):
    place = videos.write(tmp_path / "a.mkv", "ffv1", FRAMES, "bgr0")
    for row in listed(tmp_path, place, every=20):
        np.testing.assert_array_equal(pixels_of(row), FRAMES[number_of(row)])


def test_a_folder_of_videos_has_the_labels_of_its_folders_and_a_group_for_each_video(tmp_path):
    for name in ("YoYo/v_1.mp4", "YoYo/v_2.MP4", "Archery/v_1.mp4"):
        videos.write(tmp_path / "clips" / name, "mpeg4", FRAMES)
    (tmp_path / "clips" / "notes.txt").write_text("x")
    rows = listed(tmp_path, tmp_path / "clips")
    assert [(row.image_id, row.label, row.group) for row in rows] == [
        (f"{video}/{frame:06d}", video.partition("/")[0], video)
        for video in ("Archery/v_1.mp4", "YoYo/v_1.mp4", "YoYo/v_2.MP4")
        for frame in (0, 25, 50)
    ]
    assert [row.group for row in listed(tmp_path, tmp_path / "clips", group="folder")] == [row.group for row in rows]
    globbed = listed(tmp_path, tmp_path / "clips" / "**" / "*.mp4", every=30, label="none", group=r"^(\w)")
    assert [(row.image_id, row.label, row.group) for row in globbed] == [
        (f"{video}/{frame:06d}", None, video[0]) for video in ("Archery/v_1.mp4", "YoYo/v_1.mp4") for frame in (0, 30)
    ]


def test_videos_beside_images_are_passed_over(tmp_path):
    videos.write(tmp_path / "mixed" / "a.mp4", "mpeg4", FRAMES[:3])
    (tmp_path / "mixed" / "b.png").write_bytes(b"x")
    with manifest.list_corpus(CorpusSpec(source=str(tmp_path / "mixed")), lambda _: None) as listing:
        assert listing.images == 1 and listing.passed_over == {".mp4": 1}
    assert describe(listing.passed_over) == (
        "1 .mp4 (videos beside images are not read; select them with a glob such as '**/*.mp4')"
    )


def test_a_glob_passes_over_videos_unless_it_names_them(tmp_path):
    videos.write(tmp_path / "mixed" / "a.mp4", "mpeg4", FRAMES[:3])
    corpora.refuse(
        tmp_path / "mixed" / "*", r"contains no images \(skipped: 1 .mp4 \(videos beside images are not read"
    )
    (tmp_path / "mixed" / "b.png").write_bytes(b"x")
    with manifest.list_corpus(CorpusSpec(source=f"{tmp_path}/mixed/*"), lambda _: None) as listing:
        assert listing.images == 1 and listing.passed_over == {".mp4": 1}
    [row] = listed(tmp_path, tmp_path / "mixed" / "*.mp4")
    assert row.image_id == "a.mp4/000000"
    rows = listed(tmp_path, tmp_path / "mixed" / "*", extensions=[".mp4"])
    assert [row.image_id for row in rows] == ["a.mp4"]


def test_pictures_of_phones_are_turned_upright(tmp_path):
    place = videos.write(tmp_path / "a.mp4", "libx264", FRAMES[:2])
    videos.turn(place)
    [row, *_] = listed(tmp_path, place)
    np.testing.assert_array_equal(pixels_of(row), np.rot90(videos.read(place)[0], -1))


def test_the_version_of_av_is_in_the_name_of_a_result_and_on_every_node(tmp_path):
    [row] = listed(tmp_path, videos.write(tmp_path / "a.mp4", "mpeg4", FRAMES[:3]))
    assert formats.decoder_versions(row.image_id, row.uri) == (formats.version_of("av"),)
    assert formats.version_of("av") in formats.installed()
    assert formats.version_of("av") not in formats.decoder_versions("photo.jpg", "/photos/photo")


def test_without_av_a_video_is_one_line(tmp_path, monkeypatch):
    place = videos.write(tmp_path / "a.mp4", "mpeg4", FRAMES[:3])
    monkeypatch.setattr(formats, "version_of", lambda _: "")
    with pytest.raises(CorpusError, match=r"a.mp4' is a video, which needs av: pip install 'deconvoy\[video\]'"):
        listed(tmp_path, place)


def as_read(pixels: np.ndarray, *, size: tuple[int, int]) -> torch.Tensor:
    assert size == pixels.shape[:2]
    return torch.from_numpy(pixels)


def scanned(folder: Path, source: Path, **keys: Any) -> list[PreparedImage | Reject]:
    """What the actors make of the rows of a corpus."""
    options = reader.ReadOptions(LimitsSpec(), threads=3, ahead=16)
    found = list(reader.batches(iter(listed(folder, source, **keys)), 8, as_read, options))
    pictures = [picture for batch in found for picture in batch.pictures]
    return [*pictures, *(reject for batch in found for reject in batch.rejects)]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no video at all" * 100,
        b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nreal.mp4\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile real.mp4\n",
    ],
)
def test_a_file_that_is_no_video_is_one_reject_and_never_leads_to_another_file(tmp_path, content):
    videos.write(tmp_path / "clips" / "real.mp4", "mpeg4", FRAMES[:3])
    (tmp_path / "clips" / "a.mp4").write_bytes(content)
    picture, reject = scanned(tmp_path, tmp_path / "clips")
    assert isinstance(picture, PreparedImage) and picture.record.image_index == 1
    assert isinstance(reject, Reject)
    assert (reject.image_index, reject.reason, reject.bytes) == (0, Reason.DAMAGED if content else Reason.EMPTY, 0)
    assert reject.detail.startswith("Invalid " if content else "the file has no bytes")


def test_names_that_cannot_be_read_are_one_reject_each(tmp_path):
    videos.write(tmp_path / "clips" / "good.mp4", "mpeg4", FRAMES[:3])
    for name in (b"a::b.mp4", b"bad\xff.mp4"):
        (tmp_path / "clips" / os.fsdecode(name)).write_bytes((tmp_path / "clips" / "good.mp4").read_bytes())
    found = scanned(tmp_path, tmp_path / "clips")
    assert sum(isinstance(item, PreparedImage) for item in found) == 1
    assert [item.reason for item in found if isinstance(item, Reject)] == [Reason.BAD_NAME] * 2
    with pytest.raises(CorpusError, match="'::' in a name chains file systems"):
        listed(tmp_path, tmp_path / "clips" / "a*.mp4")
    with pytest.raises(CorpusError, match="its name is not UTF-8"):
        listed(tmp_path, tmp_path / "clips" / "bad*.mp4")


def test_frames_that_overlap_are_damage_however_many_a_small_file_names(tmp_path, monkeypatch):
    place = videos.write(tmp_path / "a.mp4", "mpeg4", FRAMES)
    assert len(frames.Video(str(place), nothing).index.times) == 60
    monkeypatch.setattr(LocalFileSystem, "size", lambda *_: place.stat().st_size // 2)
    with pytest.raises(Rejected, match="its frames overlap") as caught:
        frames.Video(str(place), nothing)
    assert caught.value.reason is Reason.DAMAGED


def test_what_is_not_the_fault_of_the_video_is_no_reject(tmp_path):
    with pytest.raises(OSError, match=r"FileNotFoundError: .*nowhere.mp4"):
        video.FrameReader(str(tmp_path / "nowhere.mp4"), "").count()
    place = videos.write(tmp_path / "a.mp4", "mpeg4", FRAMES[:3])
    [row] = listed(tmp_path, place)
    place.unlink()
    assert fetch.staleness(row.uri, row.bytes, row.etag) is Reason.VANISHED


def test_every_n_th_frame_is_asked_of_videos_only(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    with pytest.raises(CorpusError, match="--every is for videos; select videos with a glob"):
        listed(tmp_path, tmp_path / "photos", every=2)


def test_frames_larger_than_the_limit_of_files_are_read(tmp_path):
    place = videos.write(tmp_path / "a.mkv", "ffv1", videos.moving(1), "bgr0")
    [row] = listed(tmp_path, place)
    data = fetch.read(row.uri, row.bytes, row.etag)
    assert decode.decode(data, LimitsSpec(bytes=100)).shape == (videos.HEIGHT, videos.WIDTH, 3)
    with pytest.raises(Rejected, match="pixels"):
        decode.decode(data, LimitsSpec(pixels=100))


def test_of_a_video_that_was_cut_off_the_frames_that_are_left_are_read(tmp_path):
    whole = videos.write(tmp_path / "a.mkv", "libx264", FRAMES)
    (tmp_path / "b.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    rows = listed(tmp_path, tmp_path / "b.mkv", every=1)
    expected = videos.read(tmp_path / "b.mkv")
    assert 5 < len(rows) < 60
    read = 0
    for row, frame in zip(rows[: len(expected)], expected, strict=False):
        np.testing.assert_array_equal(pixels_of(row), frame)
        read += 1
    assert read >= len(rows) - 2


def test_a_frame_that_cannot_be_decoded_is_a_reject(tmp_path):
    place = videos.write(tmp_path / "a.mp4", "libx264", FRAMES)
    data = bytearray(place.read_bytes())
    start = data.index(b"mdat") + 4
    data[start : start + 1500] = bytes(1500)  # the first key frame
    place.write_bytes(data)
    found = scanned(tmp_path, place, every=1)
    rejects = [item for item in found if isinstance(item, Reject)]
    assert rejects and {item.reason for item in rejects} == {Reason.DAMAGED}
    assert any(isinstance(item, PreparedImage) for item in found)


def test_a_changed_video_is_stale(tmp_path):
    place = videos.write(tmp_path / "a.mp4", "mpeg4", FRAMES)
    [row, *_] = listed(tmp_path, place)
    before = pixels_of(row)
    videos.write(tmp_path / "new.mp4", "mpeg4", FRAMES[30:]).rename(place)
    assert fetch.staleness(row.uri, row.bytes, row.etag) is Reason.CHANGED
    forget_readers()
    [again, *_] = listed(tmp_path, place)
    assert not np.array_equal(pixels_of(again), before)  # though an idle process had the old file open


@pytest.fixture
def one(tmp_path) -> video.FrameReader:
    return video.FrameReader(str(videos.write(tmp_path / "a.mp4", "mpeg4", FRAMES)), "1")


def send(one: video.FrameReader, number: int) -> None:
    os.kill(one._process._process.pid, number)


def test_an_answer_that_nobody_received_is_not_that_to_the_next_question(one):
    expected = [one.ask(number, 1) for number in (3, 9)]

    def interrupt() -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        one.ask(3, 1, interrupt)
    assert one.ask(9, 1) == expected[1] != expected[0]


def test_a_decoder_that_crashes_once_gets_another_process(one):
    before = one.ask(3, 1)
    send(one, signal.SIGSEGV)
    assert one.ask(3, 1) == before


def test_a_decoder_that_always_crashes_is_a_reject_and_the_next_video_is_read(one, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    send(one, signal.SIGSEGV)
    with pytest.raises(Rejected, match=r"the decoder crashed \(exit code 1\)") as caught:
        one.ask(3, 1)
    assert caught.value.reason is Reason.DECODER_CRASH
    monkeypatch.undo()
    del one
    assert video.FrameReader(str(tmp_path / "a.mp4"), "1").count() == 60


def test_a_decoder_that_always_hangs_is_a_reject_before_the_storage_is_blamed(tmp_path, monkeypatch):
    place = videos.write(tmp_path / "a.mp4", "mpeg4", FRAMES[:3])
    rows = listed(tmp_path, place)
    assert fetch.read_limit(-1, fetch.READ_HANG_S) > video.ATTEMPTS * video.HANG_S
    monkeypatch.setattr(video, "HANG_S", 0.3)
    idle = video._IDLE
    idle.clear()
    monkeypatch.setattr(video, "_take_process", video._Process)
    monkeypatch.setattr(video._Process, "__init__", hanging)
    forget_readers()
    [batch] = reader.batches(iter(rows), 8, as_read, reader.ReadOptions(LimitsSpec(), 1, 2))
    [reject] = batch.rejects
    assert reject.reason is Reason.DECODER_HANG and "has not answered" in reject.detail
    forget_readers()
    idle.clear()


def hanging(self: video._Process) -> None:
    self._owes_answer = False
    self._connection, theirs = multiprocessing.Pipe()
    self._process = subprocess.Popen(["sleep", "60"])
    KEPT.append(theirs)


KEPT: list[Any] = []  # so that the pipe stays open


def forget_readers() -> None:
    assert isinstance(VIDEO.access, Members)
    VIDEO.access._readers.clear()


def test_long_work_restarts_the_limit_of_a_read(tmp_path):
    place = videos.write(tmp_path / "a.avi", "mpeg4", videos.moving(350))
    signs = []
    video.FrameReader(str(place), "").ask(340, 340, lambda: signs.append(1))
    assert len(signs) >= 7  # of 350 packets and 340 frames


def test_a_process_that_was_killed_from_outside_blames_no_video(one):
    before = one.ask(3, 1)
    send(one, signal.SIGKILL)
    with pytest.raises(OSError, match="was killed"):
        one.ask(3, 1)
    assert one.ask(3, 1) == before
