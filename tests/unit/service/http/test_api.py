"""The control plane over HTTP: submitted by idempotency key, watched, cancelled, scheduled; keys, sizes, rates and problems."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from service.cli.main import app
from service.control.clusters import State
from service.control.submissions import Submissions
from service.http import keyring
from service.http.keys import Keys, Scope
from tests.support.asking import app_of, client_of, is_problem
from tests.support.clusters import SPEC as NAMELESS
from tests.support.published import publish
from workers.errors import RootError
from workers.host import log
from workers.store.attempts import Attempts, Ended, Progress
from workers.store.root import Root

REPOSITORY = Path(__file__).parents[4]
SPEC = {"run": "flowers", **NAMELESS}


@pytest.fixture
def client(root, cluster, clock) -> TestClient:
    return client_of(app_of(root, cluster, clock), raise_server_exceptions=False)


def submit(client, spec=SPEC, **headers):
    return client.post("/api/v1/runs", json={"job": "scan", "spec": spec}, headers=headers)


def test_a_run_is_submitted_watched_read_and_cancelled(client, root, cluster):
    answer = submit(client)
    assert answer.status_code == 202 and answer.json()["state"] == "running"
    Attempts(root, "flowers").report_progress(
        1, Progress(datetime.now(UTC).isoformat(), "scan", 5, 10, "images", {"damaged": 1}, 2.5)
    )
    told = client.get("/api/v1/runs/flowers").json()
    assert (told["attempt"], told["progress"]["done"], told["progress"]["rejects"]) == (1, 5, {"damaged": 1})
    assert client.get("/api/v1/runs/flowers/logs").text == "log of flowers.1\n"
    assert [each["run"] for each in client.get("/api/v1/runs").json()] == ["flowers"]
    assert client.post("/api/v1/runs/flowers/cancel").json()["state"] == "cancelled"
    assert cluster.jobs["flowers.1"] is State.STOPPED
    assert is_problem(client.post("/api/v1/runs/flowers/cancel"), 409, "nothing to cancel")
    assert submit(client).json()["attempt"] == 2
    assert client.get("/api/v1/runs/flowers/logs").text == "log of flowers.2\n"
    assert client.get("/api/v1/runs/flowers/logs?attempt=1").text == "log of flowers.1\n"
    assert is_problem(client.get("/api/v1/runs/flowers/logs?attempt=3"), 404, "no attempt 3; it has 1 to 2")
    assert client.get("/api/v1/runs/flowers/logs?attempt=0").status_code == 422


def test_a_run_is_resumed_with_the_spec_of_its_last_attempt(client, root, cluster):
    submit(client)
    assert client.post("/api/v1/runs/flowers/resume").json()["attempt"] == 1  # live: it stays as it is
    client.post("/api/v1/runs/flowers/cancel")
    page = client.get("/runs/flowers").text
    assert 'action="/api/v1/runs/flowers/resume" method="post" data-act data-needs-script data-when="ended"' in page
    assert 'action="/api/v1/runs/flowers/cancel" method="post" data-act data-needs-script hidden' in page
    resumed = client.post("/api/v1/runs/flowers/resume")
    assert resumed.status_code == 202 and resumed.json()["attempt"] == 2 and "flowers.2" in cluster.jobs
    first, second = (Attempts(root, "flowers").begun(number) for number in (1, 2))
    assert first and second and first.spec == second.spec
    assert is_problem(client.post("/api/v1/runs/tulips/resume"), 404, "tulips")
    publish(root)
    assert is_problem(client.post("/api/v1/runs/first/resume"), 409, "was never submitted")


def test_a_resumed_spec_must_still_be_allowed(client, root, cluster, clock):
    submit(client)
    client.post("/api/v1/runs/flowers/cancel")
    elsewhere = client_of(app_of(root, cluster, clock, allowed=("/elsewhere",)))
    assert is_problem(elsewhere.post("/api/v1/runs/flowers/resume"), 403, "is not under an allowed prefix")


def test_the_atlas_shows_what_was_submitted_and_how_it_goes(client, root, cluster):
    publish(root)
    submit(client)
    Attempts(root, "flowers").report_progress(
        1, Progress(datetime.now(UTC).isoformat(), "scan", 5, 10, "images", {"damaged": 1}, 2.5)
    )
    front = client.get("/")
    assert 'href="/runs/flowers"' in front.text and "50 %" in front.text and "/runs/first" in front.text
    page = client.get("/runs/flowers")
    assert client.get("/submitted/flowers", follow_redirects=False).headers["location"] == "/runs/flowers"
    assert (
        page.status_code == 200
        and "1 damaged" in page.text
        and 'data-events="/api/v1/runs/flowers/events"' in page.text
    )
    assert client.get("/runs/flowers.json").json()["status"]["share"] == 0.5
    assert client.get("/runs/tulips").status_code == 404
    cluster.jobs["flowers.1"] = State.FAILED
    assert "as the test says" in client.get("/").text


def test_events_tell_the_status_until_the_run_ends(client, cluster):
    submit(client)
    cluster.jobs["flowers.1"] = State.FAILED
    with client.stream("GET", "/api/v1/runs/flowers/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    told = dict(line.split(": ", 1) for line in lines)
    assert told["event"] == "status" and json.loads(told["data"])["state"] == "failed"
    seen = {"Last-Event-ID": told["id"]}
    assert client.get("/api/v1/runs/flowers/events", headers=seen).status_code == 204  # a browser stays away then
    submit(client)
    cluster.jobs["flowers.2"] = State.FAILED
    assert client.get("/api/v1/runs/flowers/events", headers=seen).status_code == 200


def test_the_same_key_is_the_same_run_and_another_submission_with_it_is_in_the_way(client, cluster, clock):
    first = submit(client, NAMELESS, **{"Idempotency-Key": "abc"})
    clock.time += timedelta(seconds=7)
    second = submit(client, NAMELESS, **{"Idempotency-Key": "abc"})
    assert first.json()["run"] == second.json()["run"] and len(cluster.asked) == 1
    assert submit(client, NAMELESS, **{"Idempotency-Key": "def"}).json()["run"] != first.json()["run"]
    assert is_problem(submit(client, SPEC, **{"Idempotency-Key": "abc"}), 409, "Idempotency-Key")


def test_a_key_that_was_sent_before_tells_of_its_run_and_does_not_begin_it_anew(client, cluster):
    submit(client, SPEC, **{"Idempotency-Key": "abc"})
    client.post("/api/v1/runs/flowers/cancel")
    again = submit(client, SPEC, **{"Idempotency-Key": "abc"})
    assert (again.status_code, again.json()["state"], len(cluster.asked)) == (202, "cancelled", 1)
    assert submit(client, SPEC, **{"Idempotency-Key": "def"}).json()["attempt"] == 2


def test_a_submission_that_was_refused_is_refused_again_with_its_key(client, cluster):
    submit(client, SPEC)
    other = SPEC | {"scan": {"k": 4}}
    for _ in range(2):
        refused = submit(client, other, **{"Idempotency-Key": "abc"})
        assert is_problem(refused, 409, "flowers' is running with a different spec (scan.k was 9 and is now 4)")
    assert len(cluster.asked) == 1


def test_a_damaged_file_of_a_key_is_a_problem_that_names_it(client, root, cluster):
    submit(client, SPEC, **{"Idempotency-Key": "abc"})
    [name] = root.files("idempotency")
    root.put(f"idempotency/{name}", b"{")
    assert is_problem(submit(client, SPEC, **{"Idempotency-Key": "abc"}), 500, f"idempotency/{name} cannot be parsed")
    assert len(cluster.asked) == 1


@pytest.mark.parametrize(
    ("spec", "status", "told"),
    [
        (SPEC | {"scan": {"k": 0, "colour": 1}}, 422, "scan.colour"),
        (SPEC | {"run": "../up"}, 422, "is not a valid run id"),
        (SPEC | {"root": "/elsewhere"}, 403, "root '/elsewhere' is refused"),
        (SPEC | {"corpus": {"source": "/etc"}}, 403, "not under an allowed prefix"),
        (SPEC | {"corpus": {"source": "http://169.254.169.254/x"}}, 403, "not under an allowed prefix"),
        (SPEC | {"runtime_env": {"pip": ["x"]}}, 422, "runtime_env"),
        (SPEC | {"entrypoint": "sh"}, 422, "entrypoint"),
        (SPEC | {"model": {"source": "nets.py:small"}}, 422, "is code, which only commands with --trust-code accept"),
        (SPEC | {"model": {"source": "net.pt2"}, "trust_code": True}, 422, "trust_code: unknown key"),
        (SPEC | {"model": {"source": "hf-hub:org/net@main"}}, 403, "repository 'hf://org/net' is refused"),
        (SPEC | {"model": {"source": "hf-hub:/etc"}}, 403, "snapshot '/etc' is refused"),
    ],
)
def test_a_wrong_submission_is_told_every_mistake_and_nothing_is_written(client, root, cluster, spec, status, told):
    assert is_problem(submit(client, spec), status, told)
    assert not cluster.asked and not root.folders("runs")


def test_what_is_no_request_is_a_problem(client):
    for body, status in (
        (b"{", 400),
        (b"[]", 422),
        (b'{"spec": {}, "entrypoint": "sh"}', 422),
        (b'{"job": "rm"}', 422),
    ):
        answer = client.post("/api/v1/runs", content=body, headers={"content-type": "application/json"})
        assert is_problem(answer, status), (body, answer.text)
    assert (
        client.post("/api/v1/runs", content=b'{"spec": {}}', headers={"content-type": "text/plain"}).status_code == 415
    )
    assert is_problem(client.get("/api/v1/runs/tulips"), 404, "was never submitted")
    assert is_problem(client.get("/api/v1/nothing"), 404)
    answer = client.delete("/api/v1/runs")
    assert is_problem(answer, 405) and answer.headers["allow"]


def test_a_cluster_that_does_not_answer_is_a_problem_of_its_own(client, cluster):
    cluster.down = True
    assert is_problem(submit(client), 503, "nothing answers")
    cluster.down = False
    assert submit(client).json()["attempt"] == 1


def test_schedules_are_kept_fired_paused_and_forgotten(client, cluster, clock):
    asked = {"name": "nightly", "cron": "0 2 * * *", "tz": "Europe/Berlin", "spec": NAMELESS, "keep": 3}
    assert client.post("/api/v1/schedules", json=asked).status_code == 201
    assert is_problem(client.post("/api/v1/schedules", json=asked), 422, "schedule 'nightly' already exists")
    assert is_problem(
        client.post("/api/v1/schedules", json=asked | {"name": "b", "cron": "x"}), 422, "is not a valid cron expression"
    )
    elsewhere = NAMELESS | {"corpus": {"source": "/etc"}}
    assert is_problem(client.post("/api/v1/schedules", json=asked | {"name": "c", "spec": elsewhere}), 403)
    [card] = client.get("/schedules.json").json()["schedules"]
    assert card["next"] > datetime.now(UTC).isoformat() and card["last"] is None and not card["paused"]
    assert client.post("/api/v1/schedules/nightly/pause").json()["paused"]
    page = client.get("/schedules").text
    assert 'action="/api/v1/schedules/nightly/resume"' in page and "paused" in page
    assert not client.post("/api/v1/schedules/nightly/resume").json()["paused"]
    fire = client.post("/api/v1/schedules/nightly/fires")
    assert fire.status_code == 202 and cluster.asked[0][1] == fire.json()["run"]
    assert client.get("/api/v1/schedules/nightly/fires").json() == [fire.json()]
    [card] = client.get("/schedules.json").json()["schedules"]
    assert (card["last"]["run"], card["last"]["href"]) == (fire.json()["run"], f"/runs/{fire.json()['run']}")
    clock.time += timedelta(seconds=1)
    refused = client.post("/api/v1/schedules/nightly/fires")
    assert is_problem(refused, 409, f"was not submitted: run {fire.json()['run']} is live") and len(cluster.asked) == 1
    assert [bool(each["refused"]) for each in client.get("/api/v1/schedules/nightly/fires").json()] == [False, True]
    assert client.delete("/api/v1/schedules/nightly").status_code == 204
    assert client.get("/api/v1/schedules").json() == []


def test_a_key_lets_do_what_its_scope_says_and_no_more(root, cluster, clock, monkeypatch):
    monkeypatch.setattr(keyring, "LIFE_S", -1.0)  # a removed key works for that long
    publish(root)
    keys = {scope: Keys(root).add(scope, scope) for scope in Scope}
    client = client_of(app_of(root, cluster, clock))

    def asked(method: str, path: str, key: str | None, **more) -> int:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return client.request(method, path, headers=headers, **more).status_code

    body = {"json": {"job": "scan", "spec": SPEC}}
    schedule = {"json": {"name": "n", "cron": "0 2 * * *", "spec": NAMELESS}}
    for key in (None, "", "deconvoy_000000000000_" + "a" * 43, keys[Scope.READ][:-1] + "x", "x" * 5000):
        for path in (
            "/",
            "/runs/first",
            "/api/v1/runs",
            "/api/v1/runs/flowers",
            "/api/v1/openapi.json",
            "/static/atlas.css",
        ):
            assert asked("GET", path, key) == 401
        assert asked("POST", "/api/v1/runs", key, **body) == 401
    told = client.get("/api/v1/runs")
    assert is_problem(told, 401) and "first" not in told.text and "Basic" in told.headers["www-authenticate"]
    assert asked("GET", "/", keys[Scope.READ]) == asked("GET", "/api/v1/runs", keys[Scope.READ]) == 200
    assert asked("POST", "/api/v1/runs", keys[Scope.READ], **body) == 403 and not cluster.asked
    assert asked("POST", "/api/v1/runs/first/retry-rejects", keys[Scope.READ]) == 403
    assert asked("POST", "/api/v1/runs", keys[Scope.SUBMIT], **body) == 202
    assert asked("POST", "/api/v1/schedules", keys[Scope.SUBMIT], **schedule) == 403
    assert asked("POST", "/api/v1/schedules", keys[Scope.ADMIN], **schedule) == 201
    assert client.get("/", auth=("anyone", keys[Scope.READ])).status_code == 200  # as a browser sends it
    assert client.get("/healthz").text == client.get("/readyz").text == "ok"
    [number] = [key.id for key in Keys(root).all() if key.scope is Scope.READ]
    Keys(root).remove(number)
    assert asked("GET", "/", keys[Scope.READ]) == 401


def test_a_schedule_of_something_that_is_no_spec_is_told_its_mistakes(client):
    asked = {"name": "nightly", "cron": "0 2 * * *"}
    wrong: list[dict[str, Any]] = [{}, {"corpus": "x"}, {"corpus": {}}, {"model": [1]}, {"models": 3}]
    code = NAMELESS | {"model": {"source": "package.nets:small"}}
    for spec in (*wrong, code, NAMELESS | {"root": "/elsewhere"}):
        answer = client.post("/api/v1/schedules", json=asked | {"spec": spec})
        assert is_problem(answer, 403 if "root" in spec else 422), (spec, answer.text)


def test_an_error_of_the_servers_own_is_a_problem_that_tells_nothing(client, cluster, monkeypatch):
    monkeypatch.setattr(cluster, "check", lambda: dict[str, object]()["a secret"])
    answer = submit(client)
    assert is_problem(answer, 500) and "secret" not in answer.text and answer.headers["x-content-type-options"]


@pytest.mark.parametrize("host", ["x/healthz?", "x/healthz#", "localhost/healthz?"])
def test_what_a_client_calls_its_host_opens_nothing(root, cluster, clock, host):
    Keys(root).add("dashboard", Scope.READ)
    client = client_of(app_of(root, cluster, clock))
    assert client.get("/api/v1/runs", headers={"host": host}).status_code == 401


def test_what_is_damaged_under_the_root_is_the_servers_own_mistake(client, root):
    submit(client)
    root.put("runs/flowers/attempts/1-progress.json", b'"half')
    assert is_problem(client.get("/api/v1/runs/flowers"), 500, "1-progress.json cannot be parsed")
    assert [each["state"] for each in client.get("/api/v1/runs").json()] == ["damaged"]
    page = client.get("/runs/flowers")
    assert page.status_code == 500 and "Damaged" in page.text


def test_a_root_that_cannot_be_reached_is_the_servers_own_mistake(client, monkeypatch):
    def unreachable(*_: object) -> None:
        raise RootError("root 's3://bucket/atlas' cannot be read: Connection refused")

    monkeypatch.setattr(Submissions, "statuses", unreachable)
    assert is_problem(client.get("/api/v1/runs"), 503, "cannot be read")
    assert client.get("/").status_code == 503


def test_every_answer_of_the_gate_is_described(client):
    described = client.get("/api/v1/openapi.json").json()["paths"]["/api/v1/runs"]["post"]["responses"]
    assert {"401", "403", "413", "421", "429", "500", "503"} <= described.keys()


def test_rejects_of_a_run_that_crashed_their_decoder_are_tried_again_when_asked_for(client, root):
    publish(root, reason="decoder_crash")
    publish(root, "tidy")
    for name in ("cat0/012.png", "other.png"):
        told = {"uri": f"/photos/{name}", "reason": "decoder_crash", "detail": "signal 11"}
        root.put(f"verdicts/{name[0]}.json", json.dumps(told).encode())
    again = "/api/v1/runs/first/retry-rejects"
    assert is_problem(client.post(again, json={"uris": ["/photos/other.png"]}), 404, "no reject '/photos/other.png'")
    assert is_problem(client.post("/api/v1/runs/tulips/retry-rejects"), 404)
    assert is_problem(client.post(again, json={"paths": []}), 422)
    assert client.post("/api/v1/runs/tidy/retry-rejects").json() == {"run": "tidy", "files": []}
    assert set(root.files("verdicts")) == {"c.json", "o.json"}
    answer = client.post(again)
    [file] = answer.json()["files"]
    assert answer.status_code == 200
    assert file == {"uri": "/photos/cat0/012.png", "reason": "decoder_crash", "detail": "signal 11"}
    assert set(root.files("verdicts")) == {"o.json"}
    assert client.post(again).json()["files"] == []
    submit(client)
    assert is_problem(client.post("/api/v1/runs/flowers/retry-rejects"), 409, "is not published")


def test_numbers_for_prometheus_name_routes_and_states_and_no_user(client, root):
    publish(root)
    submit(client)
    client.get("/runs/first")
    client.get("/runs/secret-name")
    client.request("SECRET", "/")
    lines = client.get("/metrics").text.splitlines()
    assert 'deconvoy_runs{state="published"} 1.0' in lines and 'deconvoy_runs{state="running"} 1.0' in lines
    assert 'deconvoy_requests_total{method="GET",route="/runs/{run}",status="200"} 1.0' in lines
    assert 'deconvoy_requests_total{method="GET",route="/runs/{run}",status="404"} 1.0' in lines
    assert 'deconvoy_requests_total{method="POST",route="/api/v1/runs",status="202"} 1.0' in lines
    assert "secret" not in "".join(lines)


def test_numbers_tell_how_far_live_runs_are_and_when_schedules_fired(client, root, clock):
    submit(client)
    submit(client, SPEC | {"run": "silent"})
    client.post("/api/v1/schedules", json={"name": "nightly", "cron": "0 2 * * *", "job": "scan", "spec": NAMELESS})
    client.post("/api/v1/schedules/nightly/fires")
    Attempts(root, "flowers").report_progress(1, Progress(clock().isoformat(), "scan", 30, 120, "images", left_s=9.0))
    lines = [line.split() for line in client.get("/metrics").text.splitlines() if line[0] != "#"]
    told = {name: float(value) for name, value in lines}
    assert told['deconvoy_run_done_ratio{phase="scan",run="flowers"}'] == 0.25
    assert told['deconvoy_run_left_seconds{phase="scan",run="flowers"}'] == 9
    assert told['deconvoy_schedule_fired_seconds{schedule="nightly"}'] == clock().timestamp()
    assert told['deconvoy_schedule_refused{schedule="nightly"}'] == 0
    assert told['deconvoy_schedule_failed{schedule="nightly"}'] == 0
    [fire] = client.get("/api/v1/schedules/nightly/fires").json()
    [before] = client.get("/schedules.json").json()["schedules"]
    assert (before["last"]["run"], before["last"]["outcome"]) == (fire["run"], "running") and before["last"]["href"]
    Attempts(root, fire["run"]).end(1, Ended(clock().isoformat(), 1, "corpus 'x' does not exist"))
    clock.time += timedelta(seconds=5)
    assert 'deconvoy_schedule_failed{schedule="nightly"} 1.0' in client.get("/metrics").text
    assert client.get("/schedules.json").json()["schedules"][0]["last"]["outcome"] == "failed"
    listed = CliRunner().invoke(app, ["schedule", "list", "--root", root.url, "--json"])
    assert json.loads(listed.stdout)[0]["state"] == "failed"
    client.post("/api/v1/runs/flowers/cancel")
    assert "flowers" not in client.get("/metrics").text
    client.post("/api/v1/schedules/nightly/pause")  # silent on purpose: no alert
    assert "deconvoy_schedule_fired_seconds{" not in client.get("/metrics").text


def test_of_a_key_nothing_is_kept_that_would_make_one(root):
    text = Keys(root).add("dashboard", Scope.READ)
    kept = "".join(path.read_text() for path in Path(root.base).rglob("*.json"))
    assert text.split("_", 2)[2] not in kept and text not in kept
    assert [path.stat().st_mode & 0o777 for path in Path(root.base).glob("keys/*")] == [0o600]


def test_a_root_that_is_gone_makes_the_service_not_ready(client, root):
    Path(root.base).rmdir()
    answer = client.get("/readyz")
    assert answer.status_code == 503 and root.base not in answer.text and client.get("/healthz").status_code == 200


def test_however_often_readiness_is_asked_for_the_root_is_looked_at_once_in_a_second(client, root, monkeypatch):
    looks = []
    check = Root.check_readable
    monkeypatch.setattr(Root, "check_readable", lambda asked: looks.append(asked) or check(asked))
    assert {client.get("/readyz").status_code for _ in range(9)} == {200} and len(looks) <= 2
    Path(root.base).rmdir()
    time.sleep(1.1)
    assert client.get("/readyz").status_code == 503


def test_a_body_that_does_not_say_how_large_it_is_is_cut_off(client):
    def endless():
        for _ in range(300):
            yield b" " * 10_000

    headers = {"content-type": "application/json"}
    assert is_problem(client.post("/api/v1/runs", content=endless(), headers=headers), 413)
    assert client.post("/api/v1/runs", content=b"{}", headers={"content-length": "many"}).status_code == 413


def test_bodies_and_rates_have_limits(root, cluster, clock):
    client = client_of(app_of(root, cluster, clock, per_minute=5))
    assert is_problem(client.post("/api/v1/runs", content=b" " * (2 << 20)), 413)
    assert [client.get("/api/v1/runs").status_code for _ in range(6)] == [200] * 5 + [429]


def test_the_description_of_the_api_is_the_committed_one(client):
    """`python -m tests.support.openapi` writes it anew."""
    assert json.loads((REPOSITORY / "docs" / "openapi.json").read_text()) == client.get("/api/v1/openapi.json").json()


def test_each_request_is_a_line_with_its_id_route_status_and_the_keys_name_and_never_a_key(
    root, cluster, clock, capsys
):
    publish(root)
    key = Keys(root).add("dashboard", Scope.READ)
    client = client_of(app_of(root, cluster, clock))
    log.set_up("json")
    try:
        answer = client.get("/runs/first?secret=1", headers={"Authorization": f"Bearer {key}", "X-Request-ID": "abc-1"})
        client.get("/runs/first", headers={"Authorization": f"Bearer {key}x", "X-Request-ID": "two\nlines" * 20})
        client.post("/api/v1/runs", auth=("anyone", key), json={})
    finally:
        log.set_up("text")
    told = capsys.readouterr().err
    first, second, third = (json.loads(line) for line in told.splitlines())
    assert answer.headers["x-request-id"] == first["request"] == "abc-1" and len(second["request"]) == 16
    assert (first["method"], first["route"], first["status"]) == ("GET", "/runs/{run}", 200)
    assert (first["key"], first["run"]) == ("dashboard", "first") and 0 < first["seconds"] < 60
    assert second["status"] == 401 and "key" not in second
    assert third["status"] == 403 and third["key"] == "dashboard"
    assert key.split("_", 2)[2] not in told and "secret" not in told


def test_a_person_at_a_terminal_is_told_of_what_changes_and_what_fails(client, root, cluster, monkeypatch, capsys):
    publish(root)
    log.set_up("text")
    client.get("/runs/first")
    submit(client)
    monkeypatch.setattr(cluster, "state", lambda _: dict[str, object]()["gone"])
    client.get("/api/v1/runs")
    told = capsys.readouterr().err.splitlines()
    assert "POST /api/v1/runs 202" in told[0] and "error: GET /api/v1/runs 500" in told[1]
    assert told[-1] == "KeyError: 'gone'"
