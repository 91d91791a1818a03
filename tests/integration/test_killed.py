"""A driver or an actor that is killed: the same command goes on, and the tables are those of a calm run."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.dry_run import dry_run
from jobs.invert import invert
from jobs.occlude import occlude
from jobs.scan import scan
from jobs.watch import SilentWatcher
from tests.support import corpora
from tests.support.engines import ENGINE
from tests.support.in_process import jobs_run_here
from workers.spec.invert import InversionRun
from workers.spec.make import make
from workers.spec.occlude import OcclusionRun
from workers.spec.scan import make_spec

IMAGES = 96


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    corpora.photos(folder, range(IMAGES))
    return folder


def values(corpus: Path, root: Path, run: str = "one"):
    return {
        "run": run,
        "root": str(root),
        "model": {"source": "deconvoy://zfnet-mini"},
        "corpus": {"source": str(corpus)},
        "scan": {"layers": ["relu1", "relu5"], "batch": 8, "shard": 8, "k": 3, "engine": ENGINE},
        "resources": {"actors": 2, "device": "cpu"},
    }


def tables(root: Path, run: str = "one"):
    return json.loads((root / "runs" / run / "manifest.json").read_text())["tables"]


def parts(root: Path, run: str = "one") -> dict[str, list[str]]:
    return {name: [part["sha256"] for part in found] for name, found in tables(root, run).items()}


@pytest.fixture(scope="module")
def calm(corpus, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("calm")
    with jobs_run_here():
        scan(make_spec(values(corpus, root)), SilentWatcher())
    return root


def start(spec) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.driver", json.dumps(spec)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def kill_session(driver: subprocess.Popen[str]) -> None:
    """kill -9 of the driver and of the Ray that it started."""
    family = psutil.Process(driver.pid).children(recursive=True)
    os.kill(driver.pid, signal.SIGKILL)
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    driver.wait()
    driver.stdout.close()
    driver.stderr.close()


def frozen(root: Path, run: str) -> dict[Path, bytes]:
    """Every published byte of a run."""
    files = [*(root / "tables").glob(f"*/run={run}/*"), *(root / "runs" / run).iterdir()]
    return {file: file.read_bytes() for file in files if file.is_file()}


def results(root: Path) -> int:
    return len(list((root / "shards").glob("[0-9a-f]*/*.parquet")))  # not those of merges


@pytest.mark.ray
@pytest.mark.slow
def test_a_published_run_is_not_touched_by_a_killed_or_a_failed_one(corpus, calm, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(calm, root)
    before = frozen(root, "one")
    killed = start(values(corpus, root, "two") | {"scan": {"layers": ["relu2"], "batch": 8, "shard": 8}})
    for line in killed.stdout:
        if line.startswith("project"):
            break
    kill_session(killed)
    photos = tmp_path / "photos"
    shutil.copytree(corpus, photos)
    failed = start(values(photos, root, "three") | {"scan": {"layers": ["relu2"], "batch": 8, "shard": 8}})
    for line in failed.stdout:
        if line.startswith("scan"):
            photos.rename(tmp_path / "unmounted")
            break
    assert "are gone; is their storage mounted?" in failed.communicate()[1]
    assert failed.returncode != 0
    assert frozen(root, "one") == before
    assert [path.parent.name for path in root.glob("runs/*/manifest.json")] == ["one"]


@pytest.mark.ray
@pytest.mark.parametrize("phase", ["scan", pytest.param("project", marks=pytest.mark.slow)])
def test_the_same_command_goes_on_after_kill_9_of_the_driver(corpus, calm, tmp_path, phase):
    driver = start(values(corpus, tmp_path))
    before = 0
    for line in driver.stdout:
        if line.startswith(phase):
            before = before or results(tmp_path)
            if results(tmp_path) >= before + 2:
                break
    kill_session(driver)
    done = results(tmp_path)
    assert not (tmp_path / "runs" / "one" / "manifest.json").exists()
    outcome = scan(make_spec(values(corpus, tmp_path)), SilentWatcher())
    assert outcome.shards_run + outcome.groups_run == results(calm) - done
    assert parts(tmp_path) == parts(calm)


@pytest.mark.ray
@pytest.mark.slow
def test_occlusion_goes_on_after_kill_9_of_the_driver(corpus, tmp_path):
    square: dict[str, Any] = {"layer": "relu5", "sample": 6, "size": 20, "stride": 2}
    asked = {name: value for name, value in values(corpus, tmp_path, "covered").items() if name != "scan"}
    asked["occlude"] = square
    driver = start(asked)
    for line in driver.stdout:
        if line.startswith("occlude") and results(tmp_path) >= 2:
            break
    kill_session(driver)
    done = results(tmp_path)
    assert done < square["sample"] and not (tmp_path / "runs" / "covered" / "manifest.json").exists()
    outcome = occlude(make(OcclusionRun, asked), SilentWatcher())
    assert (outcome.shards_run, outcome.shards_reused) == (square["sample"] - done, done)
    calm = asked | {"root": str(tmp_path / "calm")}
    occlude(make(OcclusionRun, calm), SilentWatcher())
    assert parts(tmp_path, "covered") == parts(tmp_path / "calm", "covered")


@pytest.mark.ray
@pytest.mark.slow
def test_inversion_goes_on_after_kill_9_of_the_driver(corpus, tmp_path):
    asked = {name: value for name, value in values(corpus, tmp_path, "inverted").items() if name != "scan"}
    asked["invert"] = {"layers": ["relu2", "relu4"], "sample": 4, "restarts": 2, "iterations": 40, "batch": 2}
    driver = start(asked)
    for line in driver.stdout:
        if line.startswith("invert") and results(tmp_path) >= 3:
            break
    kill_session(driver)
    done = results(tmp_path)
    assert 3 <= done < 16 and not (tmp_path / "runs" / "inverted" / "manifest.json").exists()
    outcome = invert(make(InversionRun, asked), SilentWatcher())
    assert outcome.shards_run + outcome.shards_reused == 16 and outcome.shards_reused >= done - 2
    invert(make(InversionRun, asked | {"root": str(tmp_path / "calm")}), SilentWatcher())
    assert parts(tmp_path, "inverted") == parts(tmp_path / "calm", "inverted")


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_actor_costs_its_shard_one_more_try(corpus, calm, tmp_path):
    driver = start(values(corpus, tmp_path))
    for line in driver.stdout:
        if line.startswith("scan") and results(tmp_path) >= 1:
            break
    actors = actors_of(driver)
    assert actors
    actors[0].kill()
    told = json.loads(driver.stdout.read().splitlines()[-1])
    assert driver.wait() == 0
    driver.stdout.close()
    driver.stderr.close()
    assert told["shards_run"] == IMAGES // 8
    assert parts(tmp_path) == parts(calm)


def actors_of(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    return [p for p in psutil.Process(driver.pid).children(recursive=True) if "ray::Actor" in " ".join(p.cmdline())]


@pytest.mark.ray
@pytest.mark.slow
def test_all_actors_stopped_for_forty_seconds_give_the_tables_of_a_calm_run(corpus, calm, tmp_path):
    driver = start(values(corpus, tmp_path))
    for line in driver.stdout:
        if line.startswith("scan") and results(tmp_path) >= 1:
            break
    stopped = actors_of(driver)
    assert stopped
    for actor in stopped:
        actor.suspend()
    time.sleep(40)
    for actor in stopped:
        with contextlib.suppress(psutil.NoSuchProcess):  # replaced meanwhile
            actor.resume()
    driver.communicate()
    assert driver.returncode == 0
    assert parts(tmp_path) == parts(calm)


def test_ten_percent_more_images_cost_only_the_new_shards(tmp_path):
    folder, root = tmp_path / "photos", tmp_path / "root"
    corpora.photos(folder, range(20))
    with jobs_run_here():
        first = scan(make_spec(values(folder, root)), SilentWatcher())
    corpora.photos(folder, range(20, 22))
    published = {path: path.read_bytes() for path in (root / "tables").rglob("*.parquet")}
    assert dry_run(make_spec(values(folder, root, "two"))).shards_done == 2
    with jobs_run_here():
        second = scan(make_spec(values(folder, root, "two")), SilentWatcher())
    assert (first.shards_run, second.shards_run, second.shards_reused) == (3, 1, 2)
    assert all(path.read_bytes() == data for path, data in published.items())
