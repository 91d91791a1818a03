"""The one loop over Ray futures, with workers that only do what they are told; logical GPUs stand for cards."""

import json
from functools import partial
from pathlib import Path

import pytest
import ray

from jobs.pool import Pool
from jobs.watch import Logged, Silent
from tests.support.fakes import Obedient, Odd
from workers import log
from workers.errors import LostActors, NodeError, OutOfMemory

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module", autouse=True)
def two_logical_gpus():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        ray.init(address="local", num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


def none_is_poison(item):
    raise AssertionError(f"{item} is taken for poison")


def run(pool: Pool, items, poison=none_is_poison) -> list:
    return list(pool.run(items, lambda _: None, poison))


def test_each_gpu_has_one_actor_that_sees_no_other_gpu():
    with Pool(2, "cuda", 1, Silent()) as pool:
        pool.start(Obedient)
        reports = run(pool, range(12))
    seen = {pid: {device for _, p, device in reports if p == pid} for _, pid, _ in reports}
    assert sorted(item for item, *_ in reports) == list(range(12))
    assert sorted(seen.values(), key=str) == [{"0"}, {"1"}]


def test_an_item_whose_actor_dies_is_run_again(tmp_path):
    with Pool(2, "cpu", 1, Silent()) as pool:
        pool.start(partial(Obedient, str(tmp_path)))
        reports = run(pool, ["a", "die once", "b"])
    assert sorted(item for item, *_ in reports) == ["a", "b", "die once"]


def test_an_item_that_kills_twice_is_poison_and_what_replaces_it_is_run():
    with Pool(2, "cpu", 1, Silent()) as pool:
        pool.start(Obedient)
        reports = run(pool, ["a", "die", "b"], poison=lambda item: f"instead of {item}")
    assert sorted(item for item, *_ in reports) == ["a", "b", "instead of die"]


def test_a_workers_error_arrives_as_it_was_raised():
    with Pool(1, "cpu", 1, Silent()) as pool:
        pool.start(Obedient)
        with pytest.raises(LostActors, match=r"^told to fail$"):
            run(pool, ["fail"])


def test_memory_that_runs_out_stops_the_run():
    with Pool(1, "cpu", 1, Silent()) as pool:
        pool.start(Obedient)
        with pytest.raises(OutOfMemory, match="ran out of memory"):
            run(pool, ["memory"])


def test_actors_that_would_give_other_numbers_are_refused_by_name():
    with Pool(2, "cpu", 1, Silent()) as pool, pytest.raises(NodeError, match=r"node node\d+ differs from .*device"):
        pool.start(Odd)


class Heard(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str, **about: object) -> None:
        del about
        self.said.append(line)


def test_room_that_comes_is_used_while_work_is_left(monkeypatch):
    monkeypatch.setattr("jobs.pool.GROW_EVERY_S", 0.1)
    watch, pids = Heard(), set()

    def until_two_have_worked():
        for number in range(2000):
            if len(pids) == 2:
                return
            yield number

    with Pool(1, "cpu", 1, watch, room=lambda: 2 if pids else 1) as pool:
        pool.start(Obedient)
        for _, pid, _ in pool.run(until_two_have_worked(), lambda _: None, none_is_poison):
            pids.add(pid)
    assert len(pids) == 2 and watch.said == ["2 actors: the cluster has grown"]


def test_an_actor_whose_node_has_gone_is_not_waited_for(monkeypatch):
    monkeypatch.setattr("jobs.pool.GROW_EVERY_S", 0.1)
    monkeypatch.setattr("jobs.pool.PATIENCE_S", 0.2)
    watch, there = Heard(), [2]
    with Pool(2, "cpu", 3, watch, room=lambda: there[0]) as pool:  # there are CPUs for one
        pool.start(Obedient)
        there[0] = 1
        assert sorted(item for item, *_ in run(pool, range(8))) == list(range(8))
        pool.start(Obedient)
        assert len(run(pool, range(2))) == 2
    assert watch.said[-1] == "1 actors: the cluster has shrunk"


def test_lines_of_driver_and_actors_carry_the_run_and_attempt_and_what_they_are_about(tmp_path, capsys):
    hostile = "a\nfake.png"
    log.set_up("json")
    try:
        watch = Logged(attempt=2)
        with Pool(1, "cpu", 1, watch, watch.begin("flowers")) as pool:
            pool.start(partial(Obedient, str(tmp_path)))
            run(pool, [hostile, "die once"])
            with pytest.raises(LostActors):
                run(pool, ["fail"])
    finally:
        log.set_up("text")
    driver = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["message"].partition(",")[0] for line in driver] == [
        f"shard {hostile} is done", "an actor on here is lost at shard die once", "shard die once is done",
    ]  # fmt: skip
    written = Path(ray._private.worker._global_node.get_logs_dir_path()).glob("worker-*.err")
    said = [line for path in written for line in path.read_text().splitlines() if '"run": "flowers"' in line]
    actors = [json.loads(line) for line in said]
    assert {line["item"] for line in driver} == {hostile, "die once"}
    assert {line.get("item") for line in actors} == {None, hostile, "die once", "fail"}
    for line in driver + actors:
        assert (line["run"], line["attempt"], line["node"]) == ("flowers", 2, "here") and len(line["node_id"]) == 56
    [failed] = [line for line in actors if line["level"] == "error"]
    assert failed["message"] == "LostActors: told to fail"
    assert [line["device"] for line in actors if line["message"] == "Obedient is ready"] == ["fake"] * 2
