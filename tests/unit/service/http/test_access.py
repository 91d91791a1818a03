"""What stands before the answers: who is let through without a key, from another site, and how often."""

import json
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from service.cli.main import app
from service.control.hosts import is_here
from service.http import app as web
from service.http import keyring
from service.http.keyring import Keyring
from service.http.keys import Keys, Scope
from tests.support import loops
from tests.support.asking import app_of, client_of, is_problem
from tests.support.clusters import SPEC
from workers.errors import Unavailable
from workers.store.root import Root


@pytest.fixture
def _always_looking(monkeypatch):
    for name in ("RENEW_S", "LIFE_S", "UNKNOWN_S"):
        monkeypatch.setattr(keyring, name, -1.0)


def submit(client: TestClient, run: str = "flowers", **headers: str):
    return client.post("/api/v1/runs", json={"job": "scan", "spec": {"run": run, **SPEC}}, headers=headers)


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
    assert is_problem(submit(client), 401, "a valid API key is required") and not cluster.asked
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


EVIL = "https://evil.example"
CHANGES = (
    ("POST", "/api/v1/runs/flowers/cancel"),
    ("POST", "/api/v1/schedules/nightly/fires"),
    ("POST", "/api/v1/schedules/nightly/pause"),
    ("DELETE", "/api/v1/schedules/nightly"),
)


@pytest.fixture
def busy(root, cluster, clock) -> TestClient:
    """A service without keys that has a run and a schedule."""
    client = client_of(app_of(root, cluster, clock))
    submit(client)
    client.post("/api/v1/schedules", json={"name": "nightly", "cron": "0 2 * * *", "spec": SPEC})
    return client


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": EVIL},
        {"Origin": EVIL, "Host": "127.0.0.1"},
        {"Origin": EVIL, "X-Forwarded-Host": "evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"},
        {"Origin": EVIL, "Sec-Fetch-Site": "none"},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_page_of_another_site_changes_nothing(busy, cluster, headers):
    before = (dict(cluster.jobs), busy.get("/api/v1/schedules").json())
    for method, path in CHANGES:
        answer = busy.request(method, path, headers={"Content-Type": "text/plain", **headers})
        assert is_problem(answer, 403, "another site"), path
    assert (cluster.jobs, busy.get("/api/v1/schedules").json()) == before
    assert busy.get("/api/v1/runs", headers=headers).status_code == 200  # what it may not read, browsers keep from it


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost"},
        {"Origin": "http://LOCALHOST:8000", "Host": "localhost:8000"},
        {"Origin": "https://atlas.example", "Sec-Fetch-Site": "same-origin"},  # a proxy gives us another name
        {"Origin": "http://localhost", "Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_programs_and_pages_of_ours_change_what_they_may(busy, headers):
    for method, path in CHANGES:
        assert busy.request(method, path, headers=headers).status_code < 300, path


def test_a_password_that_a_browser_keeps_is_of_no_use_to_another_site(root, cluster, clock):
    key = Keys(root).add("me", Scope.ADMIN)
    client = client_of(app_of(root, cluster, clock))
    asked: dict[str, Any] = {"json": {"job": "scan", "spec": SPEC}, "auth": ("me", key)}
    assert is_problem(client.post("/api/v1/runs", headers={"Sec-Fetch-Site": "cross-site"}, **asked), 403)
    assert is_problem(client.post("/api/v1/runs", headers={"Origin": EVIL}, **asked), 403) and not cluster.asked
    assert client.post("/api/v1/runs", **asked).status_code == 202


def test_a_body_that_does_not_say_that_it_is_json_is_refused(root, cluster, clock):
    client = client_of(app_of(root, cluster, clock))
    body = json.dumps({"job": "scan", "spec": SPEC}).encode()
    for kind in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}):
        assert is_problem(client.post("/api/v1/runs", content=body, headers=kind), 415)
    assert not cluster.asked


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def guess(number: int) -> str:
    return f"deconvoy_{number:012x}_{'a' * 43}"


@pytest.fixture
def looks(monkeypatch) -> list[str]:
    """One entry for each time that the store was asked for a key or for a listing of keys."""
    found: list[str] = []
    stamps, find = Keys.stamps, Keys.find
    monkeypatch.setattr(Keys, "stamps", lambda keys: found.append("list") or stamps(keys))
    monkeypatch.setattr(Keys, "find", lambda keys, number: found.append(number) or find(keys, number))
    return found


def test_wrong_keys_are_counted_by_address_and_do_not_reach_the_store(root, cluster, clock, looks):
    key = Keys(root).add("dashboard", Scope.READ)
    client = client_of(app_of(root, cluster, clock, per_minute=2))
    guesses = [client.get("/", headers=bearer(guess(number))) for number in range(8)]
    assert [answer.status_code for answer in guesses] == [401] * 2 + [429] * 6
    assert looks == ["list", key.split("_")[1]] and guesses[-1].headers["retry-after"] == "60"


def test_a_right_key_works_from_an_address_that_sent_too_many_wrong_ones_though_it_was_never_seen(root, cluster, clock):
    seen, fresh = (Keys(root).add(name, Scope.READ) for name in ("seen", "fresh"))
    client = client_of(app_of(root, cluster, clock, per_minute=3))
    assert client.get("/", headers=bearer(seen)).status_code == 200
    for number in range(5):
        client.get("/", headers=bearer(guess(number)))
    assert client.get("/", headers=bearer(guess(9))).status_code == 429
    assert client.get("/").status_code == 429
    assert client.get("/", headers=bearer(fresh)).status_code == 200
    assert client.get("/", headers=bearer(seen)).status_code == 200


def test_addresses_of_one_ipv6_network_are_counted_together(root, cluster, clock):
    app = app_of(root, cluster, clock, keyless=False, per_minute=2)
    clients = [
        client_of(app, client=(address, 50000)) for address in ("2001:db8::1", "2001:db8::ffff:1", "2001:db8::2")
    ]
    assert [client.get("/").status_code for client in clients] == [401, 401, 429]
    assert client_of(app, client=("2001:db8:0:1::1", 50000)).get("/").status_code == 401


def test_a_damaged_key_opens_nothing_and_hides_no_other(root, cluster, clock):
    broken, right = (Keys(root).add(name, Scope.READ) for name in ("broken", "right"))
    root.put(f"keys/{broken.split('_')[1]}.json", b"{")
    client = client_of(app_of(root, cluster, clock))
    assert client.get("/", headers=bearer(broken)).status_code == 401
    assert client.get("/", headers=bearer(right)).status_code == 200


def test_a_key_has_a_limit_of_its_own_wherever_it_is_sent_from(root, cluster, clock):
    keys = [Keys(root).add(name, Scope.READ) for name in ("one", "other")]
    app = app_of(root, cluster, clock, per_minute=3)
    clients = [client_of(app, client=(f"10.0.0.{number}", 50000)) for number in (1, 2)]
    told = [clients[number % 2].get("/", headers=bearer(keys[0])).status_code for number in range(5)]
    assert told == [200] * 3 + [429] * 2
    assert clients[0].get("/", headers=bearer(keys[1])).status_code == 200


def test_a_key_that_was_removed_works_no_longer_than_a_few_seconds(root, cluster, clock, monkeypatch):
    monkeypatch.setattr(keyring, "RENEW_S", 0.1)
    monkeypatch.setattr(keyring, "LIFE_S", 0.3)
    key = Keys(root).add("dashboard", Scope.READ)
    client = client_of(app_of(root, cluster, clock, per_minute=4))
    assert client.get("/", headers=bearer(key)).status_code == 200
    Keys(root).remove(Keys(root).all()[0].id)
    time.sleep(0.4)
    answers = [client.get("/", headers=bearer(key)).status_code for _ in range(6)]
    assert answers == [401] * 4 + [429] * 2
    assert keyring.LIFE_S < 10


def test_a_key_that_was_made_just_now_works_at_once(root, cluster, clock, monkeypatch):
    monkeypatch.setattr(keyring, "UNKNOWN_S", 0.0)  # no key was looked for in the last second
    client = client_of(app_of(root, cluster, clock, keyless=False))
    assert client.get("/").status_code == 401
    assert client.get("/", headers=bearer(Keys(root).add("new", Scope.READ))).status_code == 200


def test_a_key_whose_file_has_changed_is_read_again(root, cluster, clock, monkeypatch):
    monkeypatch.setattr(keyring, "LIFE_S", -1.0)
    key = Keys(root).add("dashboard", Scope.ADMIN)
    client = client_of(app_of(root, cluster, clock))
    assert client.get("/", headers=bearer(key)).status_code == 200
    path = f"keys/{key.split('_')[1]}.json"
    root.put(path, root.read(path).replace(b"admin", b"read"))
    assert is_problem(submit(client, **bearer(key)), 403)


def test_a_key_whose_file_was_replaced_by_one_of_the_same_size_is_read_again(root, cluster, clock, monkeypatch):
    monkeypatch.setattr(keyring, "LIFE_S", -1.0)
    key = Keys(root).add("dashboard", Scope.READ)
    client = client_of(app_of(root, cluster, clock))
    assert client.get("/", headers=bearer(key)).status_code == 200
    path = f"keys/{key.split('_')[1]}.json"
    before = root.read(path)
    digest = json.loads(before)["digest"].encode()
    root.put(path, before.replace(digest, digest[::-1]))
    assert is_problem(client.get("/", headers=bearer(key)), 401)


@pytest.mark.parametrize("reading_s", [0.4, 1.5])
def test_a_key_that_is_removed_while_the_keys_are_read_works_no_longer_for_it(tmp_path, monkeypatch, reading_s):
    """The listing that is under way may have seen it: its age counts from its beginning, however long it takes."""
    for name, seconds in (("RENEW_S", 0.1), ("LIFE_S", 0.5), ("LIMIT_S", 0.45), ("UNKNOWN_S", 0.1)):
        monkeypatch.setattr(keyring, name, seconds)
    keys = Keys(Root(str(tmp_path)))
    text, removed = keys.add("dashboard", Scope.READ), threading.Event()
    stamps = keys.stamps

    def slow() -> Mapping[str, str]:
        before = stamps()
        if removed.wait(0.2):
            time.sleep(reading_s)
        return before

    ring = Keyring(keys)
    assert loops.run(ring.find(text))
    monkeypatch.setattr(keys, "stamps", slow)
    threading.Timer(0.25, lambda: (keys.remove(keys.all()[0].id), removed.set())).start()
    until, last, gone = time.monotonic() + reading_s + 1.2, 0.0, 0.0
    while time.monotonic() < until:
        gone = gone or (time.monotonic() if removed.is_set() else 0.0)
        try:
            if loops.run(ring.find(text)):
                last = time.monotonic()
        except Unavailable:
            pass
        time.sleep(0.01)
    assert gone and last - gone < 0.5 + 0.1
