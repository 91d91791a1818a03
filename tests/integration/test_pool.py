"""The one loop over Ray futures, with workers that only do what they are told; logical GPUs stand for cards."""

import json
import os
import re
import signal
import threading
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
import ray

from jobs.ray.pool import Pool
from jobs.watch import LogWatcher, SilentWatcher
from tests.support.fakes import Obedient, Odd
from tests.support.heard import Heard
from workers.errors import LostActors, NodeError, OutOfMemory
from workers.host import log

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module", autouse=True)
def two_logical_gpus():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        ray.init(address="local", num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr("jobs.ray.seats.PAUSE_S", 0.1)
    monkeypatch.setattr("jobs.ray.seats.MEMORY_PAUSE_S", 0.1)


def none_is_poison(item, error):
    raise AssertionError(f"{item} is taken for poison: {error}")


def nobody_is_to_blame(item, error):
    del error
    return item


def run(pool: Pool, items, judge=none_is_poison) -> list:
    return list(pool.run(items, lambda _: None, judge))


def test_each_gpu_has_one_actor_that_sees_no_other_gpu():
    with Pool(2, "cuda", 1, SilentWatcher()) as pool:
        pool.start(Obedient)
        reports = run(pool, range(12))
    seen = {pid: {device for _, p, device in reports if p == pid} for _, pid, _ in reports}
    assert sorted(item for item, *_ in reports) == list(range(12))
    assert sorted(seen.values(), key=str) == [{"0"}, {"1"}]


def test_an_item_whose_actor_dies_is_run_again(tmp_path):
    with Pool(2, "cpu", 1, SilentWatcher()) as pool:
        pool.start(partial(Obedient, str(tmp_path)))
        reports = run(pool, ["a", "die 1", "b"])
    assert sorted(item for item, *_ in reports) == ["a", "b", "die 1"]


def test_an_item_that_kills_twice_is_poison_and_what_replaces_it_is_run():
    with Pool(2, "cpu", 1, SilentWatcher()) as pool:
        pool.start(Obedient)
        reports = run(pool, ["a", "die", "b"], judge=lambda item, _: f"instead of {item}")
    assert sorted(item for item, *_ in reports) == ["a", "b", "instead of die"]


@pytest.mark.parametrize("item", ["die 4", pytest.param("hang 3", marks=pytest.mark.slow)])
def test_an_item_whose_actors_were_unlucky_passes_in_the_end(tmp_path, item):
    with Pool(2, "cpu", 1, SilentWatcher()) as pool:
        pool.start(partial(Obedient, str(tmp_path)))
        reports = run(pool, ["a", item, "b"], judge=nobody_is_to_blame)
    assert sorted(item for item, *_ in reports) == sorted(["a", item, "b"])


def test_an_item_that_keeps_killing_stops_the_run_with_what_happened_and_the_way_out():
    with Pool(2, "cpu", 1, SilentWatcher()) as pool:
        pool.start(Obedient)
        with pytest.raises(LostActors, match=r"^die failed 6 times, and no single image .*resumes the run$"):
            run(pool, ["die"], judge=nobody_is_to_blame)


def test_a_stopped_actor_is_noticed_and_its_item_is_run_by_another(monkeypatch, tmp_path):
    monkeypatch.setattr("jobs.ray.pulse.SILENCE_S", 3.0)
    watch = Heard()
    with Pool(1, "cpu", 1, watch) as pool:
        pool.start(partial(Obedient, str(tmp_path)))
        reports = run(pool, ["a", "stop 1", "b"])
    assert sorted(item for item, *_ in reports) == ["a", "b", "stop 1"]
    [line] = watch.said
    assert re.fullmatch(r"lost an actor on here at shard stop 1 \(no response for \d+ s\); replacing it", line)


def test_an_actor_that_is_stopped_before_it_gets_ready_for_other_work_is_replaced(monkeypatch):
    monkeypatch.setattr("jobs.ray.pulse.SILENCE_S", 3.0)
    with Pool(1, "cpu", 1, SilentWatcher()) as pool:
        pool.start(Obedient)
        [(_, pid, _)] = run(pool, ["a"])
        os.kill(pid, signal.SIGSTOP)
        pool.start(Obedient)
        [(_, other, _)] = run(pool, ["b"])
    assert other != pid


@pytest.mark.slow
def test_a_stopped_actor_is_noticed_reported_and_replaced_within_a_minute(tmp_path):
    with Pool(1, "cpu", 1, SilentWatcher()) as pool:
        pool.start(partial(Obedient, str(tmp_path)))
        began = time.monotonic()
        assert [item for item, *_ in run(pool, ["stop 1"])] == ["stop 1"]
    assert time.monotonic() - began < 60


@pytest.mark.slow
def test_all_actors_stopped_for_forty_seconds_cost_time_alone(tmp_path):
    with Pool(2, "cpu", 1, SilentWatcher()) as pool:
        pool.start(partial(Obedient, str(tmp_path)))
        pids = {pid for _, pid, _ in run(pool, range(8))}
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        threading.Timer(40, lambda: [os.kill(pid, signal.SIGCONT) for pid in pids if psutil.pid_exists(pid)]).start()
        assert len(run(pool, range(8))) == 8


def test_a_slow_item_is_given_to_an_idle_actor_too_and_the_first_report_counts(monkeypatch, tmp_path):
    monkeypatch.setattr("jobs.ray.seats.TWIN_AFTER_S", 1.0)
    with Pool(2, "cpu", 1, SilentWatcher()) as pool:
        pool.start(partial(Obedient, str(tmp_path)))
        began = time.monotonic()
        reports = run(pool, ["sleep 1", *range(4)])
        assert time.monotonic() - began < 15
        assert sorted(str(item) for item, *_ in reports) == sorted(["sleep 1", *map(str, range(4))])
        pool.start(Obedient)  # the slow actor is replaced and not waited for
        assert len(run(pool, range(4))) == 4
    assert time.monotonic() - began < 25


def test_a_workers_error_arrives_as_it_was_raised():
    with Pool(1, "cpu", 1, SilentWatcher()) as pool:
        pool.start(Obedient)
        with pytest.raises(LostActors, match=r"^told to fail$"):
            run(pool, ["fail"])


def test_memory_that_was_short_for_a_while_costs_time_alone(tmp_path):
    with Pool(1, "cpu", 1, SilentWatcher()) as pool:
        pool.start(partial(Obedient, str(tmp_path)))
        assert [item for item, *_ in run(pool, ["memory 2"])] == ["memory 2"]


def test_memory_that_keeps_running_out_stops_the_run_and_says_how_much_there_was():
    with Pool(1, "cpu", 1, SilentWatcher()) as pool:
        pool.start(Obedient)
        with pytest.raises(OutOfMemory) as caught:
            run(pool, ["memory"])
    line = r"out of memory on here: this process used \d\.\d GB, and \d+\.\d of \d+\.\d GB were free"
    assert re.fullmatch(line, str(caught.value))


def test_actors_that_would_give_other_numbers_are_refused_by_name():
    with (
        Pool(2, "cpu", 1, SilentWatcher()) as pool,
        pytest.raises(NodeError, match=r"node node\d+ differs from .*device"),
    ):
        pool.start(Odd)


def test_room_that_comes_is_used_while_work_is_left(monkeypatch):
    monkeypatch.setattr("jobs.ray.pool.GROW_EVERY_S", 0.1)
    watch = Heard()
    pids: set[int] = set()

    def until_two_have_worked():
        for number in range(2000):
            if len(pids) == 2:
                return
            yield number

    with Pool(1, "cpu", 1, watch, available=lambda: 2 if pids else 1) as pool:
        pool.start(Obedient)
        for _, pid, _ in pool.run(until_two_have_worked(), lambda _: None, none_is_poison):
            pids.add(pid)
    assert len(pids) == 2 and watch.said == ["the cluster has grown: 2 actors"]


def test_an_actor_whose_node_has_gone_is_not_waited_for(monkeypatch):
    monkeypatch.setattr("jobs.ray.pool.GROW_EVERY_S", 0.1)
    monkeypatch.setattr("jobs.ray.pool.PATIENCE_S", 0.2)
    watch, there = Heard(), [2]
    with Pool(2, "cpu", 3, watch, available=lambda: there[0]) as pool:  # there are CPUs for one
        pool.start(Obedient)
        there[0] = 1
        assert sorted(item for item, *_ in run(pool, range(8))) == list(range(8))
        pool.start(Obedient)
        assert len(run(pool, range(2))) == 2
    assert watch.said[-1] == "the cluster has shrunk: 1 actor"


def test_lines_of_driver_and_actors_carry_the_run_and_attempt_and_what_they_are_about(tmp_path, capsys):
    hostile = "a\nfake.png"
    log.set_up("json")
    try:
        watch = LogWatcher(attempt=2)
        with Pool(1, "cpu", 1, watch, watch.begin("flowers")) as pool:
            pool.start(partial(Obedient, str(tmp_path)))
            run(pool, [hostile, "die 1"])
            with pytest.raises(LostActors):
                run(pool, ["fail"])
    finally:
        log.set_up("text")
    driver = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["message"].partition(" (")[0] for line in driver] == [
        f"shard {hostile} is done", "lost an actor on here at shard die 1", "shard die 1 is done",
    ]  # fmt: skip
    written = Path(ray._private.worker._global_node.get_logs_dir_path()).glob("worker-*.err")
    said = [line for path in written for line in path.read_text().splitlines() if '"run": "flowers"' in line]
    actors = [json.loads(line) for line in said]
    assert {line["item"] for line in driver} == {hostile, "die 1"}
    assert {line.get("item") for line in actors} == {None, hostile, "die 1", "fail"}
    for line in driver + actors:
        assert (line["run"], line["attempt"], line["node"]) == ("flowers", 2, "here") and len(line["node_id"]) == 56
    [failed] = [line for line in actors if line["level"] == "error"]
    assert failed["message"] == "LostActors: told to fail"
    assert [line["device"] for line in actors if line["message"] == "Obedient is ready"] == ["fake"] * 2
