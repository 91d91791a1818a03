"""Runs on a real Ray head with token authentication: submitted by command and over HTTP, cancelled, robbed of their head."""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pyarrow.parquet as pq
import pytest

from jobs.scan import scan
from jobs.watch import SilentWatcher
from tests.support import corpora
from tests.support.heads import Head, environment, free_port
from workers.spec.scan import make_spec

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]
PHOTOS = 400  # many enough that a run can be cancelled in its middle
BUT_THE_TIME = "runs"  # the table that holds times


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    corpora.photos(folder / "photos", range(PHOTOS))
    corpora.photos(folder / "few", range(12))
    return folder


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        found = Head(Path(folder), cpus=3)
        yield found
        found.kill()


def write_spec(place: Path, run: str, corpus: str, root: str = "atlas") -> Path:
    """A spec file of small shards, so that a run can be caught in its middle."""
    path = place / f"{run}.toml"
    path.write_text(
        f'run = "{run}"\nroot = "{root}"\n[model]\nsource = "deconvoy://zfnet-mini"\n[corpus]\nsource = "{corpus}"\n'
        '[scan]\nlayers = ["relu2"]\nbatch = 8\nshard = 8\n[resources]\ndevice = "cpu"\n'
    )
    return path


def deconvoy(*words: object, code: int = 0, more: Mapping[str, str] = {}) -> str:
    command = [str(Path(sys.executable).parent / "deconvoy"), *map(str, words)]
    done = subprocess.run(command, env={**environment(), **more}, capture_output=True, text=True, timeout=200)
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    return done.stdout if code == 0 else done.stderr


def status(place: Path, head: Head, run: str) -> dict[str, Any]:
    return json.loads(deconvoy("status", run, "--root", place / "atlas", "--address", head.address, "--json"))


def shards(place: Path) -> int:
    return len(list((place / "atlas" / "shards").glob("[0-9a-f]*/*.parquet")))


def wait_for(what, patience_s: float = 90) -> None:
    until = time.monotonic() + patience_s
    while not what():
        assert time.monotonic() < until
        time.sleep(0.1)


def tables(root: Path, run: str) -> dict[str, bytes]:
    found = root.glob(f"tables/*/run={run}/*.parquet")
    return {
        f"{path.parent.parent.name}/{path.name}": path.read_bytes() for path in found if BUT_THE_TIME not in path.parts
    }


def test_every_command_of_the_services_page_does_what_it_says(place, head):
    """In order, in one folder: a run is submitted, watched to its end and queried, a schedule kept and fired, a key made."""
    write_spec(place, "flowers", "few").rename(place / "run.toml")
    page = (Path(__file__).parents[2] / "docs" / "service.md").read_text()
    told = {}
    for line in re.findall(r"^\$ (.*)$", page, re.MULTILINE):
        command = line.replace("http://head:8265", head.address)
        words = ["/bin/sh", "-c", command]
        done = subprocess.run(words, cwd=place, env=environment(), capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, f"$ {command}\n{done.stdout}\n{done.stderr}"
        told[line] = done.stdout
    run = status(place, head, "flowers")
    assert (run["state"], run["attempt"], run["progress"]["phase"]) == ("published", 1, "publish")
    assert sum(run["progress"]["shares"].values()) == pytest.approx(1)
    assert any("scan: 12 images" in output for output in told.values())
    query = (
        "query",
        "top",
        "--root",
        place / "atlas",
        "--run",
        "flowers",
        "--layer",
        "relu2",
        "--channel",
        1,
        "--json",
    )
    assert len(json.loads(deconvoy(*query))) == 9


def test_a_jobs_own_refusal_is_the_runs_error_and_the_exit_code(place, head):
    spec = write_spec(place, "wrong", "few")
    spec.write_text(spec.read_text().replace("relu2", "relu9"))
    assert "no layer 'relu9' in the model" in deconvoy("submit", spec, "--address", head.address, "--wait", code=2)
    assert status(place, head, "wrong")["state"] == "failed"
    spec.write_text(spec.read_text().replace("relu9", "relu2").replace("[resources]", "[resources]\nactors = 40"))
    told = deconvoy("submit", spec, "--address", head.address, "--wait", code=2)
    assert "actors = 40, with 1 CPU each: the cluster has room for 3" in told  # drivers take none


def test_a_run_that_is_cancelled_leaves_no_actor_and_no_table_and_goes_on_when_submitted_again(place, head):
    spec = write_spec(place, "cancelled", "photos")
    before = shards(place)
    deconvoy("submit", spec, "--address", head.address)
    wait_for(lambda: shards(place) > before + 2)
    assert head.actors()
    told = json.loads(deconvoy("cancel", "cancelled", "--root", place / "atlas", "--address", head.address, "--json"))
    assert told["state"] == "cancelled"
    wait_for(lambda: not head.actors())
    assert not (place / "atlas" / "runs" / "cancelled" / "manifest.json").exists()
    done = shards(place)
    assert json.loads(deconvoy("submit", spec, "--address", head.address, "--wait", "--json"))["attempt"] == 2
    assert before + 2 < done < shards(place)
    assert pq.read_table(place / "atlas" / "tables" / "images" / "run=cancelled").num_rows == PHOTOS


@pytest.mark.slow
def test_a_run_whose_head_was_killed_is_lost_and_ends_on_another_head_as_a_calm_run_does(place):
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        spec = write_spec(place, "robbed", "photos", root="robbed")
        first = Head(Path(folder) / "1", cpus=3)
        deconvoy("submit", spec, "--address", first.address)
        results = place / "robbed" / "shards"
        wait_for(lambda: len(list(results.glob("*/*.parquet"))) > 2)
        first.kill()
        assert not (place / "robbed" / "runs" / "robbed" / "manifest.json").exists()
        second = Head(Path(folder) / "2", cpus=3)
        try:
            wait_for(
                lambda: "lost" in deconvoy("status", "robbed", "--root", place / "robbed", "--address", second.address)
            )
            told = json.loads(deconvoy("submit", spec, "--address", second.address, "--wait", "--json"))
            assert (told["state"], told["attempt"]) == ("published", 2)
        finally:
            second.kill()
    calm = {"run": "robbed", "root": str(place / "calm"), "model": {"source": "deconvoy://zfnet-mini"}}
    calm |= {"corpus": {"source": str(place / "photos")}, "resources": {"device": "cpu"}}
    scan(make_spec(calm | {"scan": {"layers": ["relu2"], "batch": 8, "shard": 8}}), SilentWatcher())
    assert tables(place / "robbed", "robbed") == tables(place / "calm", "robbed")


@contextmanager
def serving(root: Path, allowed: Path, **more: str) -> Iterator[httpx2.Client]:
    """A client of a service that starts a Ray of its own."""
    root.mkdir()
    port = free_port()
    command = [str(Path(sys.executable).parent / "deconvoy"), "serve", "--root", str(root), "--port", str(port)]
    kept = {key: value for key, value in environment().items() if not key.startswith("RAY_")} | more
    service = subprocess.Popen([*command, "--allow", str(allowed)], env=kept, stdout=subprocess.PIPE, text=True)
    try:
        assert service.stdout is not None and service.stdout.readline() == f"the atlas is at http://127.0.0.1:{port}/\n"
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            yield client
    finally:
        service.terminate()
        assert service.wait(60) in (0, -15)


def scan_of(place: Path) -> dict[str, Any]:
    return {
        "model": {"source": "deconvoy://zfnet-mini"}, "corpus": {"source": str(place / "few")},
        "scan": {"layers": ["relu2"]}, "resources": {"device": "cpu"},
    }  # fmt: skip


def states_of(client: httpx2.Client, run: str) -> list[dict[str, Any]]:
    """What a run's events say until it ends."""
    with client.stream("GET", f"/api/v1/runs/{run}/events") as events:
        return [json.loads(line[6:]) for line in events.iter_lines() if line.startswith("data: ")]


def test_the_service_submits_to_its_own_ray_and_tells_how_it_goes(place):
    with serving(place / "served", place / "few") as client:
        body = {"job": "scan", "spec": scan_of(place)}
        sent = [client.post("/api/v1/runs", json=body, headers={"Idempotency-Key": "one"}) for _ in range(2)]
        assert [answer.status_code for answer in sent] == [202, 202]
        run = sent[0].json()["run"]
        assert sent[1].json()["run"] == run
        states = [each["state"] for each in states_of(client, run)]
        assert states[-1] == "published" and "running" in states
        assert client.get(f"/runs/{run}/layers/relu2").status_code == 200
        assert client.get(f"/api/v1/runs/{run}").json()["attempt"] == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_runs_beyond_the_cpus_of_the_services_own_ray_all_publish_whatever_ray_the_environment_names(place, head):
    other = {"RAY_ADDRESS": head.address, "RAY_AUTH_TOKEN": environment()["RAY_AUTH_TOKEN"]}
    with serving(place / "seven", place / "few", **other) as client:
        sent = [client.post("/api/v1/runs", json={"job": "scan", "spec": scan_of(place)}) for _ in range(7)]
        assert [answer.status_code for answer in sent] == [202] * 7
        with ThreadPoolExecutor(
            7
        ) as pool:  # all at once: one after the other, each would be followed only when its turn comes
            states = list(pool.map(lambda answer: states_of(client, answer.json()["run"]), sent))
    assert [of_run[-1]["state"] for of_run in states] == ["published"] * 7
    assert any("waiting for a CPU: run" in state["waits"] for of_run in states for state in of_run)
    attempts = (place / "seven" / "runs").glob("*/attempts/1-begun.json")
    assert {json.loads(path.read_text())["cluster"] for path in attempts} == {"local"}


@pytest.mark.slow
def test_of_two_heads_the_one_that_is_given_gets_the_job_whatever_the_environment_names(place, head):
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        other = Head(Path(folder), cpus=1)
        try:
            spec = write_spec(place, "meant", "few")
            for variable in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
                words = ("submit", spec, "--run", variable.lower(), "--address", head.address, "--wait", "--json")
                told = json.loads(deconvoy(*words, more={variable: other.address}))
                assert told["state"] == "published"
                path = place / "atlas" / "runs" / variable.lower() / "attempts" / "1-begun.json"
                assert json.loads(path.read_text())["cluster"] == head.address
                assert "is published: 12 images" in logs(place, head, variable.lower())
                assert logs(place, other, variable.lower()) == ""
            told = deconvoy("submit", spec, "--wait", "--run", "environment", more={"RAY_ADDRESS": other.address})
            assert "published" in told and "is published: 12 images" in logs(place, other, "environment")
        finally:
            other.kill()


def logs(place: Path, head: Head, run: str) -> str:
    return deconvoy("logs", run, "--root", place / "atlas", "--address", head.address)
