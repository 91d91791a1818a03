"""Corpora of videos: every n-th frame, whatever was read before it, and damage that stays with one video."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import videos
from workers import formats
from workers.corpus import decode, fetch, manifest
from workers.corpus.manifest import Row
from workers.errors import CorpusError, Reason, Rejected
from workers.sources import video
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
    assert [row.image_id for row in rows] == [f"{number:06d}" for number in range(0, 60, 5)]
    for row in [*rows, *rows[::-3], rows[5]]:
        np.testing.assert_array_equal(pixels_of(row), expected[int(row.image_id)])


def test_frames_without_loss_are_the_pictures_that_were_written(tmp_path):
    place = videos.write(tmp_path / "a.mkv", "ffv1", FRAMES, "bgr0")
    for row in listed(tmp_path, place, every=20):
        np.testing.assert_array_equal(pixels_of(row), FRAMES[int(row.image_id)])


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


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", Reason.DAMAGED),
        (b"no video at all" * 100, Reason.DAMAGED),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nreal.mp4\n#EXT-X-ENDLIST\n", Reason.DAMAGED),
        (b"ffconcat version 1.0\nfile real.mp4\n", Reason.DAMAGED),
    ],
)
def test_a_file_that_is_no_video_is_one_reject_and_never_leads_to_another_file(tmp_path, content, reason):
    videos.write(tmp_path / "clips" / "real.mp4", "mpeg4", FRAMES[:3])
    (tmp_path / "clips" / "a.mp4").write_bytes(content)
    rows = listed(tmp_path, tmp_path / "clips")
    assert [(row.image_id, row.refused) for row in rows] == [("a.mp4/000000", reason), ("real.mp4/000000", None)]


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
    with pytest.raises(Rejected, match="frame 999 cannot be decoded") as caught:
        video.FrameReader(str(place))._ask(999, 1)
    assert caught.value.reason is Reason.DAMAGED


def test_a_changed_video_is_stale(tmp_path):
    place = videos.write(tmp_path / "a.mp4", "mpeg4", FRAMES)
    [row, *_] = listed(tmp_path, place)
    videos.write(place, "mpeg4", FRAMES[:30])
    assert fetch.staleness(row.uri, row.bytes, row.etag) is Reason.CHANGED


@pytest.fixture
def reader(tmp_path):
    return video.FrameReader(str(videos.write(tmp_path / "a.mp4", "mpeg4", FRAMES)))


def test_a_decoder_that_crashes_once_gets_another_process(reader):
    before = reader._ask(3, 1)
    os.kill(reader._process._process.pid, signal.SIGSEGV)
    assert reader._ask(3, 1) == before


def test_a_decoder_that_always_crashes_is_a_reject_and_the_next_video_is_read(reader, tmp_path, monkeypatch):
    monkeypatch.setattr(video.sys, "executable", "/bin/false")
    os.kill(reader._process._process.pid, signal.SIGSEGV)
    with pytest.raises(Rejected, match=r"the decoder ends its process \(exit code 1\)") as caught:
        reader._ask(3, 1)
    assert caught.value.reason is Reason.DECODER_CRASH
    monkeypatch.undo()
    del reader
    assert len(video.FrameReader(str(tmp_path / "a.mp4"))) == 60


def test_a_decoder_that_hangs_is_a_reject(reader, monkeypatch):
    monkeypatch.setattr(video, "HANG_S", 0.3)
    monkeypatch.setattr(video, "ATTEMPTS", 1)
    os.kill(reader._process._process.pid, signal.SIGSTOP)
    with pytest.raises(Rejected, match="has not answered") as caught:
        reader._ask(3, 1)
    assert caught.value.reason is Reason.DECODER_HANG


def test_a_process_that_was_killed_from_outside_blames_no_video(reader):
    before = reader._ask(3, 1)
    os.kill(reader._process._process.pid, signal.SIGKILL)
    with pytest.raises(OSError, match="was killed"):
        reader._ask(3, 1)
    assert reader._ask(3, 1) == before
