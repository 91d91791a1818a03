"""Predictions of a scan: those of the module run on every image, in every engine and precision, and found by words."""

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
from tests.support import corpora
from tests.support.engines import ENGINE
from workers.errors import ModelError
from workers.models import model as models
from workers.spec.parts import ModelSpec
from workers.spec.scan import RunSpec, make_spec
from workers.store import manifest

pytestmark = pytest.mark.usefixtures("without_ray")
MODEL = {"source": "deconvoy://zfnet-mini"}
DOGS = range(151, 269)  # ImageNet's classes of dogs


def spec(folder: Path, root: Path, run: str = "one", scan: dict | None = None, **more) -> RunSpec:
    layers = {"layers": ["relu2"], "batch": 4, "shard": 8, "k": 3, "engine": ENGINE}
    values = {
        "run": run, "root": str(root), "model": MODEL, "corpus": {"source": str(folder)}, "scan": layers | (scan or {}),
        "project": {"previews": False}, "resources": {"actors": 1, "device": "cpu"},
    }  # fmt: skip
    return make_spec(values | more)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    corpora.photos(folder, range(21))
    (folder / "class0" / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def root(corpus, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("root")
    scan(spec(corpus, root), SilentWatcher())
    return root


def predictions(root: Path, run: str = "one") -> list[dict]:
    return pq.read_table(root / "tables" / "predictions" / f"run={run}", partitioning=None).to_pylist()


def expected(folder: Path, ids: list[str]) -> tuple[torch.Tensor, tuple[str, ...]]:
    """The probabilities (images, classes) of the module itself, in float64, and the names of the classes."""
    model = models.load(ModelSpec(source=MODEL["source"]))
    pixels = [model.preprocessing.prepare(np.array(Image.open(folder / name).convert("RGB")), 10**8) for name in ids]
    inputs = model.preprocessing.normalise(torch.stack(pixels)).double()
    assert model.module is not None
    with torch.no_grad():
        return model.module.double().eval()(inputs).softmax(1), model.stored.class_names


def test_each_image_has_the_class_that_the_module_gives_it(corpus, root):
    rows = predictions(root)
    assert [row["image_index"] for row in rows] == sorted(row["image_index"] for row in rows) and len(rows) == 21
    probabilities, names = expected(corpus, [row["image_id"] for row in rows])
    assert [row["class_index"] for row in rows] == probabilities.argmax(1).tolist()
    assert [row["class_name"] for row in rows] == [names[row["class_index"]] for row in rows]
    np.testing.assert_allclose([row["probability"] for row in rows], probabilities.amax(1), rtol=1e-5)


def test_shards_and_layers_do_not_change_them(corpus, root, tmp_path):
    scan(spec(corpus, tmp_path, scan={"shard": 4}), SilentWatcher())
    scan(spec(corpus, tmp_path, "two", scan={"layers": ["relu1", "fc7"], "k": 1}), SilentWatcher())
    assert predictions(tmp_path) == predictions(root)
    assert [row["class_index"] for row in predictions(tmp_path, "two")] == [
        row["class_index"] for row in predictions(root)
    ]


def test_without_them_the_table_is_empty_and_the_others_are_the_same(corpus, root, tmp_path):
    scan(spec(corpus, tmp_path, scan={"predictions": False}), SilentWatcher())
    assert predictions(tmp_path) == []
    documents = [manifest.decode((place / "runs/one/manifest.json").read_bytes(), "one") for place in (root, tmp_path)]
    hashes = [{name: [part.sha256 for part in parts] for name, parts in each.tables.items()} for each in documents]
    assert {name for name in hashes[0] if hashes[0][name] != hashes[1][name]} == {"predictions"}


def test_words_after_a_tab_find_classes(corpus, tmp_path):
    _, names = expected(corpus, ["class0/000.png"])
    (tmp_path / "classes.txt").write_text("\n".join(f"{name}\tthing, object" for name in names))
    model = MODEL | {"classes": str(tmp_path / "classes.txt")}
    scan(spec(corpus, tmp_path / "root", model=model), SilentWatcher())
    words = ["query", "class", "object", "--root", str(tmp_path / "root"), "--json"]
    rows = json.loads(CliRunner().invoke(app, words).stdout)
    assert rows and all(row["images"] == row["top"] <= 3 for row in rows)
    (tmp_path / "classes.txt").write_text("one\ttwo")
    with pytest.raises(ModelError, match="has 1 lines, but the model has 101 outputs"):
        models.load(ModelSpec(**model))


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.timeout(600)
def test_dog_finds_the_channel_of_squeezenet_whose_nine_images_are_dogs(shared, tmp_path):
    lines = (shared / "weights" / "imagenet_synset_words.txt").read_text().splitlines()
    names = [line.partition(" ")[2] for line in lines]
    words = [f"{name}\tdog, domestic dog" if number in DOGS else name for number, name in enumerate(names)]
    (tmp_path / "classes.txt").write_text("\n".join(words))
    model = {
        "source": f"torchvision://squeezenet1_1?weights={shared / 'weights' / 'squeezenet1_1' / 'model.safetensors'}",
        "classes": str(tmp_path / "classes.txt"),
    }
    asked = {"layers": ["features.12.cat"], "batch": 32, "shard": 512, "k": 9}
    folder = shared / "images" / "imagenet-1000-256px"
    scan(
        spec(folder, tmp_path / "root", scan=asked, model=model, project={"method": "none", "previews": False}),
        SilentWatcher(),
    )
    done = CliRunner().invoke(app, ["query", "class", "dog", "--root", str(tmp_path / "root"), "--json"])
    rows = {row["channel"]: (row["images"], row["top"]) for row in json.loads(done.stdout)}
    assert rows[299] == (9, 9)
    assert len(rows) < 512 and list(rows).index(299) < 60
    found = predictions(tmp_path / "root")
    right = [lines[row["class_index"]].startswith(row["image_id"].partition("_")[0]) for row in found]
    assert 0.5 < np.mean(right) < 0.75  # as its accuracy
