"""A service whose store and cluster hang: it is alive, says so at once, and what needs neither is served."""

import http.client
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from service.control import statuses, watching
from service.control.prompt import PromptCluster
from service.control.statuses import Statuses
from service.control.submissions import Submissions
from service.control.watching import Watched
from service.http import health, keyring
from service.http.keys import Keys, Scope
from service.query import listing
from service.query.listing import RunListing
from tests.support.asking import app_of
from tests.support.clusters import SPEC, FakeCluster
from tests.support.published import publish
from tests.support.serving import listening
from tests.support.slow_store import faults
from workers.errors import Unavailable
from workers.kinds import Kind
from workers.spec.plain import PlainSpec
from workers.store.attempts import Attempts, Begun
from workers.store.root import Root


class HungCluster(FakeCluster):
    """A cluster that does not say how its jobs are while `answers` is not set."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = threading.Event()
        self.answers.set()

    def state(self, submission_id, *, insist=False):
        self.answers.wait(60)
        return super().state(submission_id, insist=insist)


@pytest.fixture
def hung():
    cluster = HungCluster()
    yield cluster
    cluster.answers.set()


@pytest.fixture
def slow(tmp_path, monkeypatch):
    """A root on a store that can hang, and a service that gives up soon."""
    monkeypatch.setattr(health, "ANSWER_S", 0.5)
    monkeypatch.setattr(keyring, "LIMIT_S", 0.5)
    monkeypatch.setattr(listing, "LIMIT_S", 0.5)
    monkeypatch.setattr(watching, "LIMIT_S", 3.0)
    faults.forget()
    yield Root(f"slow://{tmp_path}")
    faults.recover()


def asked(port: int, path: str, **headers: str) -> tuple[int, float]:
    """The status of an answer, and the seconds until it came."""
    client, started = http.client.HTTPConnection("127.0.0.1", port, timeout=20), time.monotonic()
    client.request("GET", path, headers=headers)
    answer = client.getresponse()
    answer.read()
    return answer.status, time.monotonic() - started


def app_with(root: Root, cluster: FakeCluster, clock, **rules):
    watched = Watched(Statuses(root, PromptCluster(cluster), clock))
    return app_of(root, cluster, clock, watched=watched, **rules)


def test_liveness_is_answered_within_50_ms_while_store_and_cluster_hang_and_many_wait_for_them(slow, hung, clock):
    publish(slow)
    Submissions(slow, hung, clock).submit("scan", {"run": "flowers", **SPEC})
    hung.answers.clear()
    key = Keys(slow).add("dashboard", Scope.READ)
    bearer = {"Authorization": f"Bearer {key}"}
    with listening(app_with(slow, hung, clock)) as port, faults.hung():
        paths = [
            "/",
            "/runs/first",
            "/api/v1/runs",
            "/metrics",
            "/readyz",
            "/search?q=a",
            "/api/v1/runs/flowers/events",
        ]
        waiting = [threading.Thread(target=asked, args=(port, path), kwargs=bearer) for path in 6 * paths]
        for thread in waiting:
            thread.start()
        time.sleep(0.1)
        alive = [asked(port, "/healthz") for _ in range(20)]
        assert {status for status, _ in alive} == {200} and sorted(seconds for _, seconds in alive)[9] < 0.05
        assert asked(port, "/readyz")[0] == 503
        status, seconds = asked(port, "/", **bearer)
        assert status == 503 and seconds < 2
        faults.recover()
        for thread in waiting:
            thread.join()
        deadline = time.monotonic() + 5  # a call that hung may still be remembered for a moment
        answers = None
        while answers != (200, 200) and time.monotonic() < deadline:
            time.sleep(0.1)
            answers = asked(port, "/readyz")[0], asked(port, "/", **bearer)[0]
        assert answers == (200, 200)


def test_pages_wait_for_a_cluster_that_hangs_no_more_than_once(slow, hung, clock):
    publish(slow)
    Submissions(slow, hung, clock).submit("scan", {"run": "flowers", **SPEC})
    hung.answers.clear()
    with listening(app_with(slow, hung, clock)) as port:
        assert asked(port, "/")[1] < 3
        told = [asked(port, path) for path in 10 * ("/", "/runs/flowers", "/api/v1/runs", "/runs/first")]
    assert {status for status, _ in told} == {200}
    assert sorted(seconds for _, seconds in told)[len(told) // 2] < 0.05 and max(seconds for _, seconds in told) < 2


def test_what_needs_no_store_is_served_while_pages_wait_for_it(slow, hung, clock):
    publish(slow)
    with listening(app_with(slow, hung, clock)) as port:
        assert asked(port, "/runs/first")[0] == 200
        with faults.hung():
            waiting = [
                threading.Thread(target=asked, args=(port, f"/runs/first/layers/relu{number % 3 + 1}"))
                for number in range(12)
            ]
            for thread in waiting:
                thread.start()
            time.sleep(0.3)
            status, seconds = asked(port, "/static/atlas.css")
            faults.recover()
            for thread in waiting:
                thread.join()
    assert status in (200, 503) and seconds < 1


def test_runs_whose_store_does_not_answer_are_given_up(slow, hung, monkeypatch, clock):
    monkeypatch.setattr(statuses, "LIMIT_S", 0.3)
    publish(slow)
    Submissions(slow, hung, clock).submit("scan", {"run": "flowers", **SPEC})
    known, listed = Statuses(slow, hung, clock), RunListing(slow)
    assert len(known.statuses()) == 2
    never = threading.Event()
    monkeypatch.setattr(Statuses, "_readable", lambda *_: never.wait())
    monkeypatch.setattr(RunListing, "_read_run", lambda *_: never.wait())
    for question in (known.statuses, RunListing(slow).readable):
        started = time.monotonic()
        with pytest.raises(Unavailable, match="the root did not answer"):
            question()
        assert time.monotonic() - started < 2
    never.set()
    assert listed.run("first").run == "first"


def test_a_service_ends_though_its_store_hangs(tmp_path, clock):
    root = Root(str(tmp_path))
    publish(root)
    Attempts(root, "flowers").take(1, Begun(clock().isoformat(), "local", Kind.SCAN, PlainSpec(SPEC)))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "tests.support.hung_service", str(tmp_path), str(port)]
    service = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert "the atlas is at" in service.stdout.readline()
        assert asked(port, "/")[0] == 200
        service.stdin.write("hang\n")
        service.stdin.flush()
        time.sleep(2.5)  # what is known of the runs is too old to be given
        threading.Thread(target=asked, args=(port, "/"), daemon=True).start()
        time.sleep(0.5)
        service.send_signal(signal.SIGTERM)
        _, errors = service.communicate(timeout=20)
    finally:
        service.kill()
        service.wait()
    assert "were not cancelled: the store or Ray did not answer within 1 s" in errors
    assert service.returncode == 0
