"""Storage of results: what is written appears whole, exclusively where asked, and nothing stays behind a failure."""

import errno
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec import AbstractFileSystem

from service.query import catalog
from workers.errors import RootError, StoreError
from workers.host import retrying
from workers.store import files, local
from workers.store.local import Folder
from workers.store.root import Root, patient


@pytest.fixture(params=["path", "file://", "memory://"])
def root(request, tmp_path) -> Root:
    if request.param == "memory://":
        return Root(f"memory://{uuid.uuid4().hex}")
    return Root(f"{'file://' if request.param == 'file://' else ''}{tmp_path}/root")


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_what_is_put_is_read_back_listed_and_deleted(root):
    root.put("a/b.json", b"one")
    root.put("a/b.json", b"two!")
    root.put("a/c/d.json", b"")
    assert root.read("a/b.json") == b"two!"
    assert root.files("a") == {"b.json": 4}
    assert root.folders("a") == ["c"]
    assert root.exists("a/b.json")
    root.delete("a/b.json")
    root.delete("a/b.json")
    assert not root.exists("a/b.json")
    with pytest.raises(FileNotFoundError):
        root.read("a/b.json")


def test_a_folder_that_is_not_there_is_empty(root):
    assert root.files("nowhere") == {}
    assert root.folders("nowhere") == []


def test_an_open_file_can_be_read_from_any_place(root):
    root.put("a", b"0123456789")
    with root.open("a") as file:
        file.seek(6)
        assert file.read(3) == b"678"
        file.seek(1)
        assert file.read(1) == b"1"


def test_a_file_is_created_once(root):
    assert root.create("runs/x/manifest.json", b"first")
    assert not root.create("runs/x/manifest.json", b"second")
    assert root.read("runs/x/manifest.json") == b"first"


def test_a_local_file_is_moved_in_whole(root, tmp_path):
    local = tmp_path / "part.parquet"
    local.write_bytes(b"x" * 100_000)
    root.put_file(local, "tables/top/part.parquet")
    assert root.files("tables/top") == {"part.parquet": 100_000}
    assert not local.exists()


def test_a_root_travels_between_processes(root):
    root.put("a", b"1")
    assert pickle.loads(pickle.dumps(root)).read("a") == b"1"  # noqa: S301 - our own bytes


def test_a_relative_root_means_the_same_folder_in_another_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    travelling = pickle.dumps(Root("here"))
    Root("here").put("a", b"1")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert pickle.loads(travelling).read("a") == b"1"  # noqa: S301


def test_an_unknown_protocol_is_named():
    with pytest.raises(RootError, match="nosuch"):
        Root("nosuch://bucket")


def _race(url: str, number: int, barrier, won) -> None:
    root, mine = Root(url), bytes([number]) * 1_000_000
    for turn in range(5):
        barrier.wait()
        if root.create(f"runs/{turn}/manifest.json", mine):
            won.append((turn, number))


def test_of_eight_processes_that_create_a_file_one_wins_and_its_bytes_stand(tmp_path):
    context = multiprocessing.get_context("fork")
    with context.Manager() as manager:
        barrier, won = context.Barrier(8), manager.list()
        racers = [context.Process(target=_race, args=(str(tmp_path), n, barrier, won)) for n in range(8)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        winners = dict(won)
        assert len(won) == 5
    for turn in range(5):
        assert Root(str(tmp_path)).read(f"runs/{turn}/manifest.json") == bytes([winners[turn]]) * 1_000_000
        assert os.listdir(tmp_path / "runs" / str(turn)) == ["manifest.json"]


def test_a_reader_never_sees_half_a_file(tmp_path):
    root, sizes, writing = Root(str(tmp_path)), set(), True

    def read() -> None:
        while writing:
            if root.exists("a"):
                sizes.add(len(root.read("a")))

    reader = Thread(target=read)
    reader.start()
    for _ in range(20):
        root.put("a", b"x" * 3_000_000)
    writing = False
    reader.join()
    assert sizes == {3_000_000}


def test_a_file_is_synced_before_it_gets_its_name(tmp_path, monkeypatch):
    done: list[str] = []
    for name in ("fsync", "replace", "link"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (done.append(name), real(*args))[1])
    Root(str(tmp_path)).put("a", b"1")
    Root(str(tmp_path)).create("b", b"1")
    assert done == ["fsync", "replace", "fsync", "fsync", "link", "fsync"]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    root = Root(str(tmp_path))
    root.put("a", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for write in (root.put, root.create):
        with pytest.raises(StoreError, match=r"no space left on .* \([\d,.]+ MB free\) for \w+ing a; free some"):
            write("a", b"new")
    assert root.read("a") == b"old"
    assert everything(tmp_path) == ["a"]


def test_a_store_that_asks_to_try_again_is_tried_again(monkeypatch):
    root = Root(f"memory://{uuid.uuid4().hex}")
    real, conflicts = root.filesystem.open, [OSError("409"), OSError("409")]

    def busy(path: str, mode: str):
        if conflicts:
            raise conflicts.pop()
        return real(path, mode)

    monkeypatch.setattr(root.filesystem, "open", busy)
    assert root.create("a", b"1")
    conflicts += [OSError("409")] * 3
    with pytest.raises(StoreError, match=r"creating memory://.*/b failed: 409"):
        root.create("b", b"1")


def test_a_writable_root_is_left_empty(root):
    root.check_writable()
    assert root.files("") == {}


@pytest.mark.parametrize("below", ["file", "file/root", "file/a/b"])
def test_a_root_at_or_below_a_regular_file_is_refused(tmp_path, below):
    (tmp_path / "file").write_bytes(b"precious")
    with pytest.raises(RootError, match=f"{below}.* cannot be written: a regular file is in the way"):
        Root(f"{tmp_path}/{below}").check_writable()
    assert everything(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"precious"


def test_a_refused_root_leaves_no_folder_behind(tmp_path, monkeypatch):
    with pytest.raises(RootError, match="too long"):
        Root(f"{tmp_path}/new/{'x' * 300}").check_writable()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(RootError, match="No space"):
        Root(f"{tmp_path}/new/deep/er").check_writable()
    assert everything(tmp_path) == []


def test_an_outage_at_the_start_of_a_run_is_waited_for_and_then_no_wrong_usage(tmp_path, monkeypatch):
    monkeypatch.setattr(retrying, "FIRST_PAUSE_S", 0.001)
    root, refusals = Root(f"file://{tmp_path}/root", 0.5), [OSError(None, "An error occurred (503)")] * 3
    replace = os.replace
    monkeypatch.setattr(
        os, "replace", lambda *names: (_ for _ in ()).throw(refusals.pop()) if refusals else replace(*names)
    )
    root.check_writable()
    assert not refusals
    refusals += [OSError(None, "An error occurred (503)")] * 100_000
    with pytest.raises(
        StoreError, match=r"cannot be written: An error occurred \(503\); run the same command again later"
    ):
        root.check_writable()


def test_a_missing_bucket_is_wrong_usage_whatever_its_store_raised_before(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise FileNotFoundError("The specified bucket does not exist") from RuntimeError("NoSuchBucket")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(RootError, match="cannot be written"):
        Root(f"{tmp_path}/root", 5.0).check_writable()


def test_scratch_lies_below_a_local_root_and_is_removed(root):
    with root.scratch() as folder:
        (folder / "a").write_bytes(b"1")
        assert not root.is_local or folder.is_relative_to(root.path("tmp"))
    assert not folder.exists()


def _hold_scratch(url: str, ready) -> None:
    with Root(url).scratch() as folder:
        (folder / "part").write_bytes(b"x")
        ready.set()
        time.sleep(60)


def test_scratch_of_a_killed_process_is_swept_and_that_of_a_living_one_is_not(tmp_path):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    other = context.Process(target=_hold_scratch, args=(str(tmp_path), ready))
    other.start()
    ready.wait()
    theirs = next((tmp_path / "tmp").glob("*/part"))
    with Root(str(tmp_path)).scratch():
        assert theirs.exists()
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    assert theirs.exists()
    with Root(str(tmp_path)).scratch():
        assert not theirs.exists()


class Throttled(Exception):
    """Stands in for botocore's errors: it is neither OSError nor ValueError, and its constructor takes two arguments."""

    def __init__(self, code: str, _: dict) -> None:
        super().__init__(f"an error occurred ({code})")


def refusing(monkeypatch, root: Root, name: str, times: int, *, after: bool = False) -> list[str]:
    """A store whose operation fails some times; `after` it was done, where that is asked for. Gives its calls."""
    real, calls = getattr(root.filesystem, name), []

    def call(*arguments, **options):
        calls.append(name)
        if len(calls) > times:
            return real(*arguments, **options)
        if after:
            real(*arguments, **options)
        raise Throttled("503", {})

    monkeypatch.setattr(root.filesystem, name, call)
    monkeypatch.setattr(retrying, "FIRST_PAUSE_S", 0.001)
    return calls


def elsewhere(patience_s: float = 60) -> Root:
    return Root(f"memory://{uuid.uuid4().hex}", patience_s)


OPERATIONS = {
    "cat_file": lambda root, _: root.read("a"),
    "info": lambda root, _: root.exists("a"),
    "ls": lambda root, _: root.files(""),
    "pipe_file": lambda root, _: root.put("a", b"x"),
    "put_file": lambda root, file: root.put_file(file, "b"),
    "modified": lambda root, _: root.modified("a"),
    "rm_file": lambda root, _: root.delete("a"),
    "open": lambda root, _: root.open("a").read(),
    "cp_file": lambda root, _: root.move("a", "b"),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_waits_for_a_store_that_comes_back(name, monkeypatch, tmp_path):
    root, file = elsewhere(), tmp_path / "file"
    file.write_bytes(b"x")
    root.put("a", b"1")
    calls = refusing(monkeypatch, root, name, 6)
    OPERATIONS[name](root, file)
    assert len(calls) > 6


@pytest.mark.parametrize("name", OPERATIONS)
def test_without_patience_a_store_that_fails_is_one_line_at_once(name, monkeypatch, tmp_path):
    root, file = elsewhere(0), tmp_path / "file"
    file.write_bytes(b"x")
    root.put("a", b"1")
    calls = refusing(monkeypatch, root, name, 99)
    with pytest.raises(StoreError, match=r"^\w+ing( \w+)? memory://.* failed: an error occurred \(503\)$") as raised:
        OPERATIONS[name](root, file)
    assert len(calls) == 1
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)  # noqa: S301 - our own bytes


def test_a_read_that_fails_in_mid_file_goes_on_from_there(monkeypatch):
    root = elsewhere()
    root.put("a", b"0123456789")
    opened: list[tuple[Any, ...]] = []
    real = root.filesystem.open

    class Breaking:
        def __init__(self, file) -> None:
            self._file = file

        def __getattr__(self, name: str):
            return getattr(self._file, name)

        def read(self, size: int) -> bytes:
            if self._file.tell() == 4 and len(opened) < 4:
                raise Throttled("503", {})
            return self._file.read(min(size, 4))

    monkeypatch.setattr(root.filesystem, "open", lambda *args: opened.append(args) or Breaking(real(*args)))
    monkeypatch.setattr(retrying, "FIRST_PAUSE_S", 0.001)
    with root.open("a") as file:
        assert file.read() == b"0123456789"
    assert len(opened) == 4


def test_an_answer_of_a_store_is_not_taken_for_a_failure(root):
    root = Root(root.url, 60)
    for asking in (root.read, root.open, root.modified):
        with pytest.raises(FileNotFoundError):
            asking("nowhere")
    root.delete("nowhere")
    assert not root.exists("nowhere")


def test_patience_travels_with_a_root(root, monkeypatch):
    assert pickle.loads(pickle.dumps(Root(root.url, 7))).patience_s == 7  # noqa: S301 - our own bytes
    assert (Root(root.url).patience_s, patient(root.url).patience_s) == (0, retrying.PATIENCE_S)
    monkeypatch.setenv("DECONVOY_STORE_PATIENCE_S", "2.5")
    assert patient(root.url).patience_s == 2.5


@pytest.mark.parametrize("there", [b"mine", b"theirs"])
def test_of_a_creation_whose_answer_was_lost_the_bytes_that_are_there_decide(there, monkeypatch):
    root = elsewhere()
    real = root.filesystem.open
    lost = [True]

    def answering(path: str, mode: str, **options):
        if mode == "xb" and lost:
            lost.pop()
            root.put("a", there)
            raise Throttled("503", {})
        return real(path, mode, **options)

    monkeypatch.setattr(root.filesystem, "open", answering)
    assert root.create("a", b"mine") == (there == b"mine")
    assert not root.create("a", b"mine"), "nothing was lost this time"


def test_a_file_that_an_earlier_try_moved_is_there(tmp_path, monkeypatch):
    root, file = Root(str(tmp_path / "root"), 60), tmp_path / "file"
    file.write_bytes(b"x")
    real, failing = local.sync, [OSError(errno.EIO, "Input/output error")]

    def sync(path: Path) -> None:
        if path.is_dir() and failing:
            raise failing.pop()
        real(path)

    monkeypatch.setattr(local, "sync", sync)
    monkeypatch.setattr(retrying, "FIRST_PAUSE_S", 0.001)
    root.put_file(file, "tables/a")
    assert root.read("tables/a") == b"x" and not failing
    assert everything(tmp_path) == ["root", "root/tables", "root/tables/a"]


def test_a_file_from_another_disk_appears_whole(tmp_path, monkeypatch):
    root, file, real = Root(str(tmp_path / "root")), tmp_path / "file", os.replace

    def replace(source: Path, path: Path) -> None:
        if source == file:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, path)

    file.write_bytes(b"x")
    monkeypatch.setattr(os, "replace", replace)
    root.put_file(file, "a")
    assert root.read("a") == b"x"
    assert everything(tmp_path) == ["root", "root/a"]


def _no_links(*_: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def test_without_hard_links_one_of_eight_creators_wins_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", _no_links)
    test_of_eight_processes_that_create_a_file_one_wins_and_its_bytes_stand(tmp_path)


def test_a_root_that_can_create_nothing_exclusively_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", _no_links)
    monkeypatch.setattr(local, "_renameat2", lambda: None)
    with pytest.raises(
        RootError, match="cannot be written: the file system supports neither hard links nor exclusive renames"
    ):
        Root(str(tmp_path / "new")).check_writable()
    assert everything(tmp_path) == []


def test_a_root_that_vanishes_is_neither_empty_nor_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(retrying, "FIRST_PAUSE_S", 0.001)
    for patience_s, line in (
        (0, "failed: the root has vanished$"),
        (0.1, "the root has vanished; run the same command"),
    ):
        root = Root(str(tmp_path / "root"), patience_s)
        root.put("a", b"1")
        shutil.rmtree(tmp_path / "root")
        for asking in (partial(root.read, "a"), partial(root.files, "a"), partial(root.put, "a", b"2")):
            with pytest.raises(StoreError, match=line):
                asking()
        assert everything(tmp_path) == []


def test_a_root_that_comes_back_is_waited_for(tmp_path):
    root = Root(str(tmp_path / "root"), 60)
    root.put("a", b"1")
    (tmp_path / "root").rename(tmp_path / "away")
    back = Thread(target=lambda: (time.sleep(0.3), (tmp_path / "away").rename(tmp_path / "root")))
    back.start()
    assert root.read("a") == b"1"
    back.join()


def test_a_root_that_turned_read_only_is_one_line(tmp_path, monkeypatch):
    root = Root(str(tmp_path), 60)

    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "replace", read_only)
    with pytest.raises(
        StoreError, match=r"^writing .*/a failed: Read-only file system; the same command resumes the run$"
    ):
        root.put("a", b"1")


def test_a_disk_that_fills_up_under_scratch_is_one_line(root):
    with pytest.raises(StoreError, match=r"no space left on .* \([\d,.]+ MB free\) for .*; free some"), root.scratch():
        raise OSError(errno.ENOSPC, "No space left on device")


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)], capture_output=True).returncode:
        pytest.skip("this user or container may not mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_table_that_fills_the_disk_is_one_line_and_leaves_nothing(tmp_path):
    rows = pa.table({"noise": [os.urandom(50_000) for _ in range(60)]})
    with small_disk(tmp_path / "disk") as disk:
        root = Root(str(disk / "root"), 60)
        told = r"no space left on .* \([\d.]+ MB free\) for writing tmp; free some space; the same"
        with pytest.raises(StoreError, match=told), root.scratch() as scratch:
            pq.write_table(rows, scratch / "part.parquet", row_group_size=1)
        assert everything(disk) == ["root", "root/tmp"]


def test_a_disk_that_is_full_takes_nothing_half_and_goes_on_when_there_is_space(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        root = Root(str(disk / "root"), 60)
        root.put("a", b"1" * 1_500_000)
        for write in (root.put, root.create):
            with pytest.raises(
                StoreError, match=r"no space left on .* \(0\.\d MB free\) for \w+ing b; free some space; the same"
            ):
                write("b", b"2" * 1_500_000)
        assert everything(disk) == ["root", "root/a"]
        root.delete("a")
        assert root.create("b", b"2" * 1_500_000)


def test_a_moved_file_is_whole_in_its_place_and_nowhere_else(root):
    root.put("a", b"new")
    root.put("below/b", b"old")
    root.move("a", "below/b")
    assert root.read("below/b") == b"new" and not root.exists("a")
    with pytest.raises(FileNotFoundError):
        root.move("a", "below/b")
    assert root.read("below/b") == b"new"


def test_a_store_that_cannot_copy_is_read_and_written(monkeypatch):
    root = elsewhere()
    root.put("a", b"x")
    monkeypatch.setattr(root.filesystem, "cp_file", partial(AbstractFileSystem.cp_file, root.filesystem))
    root.move("a", "b")
    assert root.read("b") == b"x" and not root.exists("a")


@pytest.mark.parametrize("name", ["cp_file", "rm_file"])
@pytest.mark.parametrize("after", [False, True])
def test_a_move_that_failed_in_between_is_finished_by_the_next_try(name, after, monkeypatch):
    root = elsewhere()
    root.put("a", b"x")
    refusing(monkeypatch, root, name, 3, after=after)
    root.move("a", "b")
    assert root.read("b") == b"x" and not root.exists("a")


def test_a_local_move_whose_folder_was_not_synced_is_finished_by_the_next_try(tmp_path, monkeypatch):
    root, real, failing = Root(str(tmp_path), 60), local.sync, [OSError(errno.EIO, "Input/output error")]
    root.put("a", b"x")

    def sync(path: Path) -> None:
        if path.is_dir() and failing:
            raise failing.pop()
        real(path)

    monkeypatch.setattr(local, "sync", sync)
    monkeypatch.setattr(retrying, "FIRST_PAUSE_S", 0.001)
    root.move("a", "b")
    assert everything(tmp_path) == ["b"] and not failing


def test_a_move_in_a_root_that_vanished_is_refused(tmp_path):
    root = Root(str(tmp_path / "root"))
    root.put("a", b"x")
    root.read("a")
    (tmp_path / "root").rename(tmp_path / "gone")
    with pytest.raises(StoreError, match="the root has vanished"):
        root.move("a", "b")
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("depth", [None, 1, 2])
def test_all_files_below_a_folder_are_listed_as_deep_as_is_asked_for(depth, root):
    for rel in ("runs/a", "runs/runs/b", "runs/runs/runs/c", "other/d"):
        root.put(rel, b"x")
    below, every = root.below("runs", depth), ["runs/a", "runs/runs/b", "runs/runs/runs/c"]
    assert sorted(below) == sorted(every[:depth])
    assert {info["size"] for info in below.values()} == {1} and not root.below("nowhere")


def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(tmp_path, monkeypatch):
    root, real = Root(str(tmp_path)), os.scandir
    root.put("runs/one/manifest.json", b"x")

    def scandir(path):
        if str(path).endswith("one"):
            raise OSError(errno.EIO, "Input/output error")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(StoreError, match=f"listing {tmp_path}/runs/one failed: Input/output error"):
        files.stamps(root, "runs")
    with pytest.raises(StoreError):
        catalog.marks(root)


@pytest.mark.parametrize("elsewhere_too", [False, True])
def test_a_file_that_is_replaced_has_another_stamp(elsewhere_too, tmp_path):
    root = elsewhere() if elsewhere_too else Root(str(tmp_path))
    root.put("a", b"x")
    before = files.stamp(root, "a"), files.stamps(root, "")
    assert before == (files.stamp(root, "a"), files.stamps(root, ""))
    root.put("a", b"y")
    assert list(before[1]) == ["a"]
    assert files.stamp(root, "a") != before[0] and files.stamps(root, "") != before[1]


def test_a_file_that_is_read_whole_is_asked_for_in_large_pieces(monkeypatch):
    root, reads = elsewhere(), []
    root.put("a", b"x" * (20 << 20))
    ask = Root._ask
    monkeypatch.setattr(Root, "_ask", lambda *args: reads.append(args) or ask(*args))
    with root.open("a") as file:
        assert file.read(1) and len(file.read()) == (20 << 20) - 1
    assert len(reads) < 8


def test_a_root_with_a_null_character_is_refused():
    with pytest.raises(RootError, match="contains a null character"):
        Root("\0")


def test_a_root_that_another_thread_creates_while_one_looks_has_not_vanished(tmp_path):
    class Slow(type(tmp_path)):  # type: ignore[misc]
        """A path that is looked at, and found missing, while another thread creates the folder."""

        def stat(self, **more):
            self.__class__.stat = type(tmp_path).stat  # type: ignore[method-assign]
            tmp_path.joinpath("root").mkdir()
            folder.check()
            raise FileNotFoundError(more)

    folder = Folder(Slow(tmp_path / "root"))
    folder.check()
    folder.check()
    shutil.rmtree(tmp_path / "root")
    with pytest.raises(OSError, match="the root has vanished"):
        folder.check()
