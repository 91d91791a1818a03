"""`--border exclude`: no top unit lies at the border, and tables are those of all units away from it."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from jobs.scan import scan
from jobs.watch import SilentWatcher
from service.cli.main import app
from service.query import catalog
from service.query.layers import read_layer
from tests.support import corpora
from tests.support.engines import ENGINE
from workers.models import model as models
from workers.spec.parts import ModelSpec
from workers.spec.scan import RunSpec, make_spec
from workers.store.root import Root

pytestmark = pytest.mark.usefixtures("without_ray")
MODEL = "deconvoy://zfnet-mini"
LAYERS = ("relu1", "relu3", "fc7")  # fc7 has maps of 1 x 1


def spec(folder: Path, root: Path, run: str, border: str) -> RunSpec:
    section = {"layers": LAYERS, "batch": 4, "shard": 8, "k": 3, "engine": ENGINE, "border": border}
    return make_spec({
        "run": run, "root": str(root), "model": {"source": MODEL}, "corpus": {"source": str(folder)}, "scan": section,
        "project": {"previews": False}, "resources": {"actors": 1, "device": "cpu"},
    })  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    corpora.photos(folder, range(12))
    return folder


@pytest.fixture(scope="module")
def root(corpus, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("root")
    for run, border in (("all", "keep"), ("inner", "exclude")):
        scan(spec(corpus, root, run, border), SilentWatcher())
    return root


def rows(root: Path, run: str, table: str = "top") -> list[dict]:
    return pq.read_table(root / "tables" / table / f"run={run}", partitioning=None).to_pylist()


def test_top_rows_are_those_of_the_modules_maps_without_their_borders(root):
    model = models.load(ModelSpec(source=MODEL))
    images = rows(root, "inner", "images")
    pixels = [model.preprocessing.prepare(np.array(Image.open(row["uri"]).convert("RGB")), 10**8) for row in images]
    maps: dict[str, np.ndarray] = {}
    for name in ("relu1", "relu3"):
        model.module.get_submodule(name).register_forward_hook(
            lambda _, __, map_, name=name: maps.__setitem__(name, map_.numpy())
        )
    with torch.inference_mode():
        model.module(model.preprocessing.normalise(torch.stack(pixels)))
    indices = np.array([row["image_index"] for row in images])
    for name, map_ in maps.items():
        inner = map_[:, :, 1:-1, 1:-1]
        scores = inner.max(axis=(2, 3))
        for row in (row for row in rows(root, "inner") if row["layer"] == name and row["score"] > 0):
            image = int(np.flatnonzero(indices == row["image_index"])[0])
            assert row["score"] == pytest.approx(scores[image, row["channel"]], rel=1e-4, abs=1e-5)
            assert map_[image, row["channel"], row["y"], row["x"]] == pytest.approx(row["score"], rel=1e-4, abs=1e-5)
            best = np.sort(scores[:, row["channel"]])[::-1]
            assert row["score"] == pytest.approx(best[row["rank"]], rel=1e-4, abs=1e-5)


def test_no_top_unit_lies_at_the_border_unless_the_map_has_no_others(root):
    layers = {layer.name: layer for layer in catalog.find(Root(str(root)), "inner").layers}
    at_border = {run: dict.fromkeys(LAYERS, 0) for run in ("all", "inner")}
    for run in at_border:
        for row in rows(root, run):
            layer = layers[row["layer"]]
            at_border[run][row["layer"]] += row["y"] in (0, layer.height - 1) or row["x"] in (0, layer.width - 1)
    assert at_border["all"]["relu1"] > 0 and at_border["all"]["relu3"] > 0
    assert at_border["inner"]["relu1"] == at_border["inner"]["relu3"] == 0
    assert at_border["inner"]["fc7"] == at_border["all"]["fc7"] > 0
    border = read_layer(catalog.find(Root(str(root)), "inner"), "relu3").border
    assert border.share == 0 and not border.is_crowded


def test_a_layer_without_an_inside_is_the_same_and_every_projection_is_there(root):
    tops = [[row for row in rows(root, run) if row["layer"] == "fc7"] for run in ("all", "inner")]
    assert tops[0] == tops[1]
    for row in rows(root, "inner", "patches"):
        assert (row["projection"] is not None) == (row["score"] > 0)


def test_results_of_either_are_not_those_of_the_other_and_keep_leaves_no_trace(root):
    told = {run: json.loads((root / "runs" / run / "manifest.json").read_text()) for run in ("all", "inner")}
    assert not set(told["all"]["shards"]) & set(told["inner"]["shards"])
    assert not set(told["all"]["groups"]) & set(told["inner"]["groups"])
    assert "border" not in told["all"]["identity"]["scan"] and told["inner"]["identity"]["scan"]["border"] == "exclude"


def test_an_unknown_value_is_one_line(corpus, tmp_path):
    words = ["scan", "--model", MODEL, "--corpus", str(corpus), "--root", str(tmp_path), "--border", "drop"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2 and "scan.border" in done.stderr and len(done.stderr.splitlines()) == 1
    planned = CliRunner().invoke(app, [*words[:-1], "exclude", "--no-predictions", "--dry-run", "--json"])
    assert planned.exit_code == 0, planned.stderr
