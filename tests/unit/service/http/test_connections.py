"""What a client may do to a connection: half a header, dripping bytes, no body, and a word about whom it asks for."""

import http.client
import json
import socket
import time
from typing import Any

import pytest
from starlette.applications import Starlette

from service.http import access, connections
from service.http.keys import Keys, Scope
from tests.support.asking import app_of
from tests.support.serving import listening
from workers.errors import UsageError

SOON_S = 3.0


@pytest.fixture
def _impatient(monkeypatch):
    monkeypatch.setattr(connections, "HEADER_S", 0.3)
    monkeypatch.setattr(connections, "IDLE_S", 1)
    monkeypatch.setattr(access, "BODY_S", 0.3)


def until_closed(port: int, parts: list[bytes], pause_s: float) -> tuple[float, bytes]:
    """Seconds until the server closes a connection on which parts are sent with pauses between, and what it has sent."""
    with socket.create_connection(("127.0.0.1", port), timeout=SOON_S) as client:
        started, seen = time.monotonic(), b""
        try:
            for part in parts:
                client.sendall(part)
                time.sleep(pause_s)
            while data := client.recv(65536):
                seen += data
        except (ConnectionResetError, BrokenPipeError):
            pass
        return time.monotonic() - started, seen


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize(
    ("parts", "pause_s"),
    [
        ([], 0),
        ([b"GET / HTTP/1.1\r\nHost: x"], 0),
        ([b"GET / HT", *[b"T"] * 40], 0.05),
        ([b"GET / HTTP/1.1\r\n", *[b"X-A: b\r\n"] * 40], 0.05),
        ([b"\r\n"] * 40, 0.05),
        ([b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", *[b"\r\n"] * 40], 0.05),
        ([b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /heal"], 0),
        ([b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"], 0),
    ],
)
def test_who_sends_half_a_header_or_nothing_holds_no_connection(root, cluster, clock, parts, pause_s):
    with listening(app_of(root, cluster, clock)) as port:
        closed_s, seen = until_closed(port, parts, pause_s)
    assert closed_s < SOON_S - 0.5
    if not pause_s:  # else the connection is closed below the client's words, and what it was sent is lost
        assert (b"200 OK" in seen) == (b"healthz HTTP" in b"".join(parts))


@pytest.mark.usefixtures("_impatient")
def test_a_header_without_end_is_refused(root, cluster, clock):
    with listening(app_of(root, cluster, clock)) as port:
        _, seen = until_closed(port, [b"GET / HTTP/1.1\r\nX-A: " + b"a" * 200_000], 0)
    assert seen == b"" or b" 400 " in seen


@pytest.mark.usefixtures("_impatient")
def test_a_body_that_does_not_come_is_408_and_the_connection_ends(root, cluster, clock):
    head = b"POST /api/v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{"
    with listening(app_of(root, cluster, clock)) as port:
        closed_s, seen = until_closed(port, [head], 0)
    assert b" 408 " in seen and closed_s < SOON_S - 0.5


@pytest.mark.usefixtures("_impatient")
def test_a_connection_that_asks_again_and_again_stays(root, cluster, clock):
    with listening(app_of(root, cluster, clock)) as port:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        client.connect()
        before = client.sock
        for _ in range(8):
            client.request("GET", "/healthz")
            assert client.getresponse().read() == b"ok"
            time.sleep(0.1)
        assert client.sock is before


def asked(port: int, forwarded: str) -> int:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    client.request("GET", "/", headers={"X-Forwarded-For": forwarded})
    answer = client.getresponse()
    answer.read()
    return answer.status


@pytest.mark.parametrize(
    ("trusted", "statuses"),
    [((), [401, 401, 429, 429]), (["127.0.0.0/8"], [401] * 4), (["10.0.0.0/8"], [401, 401, 429, 429])],
)
def test_forwarded_for_is_believed_of_a_trusted_proxy_alone(root, cluster, clock, monkeypatch, trusted, statuses):
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    Keys(root).add("only", Scope.READ)
    with listening(app_of(root, cluster, clock, per_minute=2), trusted) as port:
        assert [asked(port, f"203.0.113.{number}") for number in range(4)] == statuses


def test_a_client_behind_a_trusted_proxy_is_whom_the_last_untrusted_address_names(root, cluster, clock):
    Keys(root).add("only", Scope.READ)
    with listening(app_of(root, cluster, clock, per_minute=2), ["127.0.0.1"]) as port:
        told = [asked(port, f"198.51.100.{number}, 203.0.113.9") for number in range(4)]  # the client's own words first
    assert told == [401, 401, 429, 429]


@pytest.mark.parametrize("word", ["", "proxy.example", "10.0.0.1/8", "*", "10.0.0.0/99"])
def test_a_proxy_that_is_not_a_network_is_refused_in_one_line(word):
    with pytest.raises(UsageError, match=r"is not a network: .*such as 10\.0\.0\.0/8") as caught:
        connections.config(Starlette(), [word])
    assert "\n" not in str(caught.value)


def test_a_pattern_that_would_take_for_ever_is_answered_at_once_over_http(root, cluster, clock):
    body: dict[str, Any] = {
        "spec": {"model": {"source": "deconvoy://zfnet-mini"}, "corpus": {"source": "s3://bucket/photos"}}
    }
    with listening(app_of(root, cluster, clock)) as port:
        groups = (("(a+)+$", 202), (r"(a)\1", 422), ("(" * 900, 422), ("[\1-\U0010ffff]" * 190, 202))
        for number, (group, status) in enumerate(groups):
            body["spec"]["run"], body["spec"]["corpus"]["group"] = f"run-{number}", group
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            client.request("POST", "/api/v1/runs", json.dumps(body), {"Content-Type": "application/json"})
            answer = client.getresponse()
            assert (answer.status, b"group" in answer.read()) == (status, status == 422)
