"""Occlusion as a job: published, resumed, the same for any number of actors, and equal to the plain way."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from jobs.occlude import occlude as occlude_on_ray
from jobs.scan import scan
from jobs.watch import SilentWatcher
from service.query import catalog
from service.query.findings import PANELS
from service.sheets import occlude as sheet
from tests.support import corpora, pages
from tests.support.in_process import here, jobs_run_here
from tests.support.occluded import occluded
from workers.actors.occlude import make_fill, target_of
from workers.core.occlusion import Squares
from workers.errors import RunError, UsageError
from workers.models import model as models
from workers.spec.make import make
from workers.spec.occlude import OcclusionRun
from workers.spec.parts import Fill
from workers.spec.scan import make_spec
from workers.store.root import Root

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("two_cpus")]
occlude = here(occlude_on_ray)
MODEL = {"source": "deconvoy://zfnet-mini"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return corpora.labelled(tmp_path_factory.mktemp("corpus"), range(6))


def spec(corpus: Path, root: Path, **square) -> OcclusionRun:
    values = {
        "run": square.pop("run", "one"),
        "root": str(root),
        "model": MODEL,
        "corpus": {"source": str(corpus)},
        "occlude": {"layer": "relu5", "sample": 4, "size": 40, "stride": 24} | square,
        "resources": {"actors": 2, "device": "cpu"},
    }
    return make(OcclusionRun, values)


@pytest.fixture(scope="module")
def root(corpus, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("root")
    values = {
        "run": "scanned",
        "root": str(root),
        "model": MODEL,
        "corpus": {"source": str(corpus)},
        "scan": {"layers": ["relu5"], "batch": 4, "shard": 8, "k": 3, "max_reject_share": 0.5},
        "resources": {"actors": 1, "device": "cpu"},
    }
    with jobs_run_here():
        scan(make_spec(values), SilentWatcher())
    occlude_on_ray(spec(corpus, root, from_run="scanned"), SilentWatcher())
    return root


def rows(root: Path, run: str = "one") -> list[dict]:
    return pq.read_table(root / "tables" / "occlusions", filters=[("run", "==", run)]).to_pylist()


def tables(root: Path, run: str) -> dict:
    told = json.loads((root / "runs" / run / "manifest.json").read_text())
    return {name: [part["sha256"] for part in parts] for name, parts in told["tables"].items()}


def test_the_maps_are_those_of_running_every_occluded_image(corpus, root):
    model = models.load(make_spec({"root": "r", "model": MODEL, "corpus": {"source": "c"}}).model)
    network, preprocessing = model.network.to(dtype=torch.float32), model.preprocessing
    [layer] = network.select(["relu5"])
    found = rows(root)
    assert len(found) == 3 and any(row["label"] == "watch" for row in found)  # the sample's fourth is a reject
    for row in found:
        with Image.open(corpus / row["image_id"]) as opened:
            prepared = preprocessing.prepare(np.array(opened.convert("RGB")), 10**8)
        image = preprocessing.normalise(prepared[None])
        fill = preprocessing.normalise(torch.full((1, 3, 1, 1), 127.5))[0]
        squares = Squares(40, 24, 160, 160)
        assert (row["rows"], row["cols"]) == (squares.rows, squares.columns)
        totals, scores = occluded(network, image, layer.node, row["channel"], squares, fill)
        probabilities = scores.softmax(-1)
        followed = probabilities[..., row["class_index"]].flatten()
        assert np.allclose(row["activation_map"], totals.flatten(), rtol=1e-5)
        assert np.allclose(row["probability_map"], followed, rtol=1e-4, atol=1e-6)
        assert row["class_map"] == probabilities.argmax(-1).flatten().tolist()
        names = model.stored.class_names
        assert row["class_name"] == names[row["class_index"]]
        if row["label"] == "watch":
            assert (row["class_name"], row["target"]) == ("watch", "label")
        else:
            assert row["class_index"] == row["predicted_index"] and row["target"] == "predicted"
        commonest = max(set(row["class_map"]), key=row["class_map"].count)
        assert row["classes"][0]["class_index"] == commonest


def test_panels_are_pictures_of_one_size_and_a_sheet_is_drawn_of_them(root):
    for row in rows(root):
        sizes = {Image.open(io.BytesIO(row[name]["bytes"])).size for name in PANELS}
        assert len(sizes) == 1
    drawn = sheet.draw(catalog.find(Root(str(root)), "one", None))
    assert drawn.width > 5 * 300 and drawn.height > 3 * 300


def test_the_atlas_shows_the_five_panels_of_every_image(root):
    found = pages.shown(root, "one")["found"]
    assert [each["image_id"] for each in found] == [row["image_id"] for row in rows(root)]
    assert all(set(each["pictures"]) == {*PANELS, "original"} and all(each["pictures"].values()) for each in found)


@pytest.mark.slow
def test_tables_do_not_depend_on_actors_and_a_second_run_reuses_every_image(corpus, root, tmp_path):
    again = occlude(spec(corpus, root, run="two", from_run="scanned"), SilentWatcher())
    assert (again.shards_run, again.shards_reused) == (0, 4)
    assert tables(root, "two") == tables(root, "one")
    other = tmp_path / "other"
    shutil.copytree(root, other, ignore=shutil.ignore_patterns("shards"))
    values = spec(corpus, other, run="three", from_run="scanned").model_dump(mode="json")
    values["resources"]["actors"] = 1
    alone = occlude(make(OcclusionRun, values), SilentWatcher())
    assert (alone.shards_run, alone.shards_reused) == (4, 0)
    assert tables(other, "three") == tables(root, "one")


def test_an_interrupted_run_goes_on_with_the_images_that_are_left(corpus, tmp_path):
    class Impatient(SilentWatcher):
        def advance(self, done, rejects=0):
            del done, rejects
            if list(tmp_path.glob("shards/*/*.parquet")):
                raise KeyboardInterrupt

    asked = spec(corpus, tmp_path, run="four", stride=8)
    with pytest.raises(KeyboardInterrupt):
        occlude(asked, Impatient())
    done = len(list(tmp_path.glob("shards/*/*.parquet")))
    assert not (tmp_path / "runs" / "four" / "manifest.json").exists()
    outcome = occlude(asked, SilentWatcher())
    assert 1 <= done < 4 and outcome.shards_run + outcome.shards_reused == 4 and outcome.shards_reused >= done
    assert occlude(asked, SilentWatcher()).already_published


def test_a_named_image_that_cannot_be_read_is_a_reject(corpus, root):
    outcome = occlude(spec(corpus, root, run="five", images=["broken.jpg", "watch/000.png"]), SilentWatcher())
    assert (outcome.images, outcome.rejects, outcome.exit_code) == (1, 1, 3)
    rejects = pq.read_table(root / "tables" / "rejects", filters=[("run", "==", "five")]).to_pylist()
    assert [(row["image_id"], row["reason"]) for row in rejects] == [("broken.jpg", "damaged")]
    assert [row["image_id"] for row in rows(root, "five")] == ["watch/000.png"]


@pytest.mark.parametrize(
    ("square", "told"),
    [
        ({"size": 161}, "larger than the model's input of 160 x 160 px"),
        ({"stride": 0}, "occlude.stride: 0 is not valid"),
        ({"layer": "relu9"}, "no layer 'relu9' in the model; nearest: relu"),
        ({"layer": "relu*"}, "matches 6 layers; name one"),
        ({"target": "wach"}, "no class 'wach' among the model's 101 outputs; nearest: watch"),
        ({"target": "101"}, "no class '101'"),
        ({"images": ["watch/0.png"]}, "no image 'watch/0.png' in corpus"),
        ({"from_run": "nothing"}, "from_run 'nothing' is not a published scan"),
        ({"from_run": "one"}, "from_run 'one' is not a published scan"),
        ({"from_run": "scanned", "layer": "relu4"}, "has no layer 'relu4'"),
        ({"fill": "red"}, "occlude.fill: 'red' is not valid"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(corpus, root, square, told):
    before = sorted(root.rglob("*"))
    with pytest.raises(UsageError) as caught:
        occlude(spec(corpus, root, run="six", **square), SilentWatcher())
    assert told in str(caught.value) and "\n" not in str(caught.value) and caught.value.exit_code == 2
    assert sorted(root.rglob("*")) == before


def test_a_published_run_with_another_spec_is_refused(corpus, root):
    with pytest.raises(RunError, match="a different spec"):
        occlude(spec(corpus, root, from_run="scanned", size=32), SilentWatcher())


def test_the_square_is_grey_the_mean_or_blurred():
    pixels = torch.zeros(3, 40, 40, dtype=torch.uint8)
    pixels[0, :, 20:] = 200
    assert make_fill(pixels, Fill.GREY, 8).unique().tolist() == [127.5]
    assert make_fill(pixels, Fill.MEAN, 8)[:, 0, 0].tolist() == [100, 0, 0]
    blurred = make_fill(pixels, Fill.BLUR, 8)
    assert blurred[0, 20, 0] == 0 and blurred[0, 20, 39] == pytest.approx(200) and 80 < float(blurred[0, 20, 20]) < 160


def test_a_class_is_followed_by_label_name_number_or_prediction():
    names = ("cat", "dog", "7")
    assert [target_of(asked, "dog", names, 3) for asked in ("label", "predicted", "cat", "2", "7")] == [
        1,
        None,
        0,
        2,
        2,
    ]
    assert target_of("label", "bird", names, 3) is None and target_of("label", None, names, 3) is None
