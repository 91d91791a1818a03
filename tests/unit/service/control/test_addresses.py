"""Which cluster is asked, and who sees its token: the one that was given, whatever the environment names."""

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from service.cli.main import app
from service.control import addresses
from service.control.clusters import LocalCluster, RayCluster
from workers.errors import ClusterError
from workers.store.attempts import Attempts
from workers.store.root import Root

TOKEN = "a" * 64


class Dashboard:
    """A listener that answers as a Ray dashboard does and keeps what it was asked, headers included."""

    def __init__(self) -> None:
        asked: list[tuple[str, str, str]] = []

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append((self.command, self.path, self.headers.get("Authorization", "")))
                sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if sent:
                    told = dict.fromkeys(("job_id", "submission_id"), json.loads(sent)["submission_id"])
                elif self.path.startswith("/api/jobs"):
                    told = {"type": "SUBMISSION", "status": "PENDING", "entrypoint": ""}
                else:
                    told = {"ray_version": "2.60.0", "ray_commit": "", "version": "4"}
                body = json.dumps(told).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815 - http.server's name

            def log_message(self, *_: object) -> None:
                pass

        self.asked = asked
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def tokens(self) -> set[str]:
        return {token for _, _, token in self.asked}


@pytest.fixture
def dashboards(monkeypatch, tmp_path) -> Iterator[tuple[Dashboard, Dashboard]]:
    """The one that is meant, and another; the environment holds a token, and no home of ours another."""
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "DECONVOY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    monkeypatch.setenv("HOME", str(tmp_path))
    found = Dashboard(), Dashboard()
    yield found
    for each in found:
        each.close()


def submit(tmp_path, *words: str):
    (tmp_path / "run.toml").write_text(
        f'run = "flowers"\nroot = "{tmp_path}/atlas"\n[model]\nsource = "deconvoy://zfnet-mini"\n'
        f'[corpus]\nsource = "{tmp_path}"\n'
    )
    return CliRunner().invoke(app, ["submit", str(tmp_path / "run.toml"), *words])


@pytest.mark.parametrize("variable", addresses.VARIABLES)
@pytest.mark.parametrize("given", ["flag", "DECONVOY_ADDRESS"])
def test_the_address_that_is_given_gets_the_job_and_the_token_and_the_environments_sees_nothing(
    dashboards, tmp_path, monkeypatch, variable, given
):
    meant, other = dashboards
    monkeypatch.setenv(variable, other.address)
    if given != "flag":
        monkeypatch.setenv(given, meant.address)
    done = submit(tmp_path, *(("--address", meant.address) if given == "flag" else ()))
    assert done.exit_code == 0, done.output
    assert other.asked == []
    assert meant.tokens == {f"Bearer {TOKEN}"} and ("POST", "/api/jobs/", f"Bearer {TOKEN}") in meant.asked
    assert Attempts(Root(f"{tmp_path}/atlas"), "flowers").begun(1).cluster == meant.address


def test_without_an_address_rays_environment_is_used_and_reported(dashboards, tmp_path, monkeypatch):
    meant, other = dashboards
    monkeypatch.setenv("RAY_ADDRESS", other.address)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", meant.address)  # Ray's own order
    done = submit(tmp_path)
    assert done.exit_code == 0, done.output
    assert f"using the Ray cluster at {meant.address}, from RAY_API_SERVER_ADDRESS\n" in done.stderr
    assert other.asked == [] and Attempts(Root(f"{tmp_path}/atlas"), "flowers").begun(1).cluster == meant.address


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("", "no cluster address: give --address, such as http://head:8265, or set DECONVOY_ADDRESS"),
        ("10.0.0.7:6379", "RAY_ADDRESS=10.0.0.7:6379 does not name a dashboard, where jobs are submitted: give --address http://10.0.0.7:8265"),
        ("auto", "RAY_ADDRESS=auto does not name a dashboard"),
        ("ray://head:10001", "RAY_ADDRESS=ray://head:10001 is an address for Ray Client, which is not supported"),
        ("http://head:port", "'http://head:port' is not the URL of a Ray dashboard"),
        ("http://me:secret@head:8265", "an address must not contain a user name or password"),
        ("ray://me:secret@head:10001", "an address must not contain a user name or password"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("dashboards")
def test_what_is_not_a_dashboard_in_the_environment_is_one_line(tmp_path, monkeypatch, value, told):
    monkeypatch.setenv("RAY_ADDRESS", value)
    done = submit(tmp_path)
    assert done.exit_code == 2 and told in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert "secret" not in done.output and not (tmp_path / "atlas").exists()


def test_of_two_clusters_in_one_process_neither_sees_the_others_token(dashboards, monkeypatch):
    """A service's own Ray has a token of its own; a cluster elsewhere gets that of the environment."""
    ours, theirs = dashboards
    monkeypatch.setenv("RAY_ADDRESS", theirs.address)
    head = f"import sys; print('{ours.address}', 'b' * 64, flush=True); sys.stdin.read()"
    monkeypatch.setattr("service.control.clusters.HEAD", ("-c", head))
    before = dict(os.environ)
    with LocalCluster() as local:
        local.check()
        local.submit("flowers.1", "root", "flowers", 1)
        RayCluster(theirs.address).check()
        local.state("flowers.1")
    assert ours.tokens == {f"Bearer {'b' * 64}"} and theirs.tokens == {f"Bearer {TOKEN}"}
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("environment", "header"),
    [
        ({"RAY_AUTH_MODE": "disabled"}, ""),
        ({"RAY_AUTH_TOKEN": ""}, "Bearer of-this-machine"),
        ({"RAY_AUTH_TOKEN": "", "RAY_AUTH_TOKEN_PATH": "token"}, "Bearer of-a-file"),
    ],
)
def test_a_token_is_found_where_ray_finds_it(dashboards, tmp_path, monkeypatch, environment, header):
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("of-this-machine\n")
    (tmp_path / "token").write_text("of-a-file\n")
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    RayCluster(dashboards[0].address).check()
    assert dashboards[0].tokens == {header}


def test_a_token_that_no_header_can_carry_is_one_line_and_not_repeated(dashboards, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret\nX-Other: 1")
    with pytest.raises(ClusterError, match="requires a token, or a different one") as told:
        RayCluster(dashboards[0].address).check()
    assert "secret" not in str(told.value) and "\n" not in str(told.value) and dashboards[0].asked == []
