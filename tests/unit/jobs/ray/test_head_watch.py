"""A head that does not respond is reported, and ends the process before Ray does; one that responds again is reported too."""

import socket
import threading
from collections.abc import Iterator

import pytest

from jobs.ray import head_watch, joining
from jobs.ray.head_watch import watch_head
from tests.support.heard import Heard
from workers.errors import UsageError


class Head:
    """What a head answers: nothing, an error, or its id."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.is_asked = threading.Semaphore(0)

    def require_answer(self, address: str, within_s: float) -> None:
        assert (address, within_s) == ("head:6379", head_watch.ANSWER_S)
        self.is_asked.release()
        if self.error:
            raise self.error

    def wait(self, times: int) -> None:
        for _ in range(times):
            assert self.is_asked.acquire(timeout=10)


@pytest.fixture
def head(monkeypatch) -> Iterator[Head]:
    head = Head()
    monkeypatch.setattr(joining, "head_address", lambda: "head:6379")
    monkeypatch.setattr(joining, "require_answer", head.require_answer)
    monkeypatch.setattr(head_watch, "EVERY_S", 0.01)
    yield head


@pytest.fixture
def ended() -> threading.Event:
    return threading.Event()


def test_a_head_that_stays_silent_is_reported_once_and_ends_the_process(head, ended, monkeypatch):
    monkeypatch.setenv(head_watch.RAYS_LIMIT, "0.4")
    watch = Heard()
    said = watch.said
    with watch_head(watch, ended.set):
        head.wait(3)
        assert not said
        head.error = UsageError("no Ray cluster answers")
        assert ended.wait(10)
    assert said == [
        "the head of the Ray cluster at head:6379 does not respond",
        "the head of the Ray cluster at head:6379 has not responded for 0 s, so this run ends; the same command resumes it on "
        "a cluster that responds",
    ]


def test_the_reason_is_the_last_line_though_closing_prints_one_too(head, ended, monkeypatch):
    monkeypatch.setenv(head_watch.RAYS_LIMIT, "0.4")
    watch = Heard()
    monkeypatch.setattr(watch, "close", lambda: watch.said.append("listing: 16 images in 46.9 s"))
    head.error = UsageError("no Ray cluster answers")
    with watch_head(watch, ended.set):
        assert ended.wait(10)
    assert watch.said[-2:][0].startswith("listing") and "the same command resumes it" in watch.said[-1]


def test_a_head_that_responds_again_ends_nothing(head, ended, monkeypatch):
    monkeypatch.setenv(head_watch.RAYS_LIMIT, "10")
    watch = Heard()
    said = watch.said
    with watch_head(watch, ended.set):
        for error in (TimeoutError("Deadline Exceeded"), None, UsageError("nothing"), None):
            head.error = error
            while head.is_asked.acquire(blocking=False):
                pass
            head.wait(3)
    silent, again = (
        "the head of the Ray cluster at head:6379 " + what for what in ("does not respond", "responds again")
    )
    assert said == [silent, again, silent, again] and not ended.is_set()


@pytest.mark.parametrize("error", [None, ConnectionError("the token is wrong")])
def test_any_answer_is_one(head, ended, error):
    watch = Heard()
    head.error = error
    with watch_head(watch, ended.set):
        head.wait(5)
    assert not watch.said and not ended.is_set()


def test_nothing_is_asked_before_this_process_is_connected_and_after_the_run(head, ended, monkeypatch):
    monkeypatch.setattr(joining, "head_address", lambda: None)
    with watch_head(Heard(), ended.set):
        assert not head.is_asked.acquire(timeout=0.2)
        monkeypatch.setattr(joining, "head_address", lambda: "head:6379")
        head.wait(1)
    while head.is_asked.acquire(timeout=0.1):
        pass
    assert not head.is_asked.acquire(timeout=0.2)


def test_a_server_that_accepts_connections_and_says_nothing_does_not_respond(monkeypatch):
    monkeypatch.setattr(head_watch, "ANSWER_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not head_watch._responds(f"127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.parametrize(("given", "limit"), [(None, 45.0), ("600", 450.0), ("soon", 45.0)])
def test_it_waits_shorter_than_ray(monkeypatch, given, limit):
    monkeypatch.delenv(head_watch.RAYS_LIMIT, raising=False)
    if given:
        monkeypatch.setenv(head_watch.RAYS_LIMIT, given)
    assert head_watch.limit_s() == limit


def test_a_watcher_that_does_not_close_delays_the_end_only_briefly(head, ended, monkeypatch):
    class Stuck(Heard):
        def close(self) -> None:
            threading.Event().wait()

    monkeypatch.setenv(head_watch.RAYS_LIMIT, "0.1")
    monkeypatch.setattr(head_watch, "CLOSING_S", 0.1)
    head.error = UsageError("nothing")
    with watch_head(Stuck(), ended.set):
        assert ended.wait(10)
