"""Batches on a fixed grid, rejects in their places, decoders that hang or die."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support import dicoms, hanging, silent
from workers.core.preprocess import Preprocessing
from workers.corpus import isolate, manifest, reader
from workers.corpus.budget import Budget
from workers.corpus.isolate import Verdict
from workers.corpus.pixels import Claim
from workers.errors import DecoderHang, ReadError, Reason, Rejected, StaleImage
from workers.spec.parts import Interpolation, LimitsSpec
from workers.store.root import Root

LIMITS = LimitsSpec(bytes=100)


def rows(folder: Path, *contents: bytes, removed: tuple[int, ...] = ()) -> list[manifest.Row]:
    found = []
    for index, data in enumerate(contents):
        file = folder / f"{index}.jpg"
        file.write_bytes(data)
        found.append(manifest.Row(index, file.name, str(file), len(data), "", None, None, index in removed, None))
    return found


def decode(data: bytes, limits: LimitsSpec, claim: object = None) -> np.ndarray:
    """A picture as tall as the number in the file; slow where the number is even, so that threads overtake."""
    del limits, claim
    if data == b"bad":
        raise Rejected(Reason.DAMAGED, "bad")
    time.sleep(0.02 * (int(data) % 2 == 0))
    return np.zeros((int(data), 1, 3), np.uint8)


def prepare(pixels: np.ndarray, *, size: tuple[int, int]) -> torch.Tensor:
    assert size == pixels.shape[:2]
    return torch.full((3, 2, 2), len(pixels), dtype=torch.uint8)


@pytest.mark.parametrize("threads", [1, 4])
def test_batches_lie_on_the_grid_of_the_rows_and_not_of_what_could_be_read(tmp_path, threads):
    listed = rows(tmp_path, b"10", b"bad", b"12", b"13", b"14", b"15", b"x" * 101, b"bad", b"18", removed=(4,))
    options = reader.ReadOptions(LIMITS, threads=threads, ahead=3, decode=decode)
    batches = list(reader.batches(listed, 3, prepare, options))
    assert [[p.record.image_index for p in batch.pictures] for batch in batches] == [[0, 2], [3, 5], [8]]
    assert [[(r.image_index, r.reason) for r in batch.rejects] for batch in batches] == [
        [(1, "damaged")], [], [(6, "too_many_bytes"), (7, "damaged")]
    ]  # fmt: skip
    assert batches[1].pixels()[:, 0, 0, 0].tolist() == [13, 15]
    assert batches[0].pictures[1].record.height == 12


def test_a_file_whose_name_hides_what_it_needs_is_rejected_and_each_image_names_its_decoder(tmp_path):
    shades = np.arange(256, dtype=np.uint8).reshape(16, 16)
    files = {"0.dcm": dicoms.grey(shades), "1.png": dicoms.grey(shades), "2.png": png(shades)}
    listed = []
    for index, (name, data) in enumerate(files.items()):
        (tmp_path / name).write_bytes(data)
        listed.append(manifest.Row(index, name, str(tmp_path / name), len(data), "", None, None, False, None))
    [batch] = reader.batches(listed, 3, prepare, reader.ReadOptions(LimitsSpec()))
    assert [(reject.image_index, reject.reason) for reject in batch.rejects] == [(1, "bad_name")]
    assert [record.decoder.split()[0] for record in batch.records] == ["pydicom", "pillow"]


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_file_with_a_verdict_is_not_touched(tmp_path):
    listed = rows(tmp_path, b"10", b"11")
    (tmp_path / "1.jpg").unlink()
    options = reader.ReadOptions(LIMITS, decode=decode, verdicts={1: Verdict(Reason.DECODER_CRASH, "signal 11")})
    [batch] = reader.batches(listed, 4, prepare, options)
    assert [(r.image_index, r.reason, r.detail) for r in batch.rejects] == [(1, "decoder_crash", "signal 11")]


def test_a_decoder_that_hangs_is_told_and_not_waited_for(tmp_path):
    def slow(data: bytes, limits: LimitsSpec, claim: object) -> np.ndarray:
        time.sleep(3 if data == b"11" else 0)
        return decode(data, limits, claim)

    options = reader.ReadOptions(LIMITS, threads=2, hang_s=0.3, decode=slow)
    started = time.monotonic()
    with pytest.raises(DecoderHang, match="image 1:"):
        list(reader.batches(rows(tmp_path, b"10", b"11", b"12"), 1, prepare, options))
    assert time.monotonic() - started < 2.5


def test_a_verdict_is_remembered_until_its_file_is_deleted_or_the_image_changes(tmp_path):
    root, (row, other) = Root(str(tmp_path / "root")), rows(tmp_path, b"1", b"2")
    verdict = Verdict(Reason.DECODER_HANG, "slow")
    isolate.write_verdict(root, row, verdict)
    names = root.files("verdicts")
    assert isolate.read_verdicts(root, [row, other], names) == {0: verdict}
    changed = manifest.Row(**{**vars(row), "etag": "new"})
    assert isolate.read_verdicts(root, [changed], names) == {}
    root.delete(f"verdicts/{next(iter(names))}")
    assert isolate.read_verdicts(root, [row], root.files("verdicts")) == {}


def test_a_decoder_that_gets_little_of_a_cpu_does_not_hang(tmp_path):
    def starved(data: bytes, limits: LimitsSpec, claim: object) -> np.ndarray:
        hanging.slow_but_at_work(b"1.0", limits)
        return decode(data, limits, claim)

    options = reader.ReadOptions(LIMITS, hang_s=0.4, decode=starved)
    [batch] = reader.batches(rows(tmp_path, b"11"), 1, prepare, options)
    assert len(batch.pictures) == 1


STOPPED = """
import sys, time
from pathlib import Path
import numpy as np, torch
from workers.corpus import manifest, reader
from workers.spec.parts import LimitsSpec

def decode(data, limits, claim):
    print("decoding", flush=True)
    for _ in range(8):
        time.sleep(0.05)
    return np.zeros((2, 2, 3), np.uint8)

row = manifest.Row(0, "0.jpg", sys.argv[1], 1, "", None, None, False, None)
options = reader.ReadOptions(LimitsSpec(), hang_s=2.0, decode=decode)
[batch] = reader.batches([row], 1, lambda pixels, size: torch.zeros(3, 2, 2, dtype=torch.uint8), options)
print(len(batch.pictures), flush=True)
"""


def test_a_process_that_was_stopped_does_not_take_its_decoder_for_hanging(tmp_path):
    (tmp_path / "0.jpg").write_bytes(b"1")
    command = [sys.executable, "-c", STOPPED, str(tmp_path / "0.jpg")]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "decoding\n"
    os.kill(child.pid, signal.SIGSTOP)
    time.sleep(3)
    os.kill(child.pid, signal.SIGCONT)
    out, err = child.communicate(timeout=60)
    assert out == "1\n", err


def test_a_read_that_never_returns_names_its_file_and_ends(tmp_path):
    listed = rows(tmp_path, b"10", b"11")
    dead = manifest.Row(**{**vars(listed[1]), "uri": "silent://1.jpg"})
    assert callable(silent.SilentFileSystem)
    options = reader.ReadOptions(LIMITS, threads=2, read_hang_s=0.3, decode=decode)
    started = time.monotonic()
    with pytest.raises(ReadError, match=r"silent://1.jpg has not responded for 0.3\d* s; .* resumes the run"):
        list(reader.batches([listed[0], dead], 1, prepare, options))
    assert time.monotonic() - started < 3


def test_a_stuck_image_is_noticed_although_the_first_one_waits_for_its_memory(tmp_path):
    """The second holds all of the memory that the first one needs, and never gives it back."""
    decoding = threading.Event()

    def stuck(data: bytes, limits: LimitsSpec, claim: Claim) -> np.ndarray:
        if data == b"10":
            decoding.wait(10)
        claim(1 << 15, 1 << 15, 1 << 40)
        if data == b"11":
            decoding.set()
            silent.answer.wait(20)
        return decode(data, limits, claim)

    options = reader.ReadOptions(LIMITS, threads=2, hang_s=0.3, decode=stuck)
    with pytest.raises(DecoderHang, match="image 1:"):
        list(reader.batches(rows(tmp_path, b"10", b"11"), 1, prepare, options))


@pytest.mark.parametrize("change", ["gone", "rewritten", "fifo"])
def test_a_file_that_is_not_the_listed_one_is_stale_and_never_opened(tmp_path, change):
    listed = rows(tmp_path, b"10", b"11")
    path = tmp_path / "1.jpg"
    about = path.stat()
    listed[1] = manifest.Row(**{**vars(listed[1]), "etag": f"{about.st_mtime_ns}:{about.st_ctime_ns}"})
    path.unlink()
    if change == "rewritten":
        path.write_bytes(b"12")
    if change == "fifo":
        os.mkfifo(path)
    with pytest.raises(StaleImage, match="image 1:") as caught:
        list(reader.batches(listed, 1, prepare, reader.ReadOptions(LIMITS, decode=decode)))
    assert caught.value.reason == ("vanished" if change == "gone" else "changed")
    assert caught.value.image_index == 1


@pytest.mark.parametrize("threads", [1, 4])
def test_pixels_in_flight_are_bounded_in_bytes_whatever_the_number_of_images(tmp_path, monkeypatch, threads):
    monkeypatch.setattr(reader, "PIXELS_BYTES", 1000)
    held, most, lock = 0, 0, threading.Lock()

    def counted(data: bytes, limits: LimitsSpec, claim: Claim) -> np.ndarray:
        nonlocal held, most
        size = 400 if data != b"19" else 5000  # the last one is larger than all: it runs alone
        claim(1, 1, size)
        with lock:
            held += size
            most = max(most, held)
            assert held <= 1000 or held == 5000
        pixels = decode(data, limits, claim)
        with lock:
            held -= size
        return pixels

    listed = rows(tmp_path, *[str(number).encode() for number in range(10, 20)])
    options = reader.ReadOptions(LIMITS, threads=threads, decode=counted)
    assert sum(len(batch.pictures) for batch in reader.batches(listed, 3, prepare, options)) == 10
    assert most == 5000


def test_a_preview_is_made_where_the_pixels_are_and_the_pixels_are_dropped(tmp_path):
    options = reader.ReadOptions(LIMITS, decode=decode, preview=lambda pixels: f"{len(pixels)} rows".encode())
    [batch] = reader.batches(rows(tmp_path, b"10", b"bad", b"12"), 3, prepare, options)
    assert [picture.preview for picture in batch.pictures] == [b"10 rows", b"12 rows"]


def test_a_models_input_does_not_keep_the_resized_image_that_it_was_cut_from():
    preprocessing = Preprocessing(16, 16, (0.5,) * 3, (0.5,) * 3, Interpolation.BILINEAR)
    long = np.random.default_rng(0).integers(0, 256, (32, 5000, 3), dtype=np.uint8)
    prepared = preprocessing.prepare(long, 10**6)
    assert prepared.untyped_storage().nbytes() == 3 * 16 * 16
    assert preprocessing.prepare_bytes(32, 5000) >= 3 * 16 * 2500


def test_fewer_images_are_read_ahead_where_the_models_input_is_large():
    assert reader.ahead(32, 3 * 224**2) == 64
    assert reader.ahead(4096, 3 * 224**2) * 3 * 224**2 <= reader.AHEAD_BYTES


def test_memory_is_lent_in_the_order_in_which_it_is_asked_for():
    budget, order = Budget(10), []

    def take(size: int) -> None:
        with budget.reserve(size):
            order.append(size)
            time.sleep(0.02)

    with budget.reserve(8):
        threads = []
        for size in (9, 3, 1, 99):  # 1 would fit at once, but others were there first
            threads.append(threading.Thread(target=take, args=(size,)))
            threads[-1].start()
            time.sleep(0.02)
    for thread in threads:
        thread.join()
    assert order == [9, 3, 1, 99]
