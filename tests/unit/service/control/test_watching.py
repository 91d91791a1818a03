"""Who only looks at runs: waits for no cluster that hangs, and shares one look with all the others."""

import asyncio
import threading
import time
from functools import partial
from typing import cast

import pytest
from starlette.requests import Request

from service.control import prompt
from service.control.clusters import State
from service.control.prompt import PromptCluster
from service.control.statuses import RunState, Statuses
from service.control.submissions import Submissions
from service.control.watching import Watched
from service.http import events
from tests.support import loops
from tests.support.asking import app_of, client_of, is_problem
from tests.support.clusters import SPEC, FakeCluster
from workers.errors import ClusterError, NoAnswer
from workers.store.attempts import Attempts, Progress


class HangingCluster(FakeCluster):
    """A cluster that hangs while `answers` is not set."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = threading.Event()
        self.answers.set()
        self.looks = 0

    def state(self, submission_id: str, *, insist: bool = False) -> tuple[State, str]:
        self.looks += 1
        self.answers.wait(20)
        return super().state(submission_id, insist=insist)


@pytest.fixture
def hanging():
    cluster = HangingCluster()
    cluster.jobs["a.1"] = State.RUNNING
    yield cluster
    cluster.answers.set()


def timed(ask) -> float:
    started = time.monotonic()
    with pytest.raises(NoAnswer, match="nothing answers at"):
        ask()
    return time.monotonic() - started


def test_a_cluster_that_hangs_is_waited_for_once_and_asked_again_by_nobody_who_waits(hanging, monkeypatch):
    monkeypatch.setattr(prompt, "LIMIT_S", 0.3)
    monkeypatch.setattr(prompt, "PROBE_S", 0.1)
    monkeypatch.setattr(prompt, "FRESH_S", 0.0)
    cluster = PromptCluster(hanging)
    assert cluster.state("a.1") == (State.RUNNING, "as the test says")
    hanging.answers.clear()
    assert 0.3 <= timed(lambda: cluster.state("a.1")) < 0.6
    assert all(timed(partial(cluster.state, f"a.{number}")) < 0.05 for number in range(50))
    assert hanging.looks == 2  # one hangs: no other joins it
    hanging.answers.set()
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            assert cluster.state("a.1")[0] is State.RUNNING
            break
        except NoAnswer:
            time.sleep(0.05)
    else:
        pytest.fail("it answers again, and nobody notices")


def test_a_cluster_that_refuses_connections_is_not_waited_for_either(hanging):
    hanging.down = True
    cluster = PromptCluster(hanging)
    timed(lambda: cluster.state("a.1"))
    assert timed(lambda: cluster.state("a.1")) < 0.05 and hanging.looks == 1


def test_a_state_is_asked_for_once_by_many_and_errors_of_other_kinds_are_given_as_they_are(hanging):
    cluster = PromptCluster(hanging)
    for _ in range(5):
        cluster.state("a.1")
    assert hanging.looks == 1
    hanging.state = lambda *_, **__: (_ for _ in ()).throw(ClusterError("wants a token"))
    with pytest.raises(ClusterError, match="wants a token"):
        cluster.state("b.1")


def test_acting_is_not_delayed_and_insisting_asks_the_cluster_itself(hanging):
    cluster = PromptCluster(hanging)
    cluster.submit("b.1", "/root", "b", 1)
    cluster.check()
    cluster.stop("b.1")
    assert cluster.logs("b.1") == "log of b.1\n" and cluster.name == hanging.name
    assert cluster.state("b.1", insist=True)[0] is State.STOPPED


def test_a_live_run_is_told_of_by_its_files_while_the_cluster_hangs(root, hanging, clock):
    submissions = Submissions(root, hanging, clock)
    submissions.submit("scan", {"run": "flowers", **SPEC})
    Attempts(root, "flowers").report_progress(1, Progress(clock().isoformat(), "scan", 5, 10, "images"))
    hanging.answers.clear()
    found = Statuses(root, PromptCluster(hanging), clock).status("flowers")
    assert found.state is RunState.RUNNING and found.progress.done == 5


def test_looks_are_shared_and_what_is_changed_here_is_seen_at_once(root, hanging, clock):
    submissions = Submissions(root, hanging, clock)
    watched = Watched(Statuses(root, hanging, clock), 60, 60)
    client = client_of(app_of(root, hanging, clock, watched=watched))
    assert client.post("/api/v1/runs", json={"spec": {"run": "flowers", **SPEC}}).status_code == 202
    assert client.get("/api/v1/runs").json()[0]["state"] == "running"
    before = hanging.looks
    for path in ("/api/v1/runs", "/", "/metrics", "/api/v1/runs"):
        assert client.get(path).status_code == 200
    assert hanging.looks == before
    client.get("/api/v1/runs/flowers")
    client.get("/runs/flowers")
    assert hanging.looks == before + 1
    assert client.post("/api/v1/runs/flowers/cancel").json()["state"] == "cancelled"
    assert client.get("/api/v1/runs").json()[0]["state"] == "cancelled"
    assert client.get("/api/v1/runs/flowers").json()["state"] == "cancelled"
    assert submissions.status("flowers").state is RunState.CANCELLED


class Listener:
    """A client that stays for so many looks."""

    def __init__(self, looks: int) -> None:
        self._left = looks

    async def is_disconnected(self) -> bool:
        self._left -= 1
        return self._left < 0


def test_streams_of_events_share_one_look_and_hold_no_thread(root, hanging, clock, monkeypatch):
    monkeypatch.setattr(events, "EVERY_S", 0.02)
    submissions = Submissions(root, hanging, clock)
    submissions.submit("scan", {"run": "flowers", **SPEC})
    before, threads = hanging.looks, threading.active_count()
    streams = events.Streams(Watched(Statuses(root, hanging, clock), 60, 60))

    async def follow() -> list[int]:
        async def one() -> int:
            return len([event async for event in streams.of("flowers", cast(Request, Listener(20)))])

        return await asyncio.gather(*(one() for _ in range(200)))

    assert loops.run(follow()) == [1] * 200
    assert hanging.looks == before + 1 and threading.active_count() <= threads + 2


def test_one_stream_of_events_too_many_is_refused(root, cluster, clock, monkeypatch):
    monkeypatch.setattr(events, "MOST", 0)
    client = client_of(app_of(root, cluster, clock))
    client.post("/api/v1/runs", json={"spec": {"run": "flowers", **SPEC}})
    assert is_problem(client.get("/api/v1/runs/flowers/events"), 503, "event streams are open")
