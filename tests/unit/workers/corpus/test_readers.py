"""Reading in processes: the same batches as in threads; readers that crash, hang or lose their user."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from tests.support import silent
from tests.unit.workers.corpus.test_reader import prepare, rows
from workers.corpus import reader, readers
from workers.corpus.batch import Batch
from workers.corpus.budget import SharedBudget
from workers.corpus.isolate import Verdict
from workers.corpus.readers import Readers
from workers.errors import ReaderLost, ReadError, Reason, Rejected, StaleImage
from workers.spec.parts import LimitsSpec

LIMITS = LimitsSpec(bytes=100)
INPUT_BYTES = 3 * 2 * 2


def decode(data: bytes, limits: LimitsSpec, claim: object = None) -> np.ndarray:
    """A picture as tall as the number in the file, unless the file crashes or hangs this decoder."""
    del limits, claim
    if data == b"bad":
        raise Rejected(Reason.DAMAGED, "bad")
    if data == b"crash":
        signal.raise_signal(signal.SIGSEGV)
    if data == b"sleep":
        time.sleep(60)
    if data == b"block":
        sum(range(10**12))  # without ever giving up the GIL
    return np.zeros((int(data), 1, 3), np.uint8)


def preview(pixels: np.ndarray) -> bytes:
    return f"{len(pixels)} rows".encode()


OPTIONS = reader.ReadOptions(LIMITS, hang_s=1.0, decode=decode)


def children() -> set[int]:
    return {process.pid for process in multiprocessing.active_children()}


@pytest.fixture(scope="module")
def strangers() -> set[int]:
    """Children that tests of other files left running."""
    return children()


@pytest.fixture(scope="module")
def two(strangers):
    """Readers that start after `strangers` are known."""
    del strangers
    with closing(Readers(2)) as processes:
        yield processes


def read(processes: Readers, listed, options: reader.ReadOptions = OPTIONS, size: int = 3) -> list[Batch]:
    return list(processes.batches(listed, size, INPUT_BYTES, prepare, options))


@pytest.mark.parametrize("free", [1 << 40, 0], ids=["shared memory", "no shared memory"])
def test_processes_give_the_batches_that_threads_give(two, tmp_path, monkeypatch, free):
    monkeypatch.setattr(readers, "_free_shared_bytes", lambda: free)
    contents = [b"10", b"bad", b"12", b"13", b"14", b"15", b"x" * 101, b"bad", b"18", b"bad", b"19", *[b"20"] * 40]
    listed = rows(tmp_path, *contents, removed=(4,))
    options = replace(OPTIONS, preview=preview, verdicts={10: Verdict(Reason.DECODER_HANG, "slow")})
    expected = list(reader.batches(listed, 3, prepare, options))
    batches = read(two, listed, options)
    assert [batch.records for batch in batches] == [batch.records for batch in expected]
    assert [batch.rejects for batch in batches] == [batch.rejects for batch in expected]
    for batch, same in zip(batches, expected, strict=True):
        assert [picture.preview for picture in batch.pictures] == [picture.preview for picture in same.pictures]
        if batch.pictures:
            assert torch.equal(batch.pixels(), same.pixels())
            assert all(map(torch.equal, *([picture.prepared for picture in each.pictures] for each in (batch, same))))


def test_a_batch_is_copied_if_shared_memory_is_full(monkeypatch):
    def is_full(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("unable to allocate shared memory")

    task = readers._Task((), prepare, OPTIONS, shared=True)
    pixels = torch.arange(12, dtype=torch.uint8).reshape(1, 3, 2, 2)
    shared = task._share(pixels.clone())
    assert isinstance(shared, torch.Tensor) and shared.is_shared()
    monkeypatch.setattr(torch.Tensor, "share_memory_", is_full)
    copied = task._share(pixels)
    assert isinstance(copied, np.ndarray) and (copied == pixels.numpy()).all()


@pytest.mark.parametrize(
    ("deadly", "message"),
    [
        (b"crash", "ended unexpectedly"),
        (b"sleep", "image 1: the decoder did not return in time"),
        (b"block", "not responded for 5 s"),
    ],
)
def test_a_decoder_that_crashes_or_hangs_costs_its_process_and_the_next_images_are_read(
    two, strangers, tmp_path, monkeypatch, deadly, message
):
    read(two, rows(tmp_path, b"10", b"11"), size=1)
    monkeypatch.setattr(readers, "SILENCE_S", 5.0)
    listed = rows(tmp_path, b"10", deadly, *[b"12"] * 6)
    before = children() - strangers
    with pytest.raises(ReaderLost, match=message):
        read(two, listed, size=1)
    monkeypatch.undo()
    [batch] = read(two, [listed[0], listed[2]])
    assert len(batch.pictures) == 2
    until = time.monotonic() + 10
    while before & children() and time.monotonic() < until:
        time.sleep(0.05)
    assert not before & children()


def test_a_hanging_decoder_is_noticed_although_an_earlier_batch_waits_for_its_memory(two, tmp_path):
    with pytest.raises(ReaderLost, match="image 1: "):
        list(two.batches(rows(tmp_path, b"10", b"11"), 1, INPUT_BYTES, prepare, replace(OPTIONS, decode=greedy)))


def greedy(data: bytes, limits: LimitsSpec, claim) -> np.ndarray:
    """The first image waits for the memory that the second one keeps."""
    if data == b"10":
        time.sleep(0.5)
    claim(1 << 15, 1 << 15, 1 << 40)
    if data == b"11":
        time.sleep(60)
    return decode(data, limits)


def test_a_decoder_that_blocks_its_process_is_noticed_although_another_waits_for_its_memory(two, tmp_path, monkeypatch):
    read(two, rows(tmp_path, b"10", b"11"), size=1)
    monkeypatch.setattr(readers, "SILENCE_S", 3.0)
    with pytest.raises(ReaderLost, match="not responded for 3 s"):
        list(two.batches(rows(tmp_path, b"10", b"11"), 1, INPUT_BYTES, prepare, replace(OPTIONS, decode=blocking)))


def blocking(data: bytes, limits: LimitsSpec, claim) -> np.ndarray:
    """The first image waits for the memory of the second one, which never gives up the GIL."""
    if data == b"10":
        time.sleep(0.5)
    claim(1 << 15, 1 << 15, 1 << 40)
    return decode(b"block" if data == b"11" else data, limits)


def test_a_dead_storage_of_a_later_image_is_noticed_although_the_first_one_is_being_read(two, tmp_path):
    assert callable(silent.SilentFileSystem)
    listed = rows(tmp_path, b"10", b"11")
    listed[1] = replace(listed[1], uri="silent://1.jpg")
    started = time.monotonic()
    with pytest.raises(ReadError, match=r"silent://1.jpg has not responded for 1 s"):
        list(
            two.batches(listed, 1, INPUT_BYTES, prepare, replace(OPTIONS, decode=lasting, read_hang_s=1.0, hang_s=60.0))
        )
    assert time.monotonic() - started < 20


def lasting(data: bytes, limits: LimitsSpec, claim) -> np.ndarray:
    time.sleep(30)
    return decode(data, limits, claim)


def test_readers_with_batches_that_nobody_watches_are_replaced(two, tmp_path):
    listed = rows(tmp_path, b"10", *[b"sleep"] * 5)
    assert len(next(iter(two.batches(listed, 1, INPUT_BYTES, prepare, replace(OPTIONS, hang_s=60.0)))).pictures) == 1
    started = time.monotonic()
    assert len(read(two, listed[:1])) == 1 and time.monotonic() - started < 30


def test_slow_images_of_one_batch_are_no_hang(two, tmp_path):
    listed = rows(tmp_path, *[b"10"] * 4)
    [batch] = read(two, listed, replace(OPTIONS, decode=slow), size=4)
    assert len(batch.pictures) == 4


def slow(data: bytes, limits: LimitsSpec, claim: object) -> np.ndarray:
    time.sleep(0.5)
    return decode(data, limits, claim)


def test_a_stale_file_is_reported_as_by_threads_and_ends_no_process(two, tmp_path):
    listed = rows(tmp_path, b"10", b"11")
    read(two, listed)
    processes = list(two._context.processes)
    (tmp_path / "1.jpg").unlink()
    with pytest.raises(StaleImage, match="image 1:") as caught:
        read(two, listed)
    assert (caught.value.image_index, caught.value.reason) == (1, "vanished")
    assert two._context.processes == processes and all(process.is_alive() for process in processes)


def test_few_batches_are_ahead_of_a_slow_caller(two, tmp_path, monkeypatch):
    """Two per process, or as many as fit into the memory for them, but one per process at least."""
    listed = rows(tmp_path, *[b"10"] * 60)
    for most, expected in ((1 << 30, 4), (3 * 3 * INPUT_BYTES, 3), (1, 2)):
        monkeypatch.setattr(readers, "AHEAD_BYTES", most)
        submitted: list[object] = []
        monkeypatch.setattr(
            Readers, "_submit", lambda self, task, kept=submitted: kept.append(task) or real(self, task)
        )
        next(iter(two.batches(listed, 3, INPUT_BYTES, prepare, OPTIONS)))
        assert len(submitted) == expected + 1


real = Readers._submit


def _hold(budget: SharedBudget, held, most, times: int) -> None:
    for number in range(times):
        parts = 1 + (number + os.getpid()) % 4
        with budget.reserve(10 * parts):
            with held.get_lock():
                held.value += parts
                most.value = max(most.value, held.value)
            with held.get_lock():
                held.value -= parts


def test_competing_processes_never_hold_more_than_a_budget_has():
    context = multiprocessing.get_context("forkserver")
    budget, held, most = SharedBudget(context, 60, parts=6), context.Value("i", 0), context.Value("i", 0)
    users = [context.Process(target=_hold, args=(budget, held, most, 300)) for _ in range(4)]
    for user in users:
        user.start()
    for user in users:
        user.join(60)
    assert [user.exitcode for user in users] == [0] * 4
    assert 0 < most.value <= 6 and budget._free.get_value() == 6


def test_a_budget_of_processes_serves_large_requests_too_and_never_more_than_it_has():
    budget = SharedBudget(multiprocessing.get_context("spawn"), 100, parts=10)
    with budget.reserve(1), budget.reserve(90):
        assert not budget._free.acquire(block=False)
    with budget.reserve(10**9):
        assert not budget._free.acquire(block=False)
    with budget.reserve(11):
        assert budget._free.get_value() == 8
    assert budget._free.get_value() == 10


USER = """
import sys, time
import numpy as np, torch
from workers.corpus import manifest, reader
from workers.corpus.readers import Readers
from tests.unit.workers.corpus.test_readers import INPUT_BYTES, OPTIONS, prepare

if __name__ == "__main__":
    row = manifest.Row(0, "0.jpg", sys.argv[1], 2, "", None, None, False, None)
    processes = Readers(2)
    [batch] = processes.batches([row], 1, INPUT_BYTES, prepare, OPTIONS)
    print(len(batch.pictures), *[process.pid for process in processes._context.processes], flush=True)
    if sys.argv[2] == "waits":
        time.sleep(60)
"""


@pytest.mark.parametrize("end", ["killed", "exits"])
def test_processes_end_with_their_user(tmp_path, end):
    (tmp_path / "user.py").write_text(USER)
    (tmp_path / "0.jpg").write_bytes(b"10")
    command = [sys.executable, str(tmp_path / "user.py"), str(tmp_path / "0.jpg"), "waits" if end == "killed" else ""]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[4])}
    user = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    one, *pids = map(int, user.stdout.readline().split())
    assert one == 1 and pids
    if end == "killed":
        user.kill()
    assert (user.wait(20) == 0) == (end == "exits")
    user.stdout.close()
    until = time.monotonic() + 10
    while any(map(psutil.pid_exists, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(psutil.pid_exists, pids))
