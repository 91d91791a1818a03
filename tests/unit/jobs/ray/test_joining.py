"""A Ray that cannot be joined or started is one line that names the address and the way out, and no stranger sees the token."""

import os
import signal
import socket
import sys
import threading
import time

import pytest
import ray
from ray.exceptions import AuthenticationError

from jobs.ray import cluster, joining
from workers.errors import RunStopped, UsageError

TOKEN = "a" * 64


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No Ray runs here; one that another test of this process has started is not seen."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(joining, "ANSWER_S", 0.5)
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://head:8265", "RAY_ADDRESS=http://head:8265 is a Ray dashboard"),
        ("https://head", "is a Ray dashboard"),
        ("ray://head:10001", "RAY_ADDRESS=ray://head:10001 is a Ray Client address, which is not supported"),
        ("127.0.0.1:1", "no Ray cluster answers at RAY_ADDRESS=127.0.0.1:1; unset it to work on this machine"),
        ("nowhere.invalid:6379", "no Ray cluster answers at RAY_ADDRESS=nowhere.invalid:6379"),
        ("garbage", "no Ray cluster answers at RAY_ADDRESS=garbage"),
    ],
)
def test_an_address_that_is_not_a_clusters_is_one_line(monkeypatch, address, told):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UsageError) as error:
        cluster.join()
    assert told in str(error.value) and "\n" not in str(error.value) and error.value.exit_code == 2


def test_something_else_that_listens_is_not_waited_for_and_sees_no_token(monkeypatch):
    received = bytearray()

    def listen() -> None:
        connection, _ = server.accept()
        connection.settimeout(1.5)  # three times as long as an answer is waited for
        try:
            while data := connection.recv(4096):
                received.extend(data)
        except TimeoutError:
            pass
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=listen)
        thread.start()
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(UsageError, match="no Ray cluster answers"):
            cluster.join()
        thread.join()
    assert received and TOKEN.encode() not in received


@pytest.mark.parametrize(
    "raised",
    [
        AuthenticationError("Token authentication is enabled but no token was found. And\nmuch more."),
        ConnectionError("Failed to connect to Ray cluster at 10.0.0.7:6379\n"),
        Exception("The current node timed out during startup. This could happen because"),
    ],
)
def test_a_cluster_that_lets_nobody_in_or_a_ray_that_starts_slowly_is_one_line(monkeypatch, raised):
    def init(**_: object) -> None:
        raise raised

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(
        UsageError, match=r"RAY_ADDRESS=auto cannot be joined: .*check that RAY_AUTH_TOKEN, or the file"
    ) as error:
        cluster.join()
    assert "\n" not in str(error.value)
    monkeypatch.delenv("RAY_ADDRESS")
    with pytest.raises(RunStopped, match=r"^Ray does not start on this machine: .*; try again") as stopped:
        cluster.start("cpu")
    assert "\n" not in str(stopped.value) and stopped.value.exit_code == 1


def test_a_wait_that_is_not_a_number_of_seconds_is_one_line(monkeypatch):
    monkeypatch.setenv("DECONVOY_WAIT_FOR_PLACE_S", "a day")
    with pytest.raises(UsageError, match="DECONVOY_WAIT_FOR_PLACE_S=a day is not a whole number of seconds"):
        cluster.seconds("DECONVOY_WAIT_FOR_PLACE_S", 1)


def test_the_head_is_known_while_ray_connects(monkeypatch):
    seen = []

    def init(**_: object) -> None:
        seen.append(joining.head_address())
        raise RuntimeError("it is gone")

    monkeypatch.setattr(joining, "require_answer", lambda *_: None)
    monkeypatch.setattr(joining, "_init", init)
    with pytest.raises(UsageError, match="cannot be joined: it is gone"):
        joining.join("head:6379")
    assert seen == ["head:6379"] and joining.head_address() is None


def test_sigterm_while_ray_connects_cancels_the_run_like_any_other(monkeypatch):
    def connecting(**_: object) -> None:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))  # as ray.init does
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr(ray, "init", connecting)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        joining._init(address="auto")
    assert signal.getsignal(signal.SIGTERM) is before


def test_other_exits_of_ray_are_not_taken_for_sigterm(monkeypatch):
    monkeypatch.setattr(ray, "init", lambda **_: sys.exit(1))
    with pytest.raises(SystemExit):
        joining._init(address="auto")
