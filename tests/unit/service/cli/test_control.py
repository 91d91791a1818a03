"""The commands of the control plane: exit codes, roots that are not there, what can be asked without a cluster."""

import json
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli import main, serve, status, submissions, submit
from service.cli.main import app
from service.control import uploads
from service.control.clusters import Nowhere, RayCluster, State
from service.control.statuses import RunState
from service.control.submissions import Submissions
from tests.support.asking import app_of, client_of, is_problem
from tests.support.clusters import SPEC as NAMELESS
from tests.support.published import publish
from workers.errors import ClusterError
from workers.host.exit_codes import NOT_TAKEN
from workers.host.log import Log
from workers.kinds import Kind
from workers.spec.plain import PlainSpec
from workers.store import paths
from workers.store.attempts import WAITING, Attempts, Begun, Ended, Progress
from workers.store.root import Root

SPEC = {"run": "flowers", **NAMELESS}
LONG_AGO = "2026-01-01T00:00:00+00:00"


@pytest.fixture
def submitted(root, cluster, monkeypatch) -> Submissions:
    """A root whose runs any command finds on the cluster that only remembers, and a spec file."""
    found = Submissions(root, cluster)
    for module in (submit, status):
        monkeypatch.setattr(module, "submissions_of", lambda *_: found)
    monkeypatch.setattr(submissions, "EVERY_S", 0.0)
    monkeypatch.setattr(status, "EVERY_S", 0.0)
    text = 'run = "flowers"\nroot = "."\n[model]\nsource = "deconvoy://zfnet-mini"\n[corpus]\nsource = "s3://bucket/photos"\n'
    root.put("run.toml", text.encode())
    return found


def deconvoy(*words: str):
    return CliRunner().invoke(app, list(words))


def waiting(root: Root):
    return deconvoy("submit", root.path("run.toml"), "--address", "http://127.0.0.1:8265", "--wait")


@pytest.mark.parametrize(("listed", "code"), [(13, 3), (100, 0)])  # one reject; 5 % are allowed
def test_who_waits_gets_the_exit_code_of_a_published_run_though_its_attempt_has_not_said_it_yet(
    submitted, root, monkeypatch, listed, code
):
    def watched(*_: object):
        publish(root, "flowers")
        path = paths.manifest_path("flowers")
        told = json.loads(root.read(path))
        root.put(path, json.dumps(told | {"totals": told["totals"] | {"listed": listed}}).encode())
        return submitted.status("flowers")

    monkeypatch.setattr(submit, "wait_for_end", watched)
    done = waiting(root)
    assert done.exit_code == code, done.output
    assert ("1 of 13 images was rejected, more than max_reject_share" in done.stderr) == bool(code)


@pytest.mark.parametrize(("ended", "code"), [(NOT_TAKEN, 1), (2, 2), (130, 130)])
@pytest.mark.usefixtures("submitted")
def test_who_waits_gets_the_exit_code_of_an_attempt_that_failed(root, cluster, monkeypatch, ended, code):
    def submit(submission_id: str, *_: object) -> None:
        cluster.jobs[submission_id] = State.FAILED
        Attempts(root, "flowers").end(1, Ended(LONG_AGO, ended, "no layer 'relu9'"))

    monkeypatch.setattr(cluster, "submit", submit)
    done = waiting(root)
    assert done.exit_code == code and done.stderr.rstrip().endswith("deconvoy: no layer 'relu9'")


@pytest.mark.parametrize(
    "words",
    [
        ("status",), ("cancel", "flowers"), ("logs", "flowers", "--address", "http://127.0.0.1:1"), ("gc",), ("retry-rejects",),
        ("keys", "list"), ("keys", "remove", "a"), ("schedule", "list"), ("schedule", "pause", "a"),
    ],
)  # fmt: skip
def test_a_root_that_is_not_there_is_no_empty_one(tmp_path, words):
    done = deconvoy(*words, "--root", str(tmp_path / "atlsa"))
    assert done.exit_code == 2 and "atlsa' does not exist" in done.stderr and not (tmp_path / "atlsa").exists()


def test_without_a_cluster_runs_are_told_and_cancelled_by_what_is_under_the_root(root):
    attempts = Attempts(root, "flowers")
    attempts.take(1, Begun(LONG_AGO, "local", Kind.SCAN, PlainSpec(SPEC)))
    told = json.loads(deconvoy("status", "flowers", "--root", root.base, "--json").stdout)
    assert (told["state"], told["error"][:19]) == ("lost", "there is no cluster")
    attempts.report_progress(1, Progress(datetime.now(UTC).isoformat(), "scan", 5, 10, "images"))
    assert "running" in deconvoy("status", "--root", root.base).stdout
    assert deconvoy("cancel", "flowers", "--root", root.base).exit_code == 0
    assert attempts.stop_reason(1) == "cancelled"  # its driver looks every ten seconds, and stops
    with pytest.raises(ClusterError, match="no cluster address: give --address"):
        Submissions(root, Nowhere()).submit("scan", SPEC)


def test_a_token_file_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/nofile")
    with pytest.raises(
        ClusterError, match=r"requires a token, or a different one: .*RAY_AUTH_TOKEN_PATH.*/nofile cannot be"
    ):
        RayCluster("http://127.0.0.1:1").check()


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("submit", "keeps running: deconvoy cancel stops it"),
        ("scan", "resumes the run"),
        ("filters", ""),
        ("serve", ""),
    ],
)
def test_who_interrupts_a_command_is_told_what_becomes_of_the_work(command, told):
    said = main._resume_hint(command)
    assert told in said and bool(told) == bool(said)


def test_what_a_job_waits_for_is_no_error_and_how_it_died_is_kept_when_its_head_is_gone(root, cluster):
    submissions = Submissions(root, cluster)
    submissions.submit("scan", SPEC)
    cluster.jobs["flowers.1"] = State.PENDING
    found = submissions.status("flowers")
    assert (found.state, found.error, found.waits) == (RunState.PENDING, "", "as the test says")
    cluster.jobs["flowers.1"] = State.FAILED  # its process never came to write anything
    assert submissions.status("flowers").error == "as the test says"
    cluster.jobs.clear()
    found = submissions.status("flowers")
    assert (found.state, found.error) == (RunState.FAILED, "as the test says")


def test_what_a_run_waits_for_is_told_by_status_the_api_and_the_page(submitted, root, cluster):
    submitted.submit("scan", SPEC)
    line = "waiting for a GPU: runs a, b and 3 more are using the cluster; 2 earlier runs are waiting"
    Attempts(root, "flowers").report_progress(1, Progress(datetime.now(UTC).isoformat(), WAITING, line=line))
    for words in (("status",), ("status", "flowers")):
        shown = " ".join(deconvoy(*words, "--root", root.base).stdout.split())
        assert "pending" in shown and line in shown and "waiting 0" not in shown
    client = client_of(app_of(root, cluster, lambda: datetime.now(UTC)))
    told = client.get("/api/v1/runs/flowers").json()
    assert (told["state"], told["waits"]) == ("pending", line)
    assert line in client.get("/submitted/flowers").text and line in client.get("/").text


@pytest.mark.parametrize("source", ["http://169.254.169.254/", "alexnet", "torchvision://alexnet?latest"])
def test_a_model_that_is_none_is_refused_before_anything_is_written(root, cluster, source):
    client = client_of(app_of(root, cluster, lambda: datetime.now(UTC)))
    answer = client.post("/api/v1/runs", json={"spec": SPEC | {"model": {"source": source}}})
    assert is_problem(answer, 422, source.partition("?")[0]) and not root.folders("runs")


def test_a_schedule_over_http_is_for_runs_that_it_names_itself_at_five_fields(root, cluster):
    client = client_of(app_of(root, cluster, lambda: datetime.now(UTC)))
    asked = {"name": "nightly", "cron": "0 2 * * *", "spec": SPEC}
    made = client.post("/api/v1/schedules", json=asked)
    assert made.status_code == 201 and "run" not in made.json()["spec"]
    asked |= {"name": "often", "cron": "* * * * * *"}
    assert is_problem(client.post("/api/v1/schedules", json=asked), 422, "it has 6 fields")


def test_a_body_that_is_not_sent_as_json_is_told_how(root, cluster):
    client = client_of(app_of(root, cluster, lambda: datetime.now(UTC)))
    body, kind = json.dumps({"spec": SPEC}), {"content-type": "text/plain"}
    assert is_problem(client.post("/api/v1/runs", content=body, headers=kind), 415, "Content-Type: application/json")
    assert is_problem(client.post("/api/v1/runs", content=body), 415, "Content-Type: application/json")


def test_a_key_is_removed_by_its_id_and_whoever_gives_a_name_is_told_it(root):
    deconvoy("keys", "add", "dashboard", "--root", root.base)
    [key] = json.loads(deconvoy("keys", "list", "--root", root.base, "--json").stdout)
    done = deconvoy("keys", "remove", "dashboard", "--root", root.base)
    assert done.exit_code == 2 and f"give the id of the key with this name: {key['id']}" in done.stderr
    done = deconvoy("keys", "remove", key["id"], "--root", root.base)
    assert done.exit_code == 0 and done.stdout == f"key {key['id']} is removed\n"


def test_a_service_whose_ray_ends_with_it_stops_its_runs_in_order_and_no_others(root, cluster, monkeypatch):
    submissions, said, before = Submissions(root, cluster), [], signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(Log, "say", lambda _, line, *__, **___: said.append(line))
    for run in ("ours", "theirs"):
        submissions.submit("scan", SPEC | {"run": run})
    del cluster.jobs["theirs.1"]  # of another service on the same root
    with pytest.raises(SystemExit), serve.exit_on_sigterm(), serve.cancel_at_end(submissions):
        signal.raise_signal(signal.SIGTERM)
    assert [submissions.status(run).state for run in ("ours", "theirs")] == [RunState.CANCELLED, RunState.PENDING]
    assert cluster.jobs["ours.1"] is State.STOPPED and said == [
        "cancelled ours, because this service is stopping its Ray; submit again to resume"
    ]
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("address", "spec", "code", "told"),
    [
        ("127.0.0.1:8265", "", 2, "is not the URL of a Ray dashboard, such as http://head:8265"),
        ("http://nowhere.invalid:8265", "[scan]\nk = 0\n", 2, "scan.k: 0 is not valid"),
        ("http://127.0.0.2:1", "", 1, "run 'flowers' was not submitted: submit it again once the cluster answers"),
    ],
)
def test_nothing_is_uploaded_for_a_run_that_cannot_be_submitted(root, monkeypatch, address, spec, code, told):
    weights = Path(root.path("weights.pt"))
    weights.write_bytes(b"weights")
    text = f"""
        run = "flowers"
        root = "memory://atlas"
        {spec}
        [model]
        source = "deconvoy://zfnet-mini?weights={weights}"
        [corpus]
        source = "s3://bucket/photos"
    """
    root.put("run.toml", text.encode())
    monkeypatch.setattr(uploads, "_upload_file", lambda *_: pytest.fail("uploaded"))
    done = deconvoy("submit", root.path("run.toml"), "--address", address)
    assert done.exit_code == code and told in done.stderr, done.output
