"""A store that refuses everything for a while, or is full: the run waits, or ends in one line and resumes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import corpora, failing_store

pytestmark = pytest.mark.ray
REPOSITORY = Path(__file__).parents[2]
IMAGES = 24
# The first write of each phase: a shard result, that of a group, which comes after those of three shards, the first file that
# is moved into place, and manifest.json.
PHASES: dict[str, dict[str, Any]] = {
    "scan": {"match": "/shards/"},
    "project": {"match": "/shards/", "files": 3},
    "move": {"match": "/tables/"},
    "publish": {"match": "/one/manifest.json"},
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    corpora.photos(folder, range(IMAGES))
    return folder


def scan(corpus: Path, root: str, control: Path, patience_s: float) -> subprocess.CompletedProcess[str]:
    spec = (
        f'run = "one"\nroot = "{root}"\n[model]\nsource = "deconvoy://zfnet-mini"\n[corpus]\nsource = "{corpus}"\n'
        '[scan]\nlayers = ["relu1"]\nbatch = 4\nshard = 8\nk = 3\n[resources]\nactors = 1\ndevice = "cpu"\n'
    )
    path = control.with_suffix(".toml")
    path.write_text(spec)
    python_path = os.pathsep.join([str(REPOSITORY / "tests" / "support" / "failing"), str(REPOSITORY)])
    more = {"PYTHONPATH": python_path, failing_store.CONTROL: str(control)}
    code = "from service.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "scan", "--spec", str(path)],
        env=os.environ | more | {"DECONVOY_STORE_PATIENCE_S": str(patience_s)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def parts(root: Path) -> dict[str, list[str]]:
    told = json.loads((root / "runs" / "one" / "manifest.json").read_text())
    return {name: [part["sha256"] for part in files] for name, files in told["tables"].items()}


def errors(result: subprocess.CompletedProcess[str]) -> list[str]:
    assert "Traceback" not in result.stderr + result.stdout, result.stderr
    return [line for line in result.stderr.splitlines() if line.startswith("deconvoy: ")]


@pytest.fixture(scope="module")
def calm(corpus, tmp_path_factory) -> dict[str, list[str]]:
    folder = tmp_path_factory.mktemp("calm")
    result = scan(corpus, str(folder / "root"), folder / "control", 60)
    assert result.returncode == 0, result.stderr
    return parts(folder / "root")


@pytest.mark.parametrize(
    "phase", ["scan", *(pytest.param(phase, marks=pytest.mark.slow) for phase in ("move", "project", "publish"))]
)
def test_a_store_that_refuses_everything_for_a_while_costs_that_while(phase, corpus, calm, tmp_path):
    control = tmp_path / "control"
    failing_store.refuse(control, seconds=4, **PHASES[phase])
    result = scan(corpus, f"failing://{tmp_path}/root", control, 60)
    assert result.returncode == 0, result.stderr
    assert failing_store.began(control) and not errors(result)
    assert parts(tmp_path / "root") == calm


@pytest.mark.slow
@pytest.mark.parametrize("phase", PHASES)
def test_a_store_that_refuses_for_longer_ends_the_run_in_one_line_and_the_same_command_resumes(
    phase, corpus, calm, tmp_path
):
    control = tmp_path / "control"
    failing_store.refuse(control, seconds=1e9, **PHASES[phase])
    result = scan(corpus, f"failing://{tmp_path}/root", control, 2)
    [line] = errors(result)
    assert result.returncode == 1
    assert "An error occurred (503)" in line and line.endswith("run the same command again")
    failing_store.calm(control)
    again = scan(corpus, f"failing://{tmp_path}/root", control, 2)
    assert again.returncode == 0, again.stderr
    assert parts(tmp_path / "root") == calm


@pytest.mark.parametrize(
    "phase", [*(pytest.param(each, marks=pytest.mark.slow) for each in ("scan", "project", "move")), "publish"]
)
def test_a_full_store_ends_the_run_in_one_line_and_the_same_command_resumes(phase, corpus, calm, tmp_path):
    control = tmp_path / "control"
    failing_store.refuse(control, seconds=1e9, **PHASES[phase], error="full")
    result = scan(corpus, f"failing://{tmp_path}/root", control, 60)
    [line] = errors(result)
    assert result.returncode == 1
    assert "no space left on" in line and line.endswith("free some space; the same command resumes the run")
    failing_store.calm(control)
    again = scan(corpus, f"failing://{tmp_path}/root", control, 60)
    assert again.returncode == 0, again.stderr
    assert parts(tmp_path / "root") == calm
