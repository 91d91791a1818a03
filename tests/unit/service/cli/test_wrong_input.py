"""Wrong input: one clear line, exit code 2, nothing written."""

import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from service.cli.main import app
from tests.support import corpora

MODEL = "deconvoy://zfnet-mini"


def deconvoy(*words: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from service.cli.main import main; main()"
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    corpora.photos(folder / "photos", range(3))
    (folder / "nothing").mkdir()
    (folder / "file").write_text("a file")
    safetensors.torch.save_file({"conv1.weight": torch.zeros(1)}, folder / "bent.safetensors")
    return folder


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ({"--model": "torchvision://resnet81"}, "no model torchvision://resnet81; nearest: resnet18"),
        ({"--model": "alexnet"}, "model 'alexnet' is unknown: write deconvoy://zfnet-mini"),
        ({"--layers": "relu9"}, "no layer 'relu9' in the model; nearest: relu"),
        ({"--model": f"{MODEL}?weights=gone.safetensors"}, "gone.safetensors' cannot be read"),
        ({"--model": f"{MODEL}?weights=PLACE/bent.safetensors"}, "the weights do not fit"),
        ({"--corpus": "PLACE/nothing"}, "contains no image"),
        ({"--corpus": "PLACE/missing"}, "does not exist"),
        ({"--root": "PLACE/file/below"}, "cannot be written"),
        ({"--run": "2026"}, "'2026' is not a valid run id"),
        ({"--run": "../up"}, "'../up' is not a valid run id"),
        ({"--k": "0"}, "scan.k: 0 is not valid"),
        ({"--shard": "512", "--batch": "7"}, "shard 512 is not a multiple of batch 7"),
        ({"--device": "cuda"}, "device 'cuda' is requested"),
        ({"--actors": "900"}, "this machine has room for"),
        ({"--distinct": "group"}, "no image has a group, as --group is 'none'"),
    ],
)
def test_one_line_says_what_would_have_been_right(place, over, told):
    before = sorted(place.rglob("*"))
    flags = {"--model": MODEL, "--corpus": "PLACE/photos", "--root": "PLACE/root", "--device": "cpu"} | over
    words = [word.replace("PLACE", str(place)) for pair in flags.items() for word in pair]
    result = CliRunner().invoke(app, ["scan", *words])
    lines = [line for line in result.stderr.splitlines() if line.startswith("deconvoy: ")]
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit), result.stderr
    assert len(lines) == 1 and told in lines[0], result.stderr
    assert sorted(place.rglob("*")) == before


def test_every_mistake_in_a_spec_is_told_at_once(place):
    spec = place.parent / "wrong.toml"
    spec.write_text(
        'root = "r"\n[model]\nsource = "deconvoy://zfnet-mini"\nrezise = 3\n[corpus]\nsource = "c"\n[scan]\nk = 0\n'
    )
    result = deconvoy("scan", "--spec", str(spec))
    assert result.returncode == 2
    assert "model.rezise: unknown key; nearest: resize" in result.stderr and "scan.k: 0 is not valid" in result.stderr


def test_asking_a_root_without_runs_is_one_line(place):
    result = deconvoy("query", "top", "--root", str(place), "--layer", "relu1", "--channel", "0")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "has no published runs" in result.stderr


def test_the_command_imports_neither_torch_nor_ray():
    code = "import sys, service.cli; print([m for m in ('torch', 'ray', 'jobs') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
