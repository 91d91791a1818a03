"""On a GPU: the numbers of the CPU within rounding, the same bytes twice, one actor on one card. Skipped where there is none."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
import torch
from PIL import Image

from jobs.invert import invert
from jobs.occlude import occlude
from jobs.scan import scan
from jobs.synthesise import synthesise
from jobs.watch import SilentWatcher
from tests.support import corpora
from workers.spec.invert import InversionRun
from workers.spec.make import make
from workers.spec.occlude import OcclusionRun
from workers.spec.scan import make_spec
from workers.spec.synthesise import SynthesisRun

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here"),
]
MODEL = {"source": "deconvoy://zfnet-mini"}


@pytest.fixture(scope="module", autouse=True)
def one_gpu():
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    corpora.photos(folder, range(40))
    return folder


def values(corpus: Path, root: Path, device: str, run: str = "one") -> dict:
    return {
        "run": run, "root": str(root), "model": MODEL, "corpus": {"source": str(corpus)},
        "resources": {"device": device, "actors": 1},
    }  # fmt: skip


def scanned(corpus: Path, root: Path, device: str, **more) -> Path:
    asked = {"layers": ["relu1", "relu3", "relu5", "fc7"], "batch": 8, "shard": 16, "k": 5}
    scan(make_spec(values(corpus, root, device) | {"scan": asked} | more), SilentWatcher())
    return root


@pytest.fixture(scope="module")
def both(corpus, tmp_path_factory) -> dict[str, Path]:
    """The same scan on both devices."""
    return {device: scanned(corpus, tmp_path_factory.mktemp(device), device) for device in ("cpu", "cuda")}


def rows(root: Path, table: str) -> list[dict]:
    return pq.read_table(root / "tables" / table).to_pylist()


def pixels(column: dict) -> np.ndarray:
    with Image.open(io.BytesIO(column["bytes"])) as opened:
        return np.array(opened.convert("RGB")).astype(int)


def parts(root: Path, run: str = "one") -> dict:
    told = json.loads((root / "runs" / run / "manifest.json").read_text())
    return {name: [part["sha256"] for part in files] for name, files in told["tables"].items()}


def test_scores_are_those_of_the_cpu_within_rounding(both):
    cpu, cuda = ({(r["layer"], r["channel"]): r for r in rows(both[device], "units")} for device in ("cpu", "cuda"))
    assert cpu.keys() == cuda.keys() and len(cpu) > 400
    for key, unit in cpu.items():
        for name in ("max", "mean", "std"):
            assert cuda[key][name] == pytest.approx(unit[name], rel=2e-4, abs=2e-4), (key, name)
    best = [{(r["layer"], r["channel"]): r["image_id"] for r in rows(both[d], "top") if r["rank"] == 0} for d in both]
    same = [best[0][key] == best[1][key] for key in best[0]]
    assert np.mean(same) > 0.98  # but for ties within rounding


def test_projections_are_those_of_the_cpu_within_rounding(both):
    cpu, cuda = (
        {(r["layer"], r["channel"], r["image_index"], r["y"], r["x"]): r for r in rows(both[d], "patches")}
        for d in both
    )
    shared = [key for key in cpu if key in cuda and cpu[key]["projection"] and cuda[key]["projection"]]
    assert len(shared) > 0.9 * sum(row["projection"] is not None for row in cpu.values())
    far = [key for key in shared if not alike(cpu[key], cuda[key])]
    assert len(far) <= 0.01 * len(shared), far[:5]  # where rounding decides a pooling window, the rest goes another way


def alike(cpu: dict, cuda: dict) -> bool:
    """Scale and picture, within rounding; a projection begins with the unit's own value, which may nearly cancel out."""
    rounding = 5e-3 + 2 * abs(cuda["score"] / cpu["score"] - 1)
    scale = abs(cuda["projection_scale"] / cpu["projection_scale"] - 1)
    return scale < rounding and np.abs(pixels(cuda["projection"]) - pixels(cpu["projection"])).mean() < 1


def test_a_gpu_gives_the_same_bytes_twice(both, corpus, tmp_path):
    assert parts(scanned(corpus, tmp_path, "cuda")) == parts(both["cuda"])


def test_half_precision_ranks_nearly_the_same(both, corpus, tmp_path):
    resources = {"device": "cuda", "actors": 1, "precision": "float16"}
    half = rows(scanned(corpus, tmp_path, "cuda", resources=resources), "top")
    best = {(r["layer"], r["channel"]): r["image_id"] for r in rows(both["cuda"], "top") if r["rank"] == 0}
    found = {(r["layer"], r["channel"]): r["image_id"] for r in half if r["rank"] == 0}
    assert np.mean([best[key] == found[key] for key in best]) > 0.9


def test_occlusion_is_that_of_the_cpu_within_rounding(corpus, tmp_path):
    square = {"layer": "relu5", "sample": 2, "size": 40, "stride": 24}
    for device in ("cpu", "cuda"):
        occlude(make(OcclusionRun, values(corpus, tmp_path / device, device) | {"occlude": square}), SilentWatcher())
    for cpu, cuda in zip(rows(tmp_path / "cpu", "occlusions"), rows(tmp_path / "cuda", "occlusions"), strict=True):
        assert cpu["channel"] == cuda["channel"]
        assert np.allclose(cpu["activation_map"], cuda["activation_map"], rtol=1e-3, atol=1e-3)
        assert np.allclose(cpu["probability_map"], cuda["probability_map"], rtol=1e-2, atol=1e-4)


def test_inversion_succeeds_and_gives_the_same_bytes_twice(corpus, tmp_path):
    asked = {"layers": ["relu1", "relu3"], "sample": 2, "restarts": 2}
    for name in ("first", "second"):
        invert(make(InversionRun, values(corpus, tmp_path / name, "cuda") | {"invert": asked}), SilentWatcher())
    assert parts(tmp_path / "first") == parts(tmp_path / "second")
    found = rows(tmp_path / "first", "inversions")
    assert {row["status"] for row in found} == {"ok"}
    assert all(row["error"] < row["error_curve"][0] / 3 for row in found)  # photos of noise keep more than a fifth


def test_synthesis_raises_every_channel_and_gives_the_same_bytes_twice(tmp_path):
    asked = {"layers": ["relu1", "relu5"], "channels": [0, 1, 2, 3], "steps": 32}
    for name in ("first", "second"):
        spec = {"run": "one", "root": str(tmp_path / name), "model": MODEL, "resources": {"device": "cuda"}}
        synthesise(make(SynthesisRun, spec | {"synthesise": asked}), SilentWatcher())
    assert parts(tmp_path / "first") == parts(tmp_path / "second")
    assert all(row["mean"] > row["curve"][0] for row in rows(tmp_path / "first", "syntheses"))
