"""Container images: what they copy is there, what they install is what the project says, and the service needs no torch."""

import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.support import deployed
from tests.support.deployed import DEPLOY, REPOSITORY

IMAGES = ("worker", "service")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
ONLY_THE_WORKER = {"torch", "torchvision"}


def lines(path: str) -> list[str]:
    return [line for line in (DEPLOY / "images" / path).read_text().splitlines() if line and not line.startswith("#")]


def instructions(image: str) -> list[list[str]]:
    """A Dockerfile's instructions as words."""
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines(f"{image}.Dockerfile")))
    return [line.split() for line in joined.splitlines()]


def pinned() -> dict[str, str]:
    return dict(line.split("==") for line in lines("constraints.txt"))


def test_the_requirements_of_the_images_are_the_projects_without_torch():
    wanted = [each for each in PROJECT["dependencies"] if Requirement(each).name not in ONLY_THE_WORKER]
    assert lines("requirements.txt") == wanted


def test_what_is_pinned_is_what_the_project_takes():
    taken = {Requirement(each).name: Requirement(each).specifier for each in PROJECT["dependencies"]}
    assert pinned().keys() >= {"ray", *ONLY_THE_WORKER}
    assert not [name for name, version in pinned().items() if version not in taken[name]]


@pytest.mark.parametrize("image", IMAGES)
def test_what_an_image_copies_is_there_and_reaches_its_build(image):
    ignored = (REPOSITORY / ".dockerignore").read_text().split("\n")
    let_in = [line[1:] for line in ignored if line.startswith("!")]
    copied = [source for name, *words in instructions(image) if name == "COPY" for source in words[:-1]]
    assert {"pyproject.toml", "workers", "jobs", "service", "deconvoy"} <= set(copied)
    assert not [source for source in copied if not (REPOSITORY / source).exists()]
    assert not [source for source in copied if not any(fnmatch(source, f"{each}*") for each in let_in)]


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_installs_the_pinned_versions_and_runs_as_a_user_who_is_not_root(image):
    found = instructions(image)
    installs = [" ".join(words) for name, *words in found if name == "RUN" and "pip install" in " ".join(words)]
    assert (
        len(installs) == 2 and "-c constraints.txt -r requirements.txt" in installs[0] and "--no-deps ." in installs[1]
    )
    assert all((f" {name}" in installs[0]) == (image == "worker") for name in ONLY_THE_WORKER)
    [user] = [words for name, *words in found if name == "USER"]
    assert user == ["1000:1000"]
    [base] = [words for name, *words in found if name == "FROM"]
    assert base == ["python:3.11-slim-bookworm"], "both of one base, so that Ray has one Python"


def test_the_images_are_named_by_the_projects_version_everywhere():
    named = [service["image"] for service in deployed.read("compose.yaml")["services"].values() if "build" in service]
    named.append(deployed.read("ray-cluster.yaml")["docker"]["image"].rpartition("/")[2])
    for name in deployed.KUSTOMIZATIONS:
        named += [f"{image['name']}:{image['newTag']}" for image in deployed.kustomization(name)["images"]]
    assert set(named) == {f"deconvoy-{image}:{PROJECT['version']}" for image in IMAGES}


def test_ray_has_one_version_and_it_knows_tokens():
    assert {cluster["rayVersion"] for cluster in deployed.clusters()} == {pinned()["ray"]}
    assert Version(pinned()["ray"]) >= Version("2.52")


WITHOUT_TORCH = """
import importlib, pkgutil, sys
sys.modules["torch"] = sys.modules["torchvision"] = None  # importing them raises ImportError
from pathlib import Path
from typer.testing import CliRunner
import service
from service.cli import main as cli
from service.http import app
from service.http.places import Allowed
from service.control.schedules import Schedules
from service.control.submissions import Submissions
from tests.support.asking import atlas_of
from tests.support.clusters import SPEC, FakeCluster
from tests.support.published import publish
from workers.store.root import Root

for module in pkgutil.walk_packages(service.__path__, "service."):
    importlib.import_module(module.name)
importlib.import_module("jobs.run.outcome")  # for who waits
for words in ("serve", "schedule run", "schedule add", "submit", "status", "keys add", "gc", "query top", "sql"):
    done = CliRunner().invoke(cli.app, [*words.split(), "--help"])
    assert done.exit_code == 0, (words, done.output)

root = Root(sys.argv[1])
publish(root)
runs = Submissions(root, FakeCluster())
control = app.Control(runs, Schedules(root, runs), Allowed(("s3://bucket/photos",)))
client = atlas_of(root, control=control)
for path in ("/healthz", "/readyz", "/", "/runs/first", "/metrics", "/api/v1/runs"):
    assert client.get(path).status_code == 200, path
assert client.post("/api/v1/runs", json={"job": "scan", "spec": SPEC}).status_code == 202
"""


def test_the_service_answers_and_submits_where_there_is_no_torch(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, tmp_path], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
