"""What a newcomer has: the built wheel in an environment of its own, and the README. Every command in it is run here."""

import os
import re
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torchvision

from tests.support import corpora

pytestmark = pytest.mark.ray
REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text()
INSTRUMENTS = (REPOSITORY / "docs" / "instruments.md").read_text()
TUTORIAL = (REPOSITORY / "docs" / "tutorial.md").read_text()
READING = (REPOSITORY / "docs" / "reading.md").read_text()
NOWHERE = "http://127.0.0.1:9"  # nothing listens there: what would fetch something fails


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    source, target = tmp_path_factory.mktemp("source") / "deconvoy", tmp_path_factory.mktemp("wheel")
    kept = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, check=True, capture_output=True, text=True,
    ).stdout.split("\n")  # fmt: skip
    for name in filter(None, kept):
        if (REPOSITORY / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, source / name)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)], cwd=source, check=True
    )
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """An environment with the wheel; its dependencies are those of this one, reached by a path file."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    packages = next(folder.glob("lib/python*/site-packages"))
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    with zipfile.ZipFile(wheel) as opened:
        opened.testzip()
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(folder),
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            str(wheel),
        ],
        check=True,
    )
    return folder


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    """The folder where the README's commands are typed: it holds photos, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("desk")
    corpora.photos(folder / "photos", range(20))
    weights = folder / "torch" / "hub" / "checkpoints"
    weights.mkdir(parents=True)
    name = torchvision.models.ResNet18_Weights.DEFAULT.url.rpartition("/")[2]
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), weights / name)
    return folder


def typed(command: str, installed: Path, desk: Path) -> subprocess.CompletedProcess[str]:
    """A line typed into a shell whose path begins with the environment's commands, on a machine without network."""
    kept = {key: value for key, value in os.environ.items() if key in ("HOME", "LANG", "TMPDIR", "RAY_TMPDIR")}
    environment = kept | {
        "PATH": f"{installed / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin",
        "TORCH_HOME": str(desk / "torch"),
        "HF_HOME": str(desk / "huggingface"),
        "http_proxy": NOWHERE,
        "https_proxy": NOWHERE,
        "no_proxy": "localhost,127.0.0.1",
    }
    return subprocess.run(
        ["/bin/sh", "-c", command], cwd=desk, env=environment, capture_output=True, text=True, check=False, timeout=900
    )


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def commands(page: str = README) -> Iterator[str]:
    for block in blocks("console", page):
        for line in block.splitlines():
            assert line.startswith("$ "), f"{line!r} in a console block is no command"
            yield line.removeprefix("$ ")


def test_every_picture_of_the_readme_is_in_the_repository():
    for path in re.findall(r"!\[[^\]]*\]\(([^)]*)\)", README):
        assert (
            subprocess.run(["git", "ls-files", "--error-unmatch", path], cwd=REPOSITORY, capture_output=True).returncode
            == 0
        )


def test_the_wheel_carries_the_demos_weights_and_no_test(wheel):
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
    assert "workers/pretrained/zfnet-mini/model.safetensors" in names
    assert {"service/atlas/web/templates/base.html", "service/atlas/web/static/atlas.css"} <= set(names)
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {
        "deconvoy",
        "service",
        "jobs",
        "workers",
    }
    assert {f"{package}/py.typed" for package in ("deconvoy", "service", "jobs", "workers")} <= set(names)


def test_the_environment_runs_the_wheel_and_not_the_checkout(installed, desk):
    told = typed("python -c 'import workers, jobs, service; print(workers.__file__, jobs.__file__)'", installed, desk)
    assert told.returncode == 0, told.stderr
    assert all(Path(path).is_relative_to(installed) for path in told.stdout.split())


@pytest.mark.timeout(1200)
def test_every_command_of_the_readme_does_what_it_says(installed, desk):
    """In order, in one folder: make's own lines stand for the command in the Makefile."""
    [toml] = blocks("toml")
    (desk / "run.toml").write_text(toml)
    makefile = (REPOSITORY / "Makefile").read_text()
    for command in commands():
        if command.startswith("make "):
            target = command.removeprefix("make ")
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"no target {target!r} in the Makefile"
            if target != "demo":
                continue
            command = "deconvoy demo --root deconvoy-demo"
            assert command in makefile
        done = typed(command, installed, desk)
        assert done.returncode == 0, f"$ {command}\n{done.stdout}\n{done.stderr}"
    assert {path.name for path in desk.glob("*.png")} >= {"relu3.png", "layer1.png"}
    assert (desk / "deconvoy-demo" / "relu5.png").stat().st_size > 100_000


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_command_of_the_instruments_does_what_it_says(installed, desk):
    """After those of the README, in the same folder."""
    if not (desk / "deconvoy-demo").exists():
        test_every_command_of_the_readme_does_what_it_says(installed, desk)
    for command in commands(INSTRUMENTS):
        done = typed(command, installed, desk)
        assert done.returncode == 0, f"$ {command}\n{done.stdout}\n{done.stderr}"
    assert {path.name for path in desk.glob("*.png")} >= {
        "over-training.png",
        "compared.png",
        "moved.png",
        "randomised.png",
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_command_of_the_tutorial_does_what_it_says(installed, desk, tmp_path):
    """Over other photos, so with another label."""
    for folder in ("photos", "pets"):
        corpora.photos(tmp_path / folder, range(20))
    (tmp_path / "torch").symlink_to(desk / "torch")
    for command in commands(TUTORIAL):
        done = typed(re.sub("label (sunflower|dog)", "label class1", command), installed, tmp_path)
        assert done.returncode == 0, f"$ {command}\n{done.stdout}\n{done.stderr}"
    assert {path.name for path in tmp_path.glob("*.png")} >= {"channels.png", "check.png", "pets.png"}
    assert (tmp_path / "site" / "index.html").exists()


def test_the_readmes_python_shows_a_patch_and_a_projection(installed, desk):
    for block in blocks("python"):
        (desk / "snippet.py").write_text(block + "\nassert abs(projection).max() == best['projection_scale']\n")
        done = typed("python snippet.py", installed, desk)
        assert done.returncode == 0, done.stderr


def test_the_readmes_sql_answers(desk, monkeypatch):
    duckdb = pytest.importorskip("duckdb")
    monkeypatch.chdir(desk)
    for block in blocks("sql"):
        assert len(duckdb.sql(block).fetchall()) == 10


@pytest.fixture(scope="module")
def views(installed, desk) -> None:
    """The files that the examples of reading.md read."""
    for command in commands(READING):
        assert typed(command, installed, desk).returncode == 0, command


@pytest.mark.usefixtures("views")
@pytest.mark.parametrize("number", range(len(blocks("python", READING))))
def test_every_way_to_read_the_datasets_answers(installed, desk, number):
    block = blocks("python", READING)[number]
    package = re.search(r"^(?:import|from) (\w+)", block)[1]
    pytest.importorskip(package, reason=f"{package} is not installed")
    (desk / "snippet.py").write_text(block)
    done = typed("python snippet.py", installed, desk)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() and "Empty" not in done.stdout
