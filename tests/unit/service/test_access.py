"""What stands before the answers: who is let through without a key, from another site, and how often."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvicorn
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from service import access
from service import app as web
from service.cli import app
from service.hosts import is_here
from service.keys import Keys, Scope
from tests.support.asking import app_of, client_of, is_problem
from tests.support.clusters import SPEC, Clock
from workers.store.root import Root


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path))


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2026, 11, 26, tzinfo=UTC))


@pytest.fixture
def _always_looking(monkeypatch):
    monkeypatch.setattr(access, "LOOK_EVERY_S", -1.0)


def submit(client: TestClient, **headers: str):
    return client.post("/api/v1/runs", json={"job": "scan", "spec": SPEC}, headers=headers)


def lose_keys(root: Root, how: str) -> None:
    if how == "removed":
        Keys(root).remove(Keys(root).all()[0].id)
    else:  # its share is not there any more
        shutil.rmtree(Path(root.base) / "keys")


@pytest.mark.usefixtures("_always_looking")
@pytest.mark.parametrize("how", ["removed", "gone"])
@pytest.mark.parametrize("keyless", [False, True])
def test_a_service_that_has_seen_a_key_asks_for_one_though_there_is_none_any_more(root, cluster, clock, keyless, how):
    Keys(root).add("only", Scope.ADMIN)
    client = client_of(app_of(root, cluster, clock, keyless=keyless))
    assert submit(client).status_code == 401
    lose_keys(root, how)
    assert is_problem(submit(client), 401, "a key is needed") and not cluster.asked
    assert client.get("/api/v1/runs").status_code == 401


def test_a_service_that_others_reach_answers_nobody_without_a_key_by_whatever_name(root, cluster, clock):
    client = client_of(app_of(root, cluster, clock, keyless=False))
    for host in ("localhost", "127.0.0.1", "[::1]:8000", "atlas.example"):
        assert is_problem(submit(client, host=host), 401)
    assert client.get("/healthz").status_code == 200 and not cluster.asked


@pytest.mark.usefixtures("_always_looking")
def test_a_first_key_is_asked_for_as_soon_as_it_is_seen(root, cluster, clock):
    client = client_of(app_of(root, cluster, clock))
    assert client.get("/api/v1/runs").status_code == 200
    key = Keys(root).add("first", Scope.READ)
    assert client.get("/api/v1/runs").status_code == 401
    assert client.get("/api/v1/runs", headers={"Authorization": f"Bearer {key}"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "answered"),
    [
        ("localhost:8000", True), ("127.0.0.1", True), ("127.0.0.2:80", True), ("[::1]:8000", True),
        ("evil.example", False), ("localhost.evil.example", False), ("evil.example:99999", False), ("[::1", False),
        ("0.0.0.0", False), ("", False),  # noqa: S104
    ],
)  # fmt: skip
def test_without_keys_only_this_machines_own_names_are_answered(root, cluster, clock, host, answered):
    client = client_of(app_of(root, cluster, clock))
    assert client.get("/api/v1/runs", headers={"host": host}).status_code == (200 if answered else 421)


@pytest.mark.parametrize(
    ("host", "keys", "keyless"),
    [("127.0.0.1", 0, True), ("localhost", 0, True), ("127.0.0.1", 1, False), ("0.0.0.0", 1, False)],  # noqa: S104
)
def test_the_command_serves_without_keys_on_this_machine_and_only_where_there_are_none(
    root, monkeypatch, host, keys, keyless
):
    rules = []
    create = web.create
    monkeypatch.setattr(web, "create", lambda *a, **more: rules.append(more["rules"]) or create(*a, **more))
    monkeypatch.setattr(uvicorn.Server, "run", lambda *_, **__: None)
    for number in range(keys):
        Keys(root).add(f"key {number}", Scope.READ)
    done = CliRunner().invoke(app, ["serve", "--root", root.base, "--host", host, "--port", "0"])
    assert done.exit_code == 0, done.output
    assert [each.keyless for each in rules] == [keyless]


def test_a_host_is_here_if_it_is_a_loopback_address_or_localhost():
    assert all(is_here(host) for host in ("127.0.0.1", "127.8.9.1", "::1", "localhost"))
    assert not any(is_here(host) for host in ("", "0.0.0.0", "::", "10.0.0.1", "testserver", "head.example"))  # noqa: S104
