"""Invariance and correspondence as jobs: published, resumed, the same for any number of actors, and equal to the plain way."""

import io
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from jobs.correspondence import correspondence as correspondence_on_ray
from jobs.invariance import invariance as invariance_on_ray
from jobs.watch import SilentWatcher
from service.cli.main import app
from service.query import catalog
from service.sheets import boards
from tests.support import corpora, pages
from tests.support.in_process import here
from workers.core.receptive_field import Box
from workers.errors import UsageError
from workers.kinds import Kind
from workers.models import model as models
from workers.spec.correspondence import CorrespondenceRun
from workers.spec.invariance import InvarianceRun
from workers.spec.make import make
from workers.spec.parts import ModelSpec
from workers.store.root import Root

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("two_cpus")]
invariance, correspondence = here(invariance_on_ray), here(correspondence_on_ray)
MODEL = {"source": "deconvoy://zfnet-mini"}
BOX = {"top": 20, "left": 25, "bottom": 40, "right": 45}  # of images of 80 x 90, whose model sees nearly all
NAMES = ["class1/001.png", "class2/002.png", "watch/000.png"]
AMOUNTS = {"translations": [-20, 7], "scales": [0.5, 1.5], "rotations": [90, 30], "border": "wrap"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return corpora.labelled(tmp_path_factory.mktemp("corpus"), range(4))


def common(corpus: Path, root: Path, run: str, actors: int = 2) -> dict:
    resources = {"actors": actors, "device": "cpu"}
    return {"run": run, "root": str(root), "model": MODEL, "corpus": {"source": str(corpus)}, "resources": resources}


def moved(corpus: Path, root: Path, run: str = "moved", actors: int = 2, **asked) -> InvarianceRun:
    asked = AMOUNTS | {"images": [*NAMES, "broken.jpg"]} | asked
    return make(InvarianceRun, common(corpus, root, run, actors) | {"invariance": asked})


def boxes(names=NAMES, part="middle", **box) -> list[dict]:
    return [{"image_id": name, "part": part, **(BOX | box)} for name in names]


def hidden(corpus: Path, root: Path, run: str = "hidden", actors: int = 2, **asked) -> CorrespondenceRun:
    outside = boxes([NAMES[0]], "edge", bottom=81) + boxes(["broken.jpg", *NAMES[1:]], "edge", left=45, right=60)
    asked = {"parts": boxes() + outside, "draws": 2, "layers": ["relu5", "relu6"]} | asked
    return make(CorrespondenceRun, common(corpus, root, run, actors) | {"correspondence": asked})


@pytest.fixture(scope="module")
def root(corpus, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("root")
    assert invariance_on_ray(moved(corpus, root), SilentWatcher()).exit_code == 3  # one of four is a reject
    assert correspondence_on_ray(hidden(corpus, root), SilentWatcher()).exit_code == 3
    return root


def rows(root: Path, table: str, run: str) -> list[dict]:
    return pq.read_table(root / "tables" / table, filters=[("run", "==", run)]).to_pylist()


def tables(root: Path, run: str) -> dict:
    told = json.loads((root / "runs" / run / "manifest.json").read_text())
    return {name: [part["sha256"] for part in parts] for name, parts in told["tables"].items()}


def looked(prepared: torch.Tensor, model: models.Model, layers: list[str]) -> list[torch.Tensor]:
    """Features of layers, and the output, of pixels (3, side, side)."""
    network, found = model.network.to(dtype=torch.float32), {}
    numbers = [layer.node for layer in network.select([*layers, "fc7"])]
    image = model.preprocessing.normalise(prepared[None].float().clone())
    network.forward(image, numbers, lambda number, _, map_: found.update({number: map_[0].flatten().double()}))
    return [found[number] for number in numbers]


def prepared(corpus: Path, name: str, model: models.Model) -> torch.Tensor:
    with Image.open(corpus / name) as opened:
        return model.preprocessing.prepare(np.array(opened.convert("RGB")), 10**8)


@pytest.fixture(scope="module")
def model() -> models.Model:
    return models.load(ModelSpec(**MODEL))


def test_distances_and_probabilities_are_those_of_looking_at_each_transformed_image(corpus, root, model):
    found = rows(root, "invariance", "moved")
    keys = [(row["image_index"], row["layer_index"], row["transform"], row["amount"]) for row in found]
    amounts = [("rotate", a) for a in (0, 30, 90)] + [("scale", a) for a in (0.5, 1, 1.5)]
    amounts += [("translate_y", a) for a in (-20, 0, 7)]
    indices = sorted({row["image_index"] for row in found})
    assert keys == [(i, layer, *each) for i in indices for layer in (1, 15, 16) for each in amounts]
    assert sorted({row["image_id"] for row in found}) == NAMES
    for name in NAMES:
        pixels = prepared(corpus, name, model)
        before = looked(pixels, model, ["relu1", "relu6"])
        mine = [row for row in found if row["image_id"] == name]
        assert all((row["distance"], row["relative_distance"]) == (0, 0) for row in mine if _untouched(row))
        assert {row["class_name"] for row in mine if row["label"] == "watch"} <= {"watch"}
        for transform, amount, image in [
            ("translate_y", -20, torch.roll(pixels, -20, 1)), ("rotate", 90, torch.rot90(pixels, 1, (1, 2)))
        ]:  # fmt: skip
            after = looked(image, model, ["relu1", "relu6"])
            probabilities = after[-1].softmax(0)
            for place, row in enumerate(r for r in mine if (r["transform"], r["amount"]) == (transform, amount)):
                distance = float(np.linalg.norm((after[place] - before[place]).numpy()))
                assert row["distance"] == pytest.approx(distance, rel=1e-4)
                assert row["relative_distance"] == pytest.approx(distance / float(before[place].norm()), rel=1e-4)
                assert row["probability"] == pytest.approx(float(probabilities[row["class_index"]]), rel=1e-3, abs=1e-6)
                assert row["predicted_index"] == int(probabilities.argmax())


def _untouched(row: dict) -> bool:
    return row["amount"] == (1 if row["transform"] == "scale" else 0)


def test_pictures_of_transformed_images_stand_in_the_first_layers_rows(corpus, root, model):
    kept = [row for row in rows(root, "invariance", "moved") if row["picture"]]
    assert {row["layer"] for row in kept} == {"relu1"} and len(kept) == 3 * 9
    for row in kept:
        pixels = prepared(corpus, row["image_id"], model).permute(1, 2, 0).numpy()
        shown = np.asarray(Image.open(io.BytesIO(row["picture"]["bytes"])).convert("RGB")).astype(int)
        if row["transform"] == "rotate" and row["amount"] == 90:
            assert np.abs(shown - np.rot90(pixels)).mean() < 12  # lossy
        assert shown.shape == (160, 160, 3)


def test_delta_is_that_of_plain_loops_over_pairs_and_units(corpus, root, model):
    found = {(row["layer"], row["part"], row["kind"]): row for row in rows(root, "correspondence", "hidden")}
    kinds = ("part", "random", "together")
    assert list(found) == [(l, p, k) for l in ("relu5", "relu6") for p in ("edge", "middle") for k in kinds]  # noqa: E741
    changes = []
    for name in NAMES:
        pixels = prepared(corpus, name, model).float()
        covered = pixels.clone()
        box = model.preprocessing.input_box(Box(**BOX), 80, 90)
        covered[:, box.top : box.bottom, box.left : box.right] = 127.5
        before, after = looked(pixels, model, ["relu5", "relu6"]), looked(covered, model, ["relu5", "relu6"])
        mine = []
        for x, y in zip(before[:2], after[:2], strict=True):
            change = (x - y).numpy()
            mine.append(np.sign(change * (np.abs(change) > 1e-6 * float(max(x.max(), y.max())))))
        changes.append(mine)
    for place, layer in enumerate(("relu5", "relu6")):
        signs = [each[place] for each in changes]
        shares = [float(np.mean(a != b)) for a, b in itertools.combinations(signs, 2)]
        row = found[layer, "middle", "part"]
        assert (row["images"], row["pairs"], row["units"]) == (3, 3, len(signs[0]))
        assert row["delta"] == pytest.approx(
            np.mean(shares), abs=2 / len(signs[0])
        )  # a unit may lie on the rounding's edge
        assert row["changed_share"] == pytest.approx(np.mean([np.mean(s != 0) for s in signs]), abs=2 / len(signs[0]))
        assert found[layer, "middle", "random"]["draws"] == 2 and found[layer, "middle", "random"]["delta"] > 0


def test_a_part_that_cannot_be_hidden_is_left_out_with_its_reason(root):
    for row in rows(root, "correspondence", "hidden"):
        if row["part"] == "edge":
            assert (row["images"], row["pairs"], row["left_out"]) == (2, 1, 2)
            assert (
                f"{NAMES[0]}: the box extends beyond the image, which has 80 rows and 90 columns" in row["why_left_out"]
            )
            assert "broken.jpg: damaged" in row["why_left_out"]
        else:
            assert (row["images"], row["left_out"], row["why_left_out"]) == (3, 0, None)
    rejects = rows(root, "rejects", "hidden")
    assert [(row["image_id"], row["reason"]) for row in rejects] == [("broken.jpg", "damaged")]


@pytest.mark.slow
def test_tables_do_not_depend_on_actors_nor_on_the_order_of_parts_and_what_is_done_is_not_done_again(
    corpus, root, tmp_path
):
    other = tmp_path / "other"
    shutil.copytree(root, other)
    for run in ("moved", "hidden"):
        told = json.loads((other / "runs" / run / "manifest.json").read_text())
        (other / told["shards"][-1]).unlink()
    outcome = invariance(moved(corpus, other, "alone", 1), SilentWatcher())
    assert (outcome.shards_run, outcome.shards_reused) == (1, 3) and tables(other, "alone") == tables(root, "moved")
    backwards = list(reversed(hidden(corpus, root).correspondence.model_dump()["parts"]))
    outcome = correspondence(hidden(corpus, other, "backwards", 1, parts=backwards), SilentWatcher())
    assert (outcome.shards_run, outcome.shards_reused) == (1, 3) and tables(other, "backwards") == tables(
        root, "hidden"
    )


@pytest.mark.slow
def test_tables_that_one_actor_makes_from_nothing_are_those_of_two(corpus, root, tmp_path):
    assert invariance(moved(corpus, tmp_path, "alone", 1), SilentWatcher()).shards_run == 4
    assert correspondence(hidden(corpus, tmp_path, "alone2", 1), SilentWatcher()).shards_run == 4
    assert tables(tmp_path, "alone") == tables(root, "moved") and tables(tmp_path, "alone2") == tables(root, "hidden")


@pytest.mark.slow
def test_another_images_part_makes_only_that_image_again(corpus, tmp_path):
    changed = [each | {"top": 21} if each["image_id"] == NAMES[1] else each for each in boxes()]
    correspondence(hidden(corpus, tmp_path, "one", parts=boxes()), SilentWatcher())
    outcome = correspondence(hidden(corpus, tmp_path, "two", parts=changed), SilentWatcher())
    assert (outcome.shards_run, outcome.shards_reused) == (1, 2)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_with_the_images_that_are_left(corpus, tmp_path):
    class Impatient(SilentWatcher):
        def advance(self, done, rejects=0):
            del done, rejects
            if list(tmp_path.glob("shards/*/*.parquet")):
                raise KeyboardInterrupt

    asked = moved(corpus, tmp_path, rotations=list(range(0, 360, 3)))
    with pytest.raises(KeyboardInterrupt):
        invariance(asked, Impatient())
    done = len(list(tmp_path.glob("shards/*/*.parquet")))
    outcome = invariance(asked, SilentWatcher())
    assert 1 <= done < 4 and outcome.shards_run + outcome.shards_reused == 4 and outcome.shards_reused >= done
    assert invariance(asked, SilentWatcher()).already_published


def test_the_figure_is_drawn_and_the_atlas_shows_every_picture(root):
    drawn = boards.BOARDS[Kind.INVARIANCE](catalog.find(Root(str(root)), "moved", None))
    assert drawn.height > 900 and len(np.unique(np.asarray(drawn).reshape(-1, 3), axis=0)) > 1000
    page = pages.shown(root, "moved")
    assert [image["image_id"] for image in page["images"]] == NAMES and len(page["lines"]) == 4
    assert [len(layer["parts"]) for layer in pages.shown(root, "hidden")["layers"]] == [2, 2]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"images": ["watch/0.png"]}, "no image 'watch/0.png' in corpus"),
        ({"layers": ["relu9"]}, "no layer 'relu9' in the model; nearest: relu"),
        ({"scales": [0.0]}, "invariance.scales.0: 0.0 is not valid"),
        ({"scales": [-1.0]}, "invariance.scales.0: -1.0 is not valid"),
        ({"scales": [float("nan")]}, "invariance.scales.0: nan is not valid"),
        ({"rotations": [float("inf")]}, "invariance.rotations.0: inf is not valid"),
        ({"rotations": ["x"]}, "invariance.rotations.0: 'x' is not valid"),
        ({"translations": [0.5]}, "invariance.translations.0: 0.5 is not valid"),
        ({"translations": [160]}, "160 px moves the image out of the model's input of 160 x 160 px"),
        ({"transforms": ["shear"]}, "invariance.transforms.0: 'shear' is not valid"),
        ({"transforms": []}, "invariance.transforms: [] is not valid"),
        ({"border": "black"}, "invariance.border: 'black' is not valid"),
        ({"target": "wach"}, "no class 'wach' among the model's 101 outputs; nearest: watch"),
    ],
)
def test_wrong_transforms_are_one_line_and_write_nothing(corpus, tmp_path, asked, told):
    with pytest.raises(UsageError) as caught:
        invariance(moved(corpus, tmp_path / "root", **asked), SilentWatcher())
    assert told in str(caught.value) and "\n" not in str(caught.value) and caught.value.exit_code == 2
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"parts": boxes(["nobody.png", NAMES[0]])}, "no image 'nobody.png' in corpus"),
        ({"parts": boxes(NAMES[:1]) + boxes(NAMES[:1], "nose")}, "part 'middle' is given in one image"),
        ({"parts": boxes(NAMES[:1] * 2)}, "'middle' in 'class1/001.png' is given twice"),
        ({"parts": boxes(bottom=20)}, "is not a valid box; bottom must exceed top, and right must exceed left"),
        ({"parts": boxes(top=-1)}, "correspondence.parts.0.top: -1 is not valid"),
        ({"parts": []}, "correspondence.parts: [] is not valid"),
        ({"layers": ["relu9"]}, "no layer 'relu9'"),
        ({"fill": "red"}, "correspondence.fill: 'red' is not valid"),
    ],
)
def test_wrong_parts_are_one_line_and_write_nothing(corpus, tmp_path, asked, told):
    with pytest.raises(UsageError) as caught:
        correspondence(hidden(corpus, tmp_path / "root", **asked), SilentWatcher())
    assert told in str(caught.value) and "\n" not in str(caught.value) and caught.value.exit_code == 2
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot be read"),
        ("image_id,part\na,b\n", "the header is 'image_id,part'; expected 'image_id,part,top,left,bottom,right'"),
        ("image_id,part,top,left,bottom,right\na,b,1,2,3\n", "line 2: expected 6 values"),
        ("image_id,part,top,left,bottom,right\na,b,1,2,3,4,5\n", "line 2: expected 6 values"),
        ("image_id,part,top,left,bottom,right\na,b,1,x,3,4\n", "line 2: left 'x' is not a number of pixels"),
        ("image_id,part,top,left,bottom,right\n", "correspondence.parts: [] is not valid"),
    ],
)
def test_a_wrong_file_of_parts_is_one_line_and_exit_code_2(corpus, tmp_path, text, told):
    file = tmp_path / "parts.csv"
    if text is not None:
        file.write_text(text)
    words = ["correspondence", "--model", MODEL["source"], "--corpus", str(corpus), "--root", str(tmp_path / "root")]
    done = CliRunner().invoke(app, [*words, "--parts", str(file)])
    assert done.exit_code == 2 and told in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "root").exists()
