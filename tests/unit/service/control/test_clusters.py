"""What is said of a cluster that does not answer, wants another token, or is none: one line, and what is certain."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from service.cli.main import app
from service.control import clusters, submissions
from service.control.clusters import LocalCluster, RayCluster
from service.control.submissions import Submissions
from tests.support.clusters import SPEC, FakeCluster
from workers.errors import ClusterError, NoAnswer, NotTaken, RunError
from workers.host.exit_codes import NOT_TAKEN
from workers.kinds import Kind
from workers.spec.plain import PlainSpec
from workers.store.attempts import Attempts, Begun, Ended
from workers.store.root import Root

RUN = {"run": "flowers", **SPEC}


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """The address of something that answers every question in the same way."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "told", "code"),
    [
        (200, b"<html>", "is not a Ray dashboard", 2),
        (200, b"{}", "is not a Ray dashboard", 2),
        (200, b"[]", "is not a Ray dashboard", 2),
        (404, b"", "is not a Ray dashboard", 2),
        (401, b"", "requires a token, or a different one: set RAY_AUTH_TOKEN", 2),
        (403, b"", "requires a token, or a different one: set RAY_AUTH_TOKEN", 2),
        (502, b"", "nothing answers at http", 1),
    ],
)
def test_what_is_no_cluster_of_ours_is_one_line_and_the_run_is_not_written_down(tmp_path, status, body, told, code):
    (tmp_path / "run.toml").write_text(
        f'run = "flowers"\nroot = "{tmp_path}/atlas"\n[model]\nsource = "deconvoy://zfnet-mini"\n'
        f'[corpus]\nsource = "{tmp_path}"\n'
    )
    with answering(status, body) as address:
        done = CliRunner().invoke(app, ["submit", str(tmp_path / "run.toml"), "--address", address])
    assert done.exit_code == code and done.stderr.count("\n") == 1
    assert told in done.stderr and "run 'flowers' was not submitted" in done.stderr
    assert not (tmp_path / "atlas").exists()


def test_a_head_that_accepts_and_says_nothing_is_not_waited_for_twice(monkeypatch):
    monkeypatch.setattr(clusters, "ANSWER_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cluster = RayCluster(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(NoAnswer, match="nothing answers at"):
            cluster.check()
        monkeypatch.setattr(clusters, "ANSWER_S", 600.0)
        with pytest.raises(NoAnswer, match="nothing answers at"):
            cluster.state("flowers.1")


@pytest.mark.parametrize("address", ["head:8265", "ray://head:10001", "http://", "http://head:port", "http://head:0"])
def test_what_is_no_address_is_refused_before_anything_is_asked(address):
    with pytest.raises(ClusterError, match="is not the URL of a Ray dashboard"):
        RayCluster(address)


def test_an_address_with_a_password_is_refused_and_not_repeated():
    with pytest.raises(ClusterError) as told:
        RayCluster("http://me:secret@head:8265")
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("command", ["status", "logs", "cancel"])
def test_commands_tell_what_the_root_knows_of_a_run_whose_cluster_is_gone(tmp_path, command):
    root = Root(str(tmp_path))
    Attempts(root, "flowers").take(
        1, Begun("2026-01-01T00:00:00+00:00", "http://127.0.0.1:1", Kind.SCAN, PlainSpec(RUN))
    )
    words = [command, "flowers", "--root", root.base, "--address", "http://127.0.0.1:1"]
    done = CliRunner().invoke(app, words)
    told = done.stdout + done.stderr
    assert done.exit_code == {"status": 0, "logs": 1, "cancel": 2}[command], told
    assert {"status": "the run does not respond", "logs": "nothing answers", "cancel": "is lost"}[command] in told


class Forgetful:
    """Ray's client, whose answer to a submission is lost on the way; that to the questions after it too, if so told."""

    def __init__(self, *, takes: bool, lost: int) -> None:
        self.takes, self.lost = takes, lost
        self.jobs: set[str] = set()

    def get_version(self) -> str:
        return "1"

    def submit_job(self, submission_id: str, **_: object) -> None:
        if self.takes:
            self.jobs.add(submission_id)
        raise TimeoutError

    def get_job_info(self, submission_id: str) -> SimpleNamespace:
        if self.lost:
            self.lost -= 1
            raise ConnectionError
        if submission_id not in self.jobs:
            raise RuntimeError(f"status code 404: {submission_id} does not exist")
        return SimpleNamespace(status=SimpleNamespace(value="RUNNING"), message="")


def forgetful(monkeypatch, root, *, takes: bool, lost: int) -> Submissions:
    monkeypatch.setattr(submissions, "RECHECK_S", (0.0, 0.0, 0.0))
    monkeypatch.setattr(clusters, "_connect", lambda *_: Forgetful(takes=takes, lost=lost))
    return Submissions(Root(str(root)), RayCluster("http://forgetful:8265"))


def test_a_job_that_was_taken_though_the_answer_was_lost_is_no_failed_attempt(tmp_path, monkeypatch):
    assert forgetful(monkeypatch, tmp_path, takes=True, lost=2).submit("scan", RUN).state == "running"
    assert Attempts(Root(str(tmp_path)), "flowers").ended(1) is None


def test_a_job_that_was_not_taken_is_a_failed_attempt_that_is_worth_another(tmp_path, monkeypatch):
    other = forgetful(monkeypatch, tmp_path, takes=False, lost=1)
    with pytest.raises(NotTaken, match=r"did not accept run 'flowers' \(attempt 1\)") as told:
        other.submit("scan", RUN)
    ended = Attempts(other.root, "flowers").ended(1)
    assert ended == Ended(ended.at, NOT_TAKEN, ended.error) and "nothing answers" in ended.error
    assert told.value.exit_code == 1  # 2 would say that trying again is in vain


def test_an_attempt_of_which_nobody_can_say_whether_it_was_taken_stays_open(tmp_path, monkeypatch):
    silent = forgetful(monkeypatch, tmp_path, takes=True, lost=3)
    with pytest.raises(NoAnswer, match="may or may not have accepted attempt 1 of run 'flowers'"):
        silent.submit("scan", RUN)
    assert Attempts(silent.root, "flowers").ended(1) is None
    assert isinstance(silent.cluster, clusters.RayCluster)
    silent.cluster._silent_until = 0.0  # five seconds later
    assert silent.status("flowers").state == "running"


def test_looking_starts_no_ray(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a Ray was started"))
    root = Root(str(tmp_path))
    Attempts(root, "flowers").take(1, Begun("2026-01-01T00:00:00+00:00", "local", Kind.SCAN, PlainSpec(RUN)))
    with LocalCluster() as cluster:
        looked = Submissions(root, cluster)
        assert [each.state for each in looked.statuses()] == ["lost"] and looked.logs("flowers") == ""
        with pytest.raises(RunError, match="is lost: there is nothing to cancel"):
            looked.cancel("flowers")


def test_fewer_actors_can_be_asked_for_where_the_spec_does_not(tmp_path, monkeypatch):
    (tmp_path / "run.toml").write_text(
        f'run = "flowers"\nroot = "{tmp_path}/atlas"\n[model]\nsource = "deconvoy://zfnet-mini"\n'
        f'[corpus]\nsource = "{tmp_path}"\n[resources]\nactors = 40\n'
    )
    cluster = FakeCluster()
    monkeypatch.setattr(clusters, "RayCluster", lambda _: cluster)
    done = CliRunner().invoke(app, ["submit", str(tmp_path / "run.toml"), "--fewer", "--address", "http://127.0.0.1:1"])
    assert done.exit_code == 0, done.stderr
    begun = Attempts(Root(f"{tmp_path}/atlas"), "flowers").begun(1)
    resources = begun.spec.values["resources"]
    assert (resources["actors"], resources["fewer"]) == (40, True)


def test_a_ray_of_the_service_that_does_not_end_is_killed(monkeypatch, caplog):
    monkeypatch.setattr(clusters, "ENDING_S", 0.3)
    words = [sys.executable, "-c", "import time; time.sleep(60)"]  # it does not read its standard input
    started = time.monotonic()
    with LocalCluster() as cluster:
        cluster._head = head = subprocess.Popen(words, stdin=subprocess.PIPE, text=True, start_new_session=True)
    assert head.wait(5) == -signal.SIGKILL and time.monotonic() - started < 5
    assert "did not end within 0.3 s and was killed" in caplog.text
