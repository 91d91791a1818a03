"""Storage of results: what is written appears whole, exclusively where asked, and nothing stays behind a failure."""

import multiprocessing
import os
import pickle
import signal
import time
import uuid
from pathlib import Path
from threading import Thread

import pytest

from workers.errors import RootError
from workers.store.root import Root


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
        with pytest.raises(OSError, match="No space"):
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
    with pytest.raises(OSError, match="409"):
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
