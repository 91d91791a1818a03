"""Inversion as a job: published, resumed by image, layer and restart, the same for any number of actors, true to its errors."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, PngImagePlugin

from jobs.invert import invert as invert_on_ray
from jobs.watch import SilentWatcher
from service.query import catalog
from service.sheets import invert as sheet
from tests.support import corpora, pages
from tests.support.in_process import here
from workers.errors import RunError, UsageError
from workers.models import model as models
from workers.spec.invert import InversionRun
from workers.spec.make import make
from workers.spec.parts import ModelSpec
from workers.store.root import Root

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("two_cpus")]
invert = here(invert_on_ray)
MODEL = {"source": "deconvoy://zfnet-mini"}
ITERATIONS = 12
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    corpora.photos(folder, range(5))
    corpora.broken(folder)
    return folder


def values(corpus: Path, root: Path, **asked) -> dict:
    how = {"layers": ["relu1", "relu5"], "sample": 6, "restarts": 2, "iterations": ITERATIONS, "batch": 4}
    return {
        "run": asked.pop("run", "one"),
        "root": str(root),
        "model": MODEL,
        "corpus": {"source": str(corpus)},
        "resources": {"actors": asked.pop("actors", 2), "device": "cpu"},
        "invert": how | asked,
    }


def spec(corpus: Path, root: Path, **asked) -> InversionRun:
    return make(InversionRun, values(corpus, root, **asked))


@pytest.fixture(scope="module")
def root(corpus, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("root")
    invert_on_ray(spec(corpus, root), SilentWatcher())
    return root


def rows(root: Path, run: str = "one") -> list[dict]:
    return pq.read_table(root / "tables" / "inversions", filters=[("run", "==", run)]).to_pylist()


def tables(root: Path, run: str) -> dict:
    told = json.loads((root / "runs" / run / "manifest.json").read_text())
    return {name: [part["sha256"] for part in parts] for name, parts in told["tables"].items()}


def results(root: Path) -> set[Path]:
    return set(root.glob("shards/*/*.parquet"))


def test_a_row_for_each_image_layer_and_restart_in_that_order(root):
    found = rows(root)
    keys = [(row["image_index"], row["layer_index"], row["restart"]) for row in found]
    assert len(keys) == 5 * 2 * 2 and keys == sorted(keys)
    assert {row["layer"] for row in found} == {"relu1", "relu5"}
    for row in found:
        assert row["status"] == "ok" and len(row["error_curve"]) == ITERATIONS + 1
        assert row["error"] == pytest.approx(row["error_curve"][-1]) and row["error"] < row["error_curve"][0]
        settings = json.loads(row["settings"])
        assert settings["iterations"] == ITERATIONS and settings["alpha"] == 6 and settings["beta"] == 2
        assert settings["tv_weight"] == {"relu1": 1.0, "relu5": 100.0}[row["layer"]]


def test_the_stored_picture_has_the_stored_error_by_the_models_own_module(corpus, root):
    """The picture is rounded to 8 bits and cut to 0 to 255; the features are taken from torch's own layers."""
    model = models.load(ModelSpec(source=MODEL["source"]))
    seen: list[torch.Tensor] = []
    model.module.get_submodule("relu5").register_forward_hook(lambda _, __, map_: seen.append(map_.clone()))
    for row in [row for row in rows(root) if row["layer"] == "relu5" and row["restart"] == 0]:
        with Image.open(corpus / row["image_id"]) as opened:
            original = model.preprocessing.prepare(np.array(opened.convert("RGB")), 10**8)
        with Image.open(io.BytesIO(row["inversion"]["bytes"])) as opened:
            inverted = torch.from_numpy(np.array(opened)).permute(2, 0, 1)
        seen.clear()
        with torch.inference_mode():
            model.module(model.preprocessing.normalise(torch.stack([original, inverted])))
        wanted, got = seen[0].double()
        error = float((got - wanted).square().sum() / wanted.square().sum())
        assert error == pytest.approx(row["error"], rel=0.1)


def test_tables_do_not_depend_on_actors_and_a_second_run_reuses_every_result(corpus, root, tmp_path):
    again = invert(spec(corpus, root, run="two"), SilentWatcher())
    assert (again.shards_run, again.shards_reused) == (0, 6 * 2 * 2)
    assert tables(root, "two") == tables(root, "one")
    invert(spec(corpus, tmp_path, actors=1), SilentWatcher())
    assert tables(tmp_path, "one") == tables(root, "one")


def test_a_run_that_shares_results_gives_the_bytes_of_one_that_shares_none(corpus, root, tmp_path):
    """The last two images have other neighbours than in the first run; one layer more is asked for."""
    shared = tmp_path / "shared"
    shutil.copytree(root, shared)
    images = ["broken.jpg", "class0/000.png", "class0/003.png", "class2/002.png"]
    asked = {"run": "three", "images": images, "layers": ["relu1", "relu2", "relu5"]}
    outcome = invert(spec(corpus, shared, **asked), SilentWatcher())
    assert (outcome.shards_run, outcome.shards_reused) == (8, 16)
    invert(spec(corpus, tmp_path / "fresh", **asked), SilentWatcher())
    assert tables(shared, "three") == tables(tmp_path / "fresh", "three")


def test_an_interrupted_run_goes_on_with_what_is_left(corpus, root, tmp_path):
    class Impatient(SilentWatcher):
        def advance(self, done, rejects=0):
            del done, rejects
            if results(tmp_path):
                raise KeyboardInterrupt

    asked = spec(corpus, tmp_path, actors=1)
    with pytest.raises(KeyboardInterrupt):
        invert(asked, Impatient())
    done = len(results(tmp_path))
    assert not (tmp_path / "runs" / "one" / "manifest.json").exists()
    outcome = invert(asked, SilentWatcher())
    assert 1 <= done < 24 and outcome.shards_run == 24 - done // 4 * 4 and outcome.shards_run < 24
    assert tables(tmp_path, "one") == tables(root, "one")
    assert invert(asked, SilentWatcher()).already_published


def test_a_result_that_vanishes_is_made_again_with_its_batch(corpus, root, tmp_path):
    copied = tmp_path / "root"
    shutil.copytree(root, copied)

    class Thief(SilentWatcher):
        def phase(self, name, total, unit):
            del total, unit
            if name == "publish":
                sorted(results(copied))[3].unlink()

    outcome = invert(spec(corpus, copied, run="four"), Thief())
    assert outcome.shards_run == 0 and tables(copied, "four") == tables(root, "one")


def test_a_named_image_that_cannot_be_read_is_a_reject_and_does_not_change_the_others(corpus, root):
    outcome = invert(spec(corpus, root, run="five", images=["broken.jpg", "class1/001.png"]), SilentWatcher())
    assert (outcome.images, outcome.rejects, outcome.exit_code) == (1, 1, 3)
    rejects = pq.read_table(root / "tables" / "rejects", filters=[("run", "==", "five")]).to_pylist()
    assert [(row["image_id"], row["reason"]) for row in rejects] == [("broken.jpg", "damaged")]
    assert {(row["image_id"], row["restart"]) for row in rows(root, "five")} == {
        ("class1/001.png", 0),
        ("class1/001.png", 1),
    }


@pytest.mark.slow
def test_an_image_that_kills_its_decoder_is_found_rejected_and_the_rest_of_its_batch_goes_on(tmp_path):
    folder, root = tmp_path / "photos", tmp_path / "root"
    corpora.photos(folder, range(4))
    mark = PngImagePlugin.PngInfo()
    mark.add_text("Comment", "deconvoy-test-poison")
    for name in ("class1/001.png", "class2/002.png"):
        with Image.open(folder / name) as photo:
            photo.save(folder / name, pnginfo=mark)
    path = os.pathsep.join([str(REPOSITORY / "tests" / "support" / "poison"), str(REPOSITORY)])
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")} | {"PYTHONPATH": path}
    for run in ("one", "two"):
        command = [sys.executable, "-m", "tests.support.driver", json.dumps(values(folder, root, run=run))]
        done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, env=clean, timeout=300)
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["shards_run"] == 0  # names are those of the verdicts in every layer
    assert tables(root, "one") == tables(root, "two")
    rejects = pq.read_table(root / "tables" / "rejects", filters=[("run", "==", "one")]).to_pylist()
    assert [(row["image_id"], row["reason"]) for row in rejects] == [
        ("class1/001.png", "decoder_crash"),
        ("class2/002.png", "decoder_crash"),
    ]
    assert len(rows(root)) == 2 * 2 * 2


def test_what_has_no_features_is_blank_and_what_diverges_says_so(tmp_path):
    """A flat photo leaves some channels of relu5 at 0 everywhere; an absurd rate diverges twice."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (90, 80), (90, 120, 40)).save(folder / "flat.png")
    model = models.load(ModelSpec(source=MODEL["source"]))
    [layer] = model.network.select(["relu5"])
    maps: list[torch.Tensor] = []
    prepared = model.preprocessing.prepare(np.array(Image.open(folder / "flat.png")), 10**8)
    image = model.preprocessing.normalise(prepared[None])
    model.network.forward(image, [layer.node], lambda _, __, map_: maps.append(map_))
    asleep = int((maps[0][0].amax(dim=(1, 2)) == 0).nonzero()[0])
    root = tmp_path / "root"
    asked = {"layers": ["relu5"], "restarts": 1, "sample": 1}
    invert(spec(folder, root, run="blank", channels=[asleep], **asked), SilentWatcher())
    invert(spec(folder, root, run="lost", rate=1e6, **asked), SilentWatcher())
    [blank], [lost] = rows(root, "blank"), rows(root, "lost")
    assert (blank["status"], blank["error"], blank["inversion"]) == ("blank", None, None)
    assert lost["status"] == "diverged" and lost["error"] == pytest.approx(min(filter(None, lost["error_curve"])))
    assert np.isfinite(lost["error"]) and lost["inversion"]["bytes"]
    for run in ("blank", "lost"):
        assert sheet.draw(catalog.find(Root(str(root)), run, None)).width > 2 * 160


def test_the_sheet_shows_the_original_and_every_layer_with_restarts_below(root):
    drawn = np.asarray(sheet.draw(catalog.find(Root(str(root)), "one", None)))
    first = rows(root)[0]
    with Image.open(io.BytesIO(first["inversion"]["bytes"])) as opened:
        picture = np.asarray(opened.convert("RGB"))
    windows = np.lib.stride_tricks.sliding_window_view(drawn, (160, 160, 3))[:, :, 0]
    places = [tuple(place) for place in np.argwhere((windows[..., 80, 80, :] == picture[80, 80]).all(-1))]
    found = [place for place in places if (windows[place] == picture).all()]
    assert len(found) == 1
    assert drawn.shape[0] > 5 * 2 * 160 and drawn.shape[1] > 3 * 160


def test_the_atlas_shows_every_inversion_beside_its_original(root):
    page = pages.shown(root, "one")
    cells = [each for image in page["images"] for line in image["restarts"] for each in line["found"]]
    found = sorted(cells, key=lambda each: (each["image_index"], each["layer_index"], each["restart"]))
    assert [(each["image_id"], each["layer"], each["restart"], each["error"]) for each in found] == [
        (row["image_id"], row["layer"], row["restart"], row["error"]) for row in rows(root)
    ]
    assert all(each["pictures"]["inversion"] and each["pictures"]["original"] for each in found)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"layers": ["relu9"]}, "no layer 'relu9' in the model; nearest: relu"),
        ({"images": ["class0/9.png"]}, "no image 'class0/9.png' in corpus"),
        ({"channels": [500]}, "invert.channels: no channel 500 in relu1; it has 0 to"),
        ({"channels": [-1]}, "invert.channels.0: -1 is not valid"),
        ({"region": [0, 0, 99, 4]}, "invert.region: 0,0,99,4 is not inside the map of relu"),
        ({"region": [3, 0, 3, 4]}, "invert.region: 3,0,3,4 is not inside the map of relu"),
        ({"region": [0, 0, 4]}, "invert.region.3: missing"),
        ({"restarts": 0}, "invert.restarts: 0 is not valid"),
        ({"iterations": 0}, "invert.iterations: 0 is not valid"),
        ({"rate": -1}, "invert.rate: -1 is not valid"),
        ({"tv_weight": float("inf")}, "invert.tv_weight: inf is not valid"),
        ({"channels": [3, 3]}, "invert.channels: 3 is named twice"),
        ({"batch": 0}, "invert.batch: 0 is not valid"),
        ({"jitter": 0.5}, "invert.jitter: 0.5 is not valid"),
        ({"tv_weigth": 3}, "invert.tv_weigth: unknown key; nearest: tv_weight"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(corpus, root, asked, told):
    before = sorted(root.rglob("*"))
    with pytest.raises(UsageError) as caught:
        invert(spec(corpus, root, run="six", **asked), SilentWatcher())
    assert told in str(caught.value) and "\n" not in str(caught.value) and caught.value.exit_code == 2
    assert sorted(root.rglob("*")) == before


def test_a_published_run_with_another_spec_is_refused(corpus, root):
    with pytest.raises(RunError, match="a different spec"):
        invert(spec(corpus, root, iterations=13), SilentWatcher())
