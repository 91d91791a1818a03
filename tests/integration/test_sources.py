"""Scans by the command of networks of the Hugging Face Hub and of the user's own code, against sorting every image."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import deconvoy
from tests.support import corpora, snapshots
from tests.support.own_code import NET
from workers.core.preprocess import Preprocessing
from workers.spec.parts import Interpolation

pytest.importorskip("timm")
pytest.importorskip("transformers")
PHOTOS, K = 10, 3
HALF = (0.5, 0.5, 0.5)
OWN = Preprocessing(40, 32, HALF, HALF, Interpolation.BILINEAR)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    corpora.photos(folder / "photos", range(PHOTOS))
    (folder / "nets.py").write_text(NET)
    values = {"resize": 40, "crop": 32, "mean": list(HALF), "std": list(HALF), "interpolation": "bilinear"}
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
    (folder / "own.toml").write_text(f"[model]\n{lines}")
    return folder


def run(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, "-m", "service", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=place, env=environment, timeout=400)


def scan(place: Path, *words: str, code: int = 0) -> str:
    """Scan the photos; gives what the command prints."""
    common = ("--corpus", "photos", "--root", "root", "--actors", "1", "--device", "cpu", "--k", str(K))
    done = run(place, "scan", *common, *words)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def source_of(place: Path, name: str) -> str:
    """The network's source in a run's manifest."""
    manifest = json.loads((place / "root" / "runs" / name / "manifest.json").read_text())
    return str(manifest["model"]["source"])


def require_tops(
    place: Path, name: str, layer: str, part: nn.Module, module: nn.Module, prepare: Preprocessing
) -> None:
    """Compare the run's strongest images with those of running the module on every photo."""
    maps: list[torch.Tensor] = []
    part.register_forward_hook(lambda _, __, output: maps.append(output[0].amax((1, 2)).clone()))
    paths = sorted((place / "photos").rglob("*.*"))
    with torch.inference_mode():
        for path in paths:
            with Image.open(path) as opened:
                pixels = np.array(opened.convert("RGB"))
            module(prepare.normalise(prepare.prepare(pixels, 10**9)[None]))
    scores = torch.stack(maps)  # (images, channels)
    top = deconvoy.open(place / "root").run(name).table("top").to_pylist()
    assert {row["layer"] for row in top} == {layer} and len(top) == K * scores.shape[1]
    for channel in range(scores.shape[1]):
        order = sorted(range(len(paths)), key=lambda number: (-float(scores[number, channel]), number))[:K]
        rows = [row for row in top if row["channel"] == channel]
        assert [row["image_index"] for row in rows] == order
        expected = [float(scores[number, channel]) for number in order]
        assert [row["score"] for row in rows] == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.slow
def test_a_snapshot_of_timm_is_scanned(place):
    module = snapshots.write_timm(place / "timm")
    scan(place, "--model", "hf-hub:./timm", "--run", "timm", "--layers", "layer1.0.act2")
    part = module.get_submodule("layer1.0.act2")
    prepare = Preprocessing(168, 160, HALF, HALF, Interpolation.BILINEAR)
    require_tops(place, "timm", "layer1.0.act2", part, module, prepare)
    assert source_of(place, "timm") == f"hf-hub:{place / 'timm'}"


def test_a_snapshot_of_transformers_is_scanned(place):
    module = snapshots.write_transformers(place / "resnet", "resnet")
    layer = "resnet.encoder.stages.1.layers.0.activation"
    scan(place, "--model", "hf-hub:./resnet", "--run", "resnet", "--layers", layer)
    prepare = Preprocessing(73, 64, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), Interpolation.BICUBIC)
    require_tops(place, "resnet", layer, module.get_submodule(layer), module, prepare)


@pytest.mark.slow
def test_a_callable_is_scanned_and_no_actor_needs_its_file(place):
    words = ("--spec", "own.toml", "--model", "nets.py:small", "--layers", "first.2")
    assert "is code, which this command would run; add --trust-code" in scan(place, *words, code=2)
    planned = json.loads(scan(place, *words, "--trust-code", "--dry-run", "--json"))
    assert (planned["images"], planned["layers"], planned["channels"]) == (PHOTOS, 1, 6)
    scan(place, *words, "--trust-code", "--run", "own")
    values: dict = {}
    exec(compile(NET, "nets.py", "exec"), values)  # noqa: S102 - the test's own text
    module = values["small"]().eval()
    require_tops(place, "own", "first.2", module.get_submodule("first.2"), module, OWN)
    source = source_of(place, "own")
    assert source.startswith("stored://nets.py:small@")
    assert "already published" in scan(place, *words, "--trust-code", "--run", "own")
    (place / "nets.py").write_text(NET.replace("manual_seed(0)", "manual_seed(1)"))
    assert "published with a different spec" in scan(place, *words, "--trust-code", "--run", "own", code=2)
    again = ("--spec", "own.toml", "--model", source, "--layers", "first.2", "--run", "again")
    (place / "nets.py").unlink()
    scan(place, *again)  # by the name of the graph alone
