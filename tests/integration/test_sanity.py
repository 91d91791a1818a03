"""The randomisation check as a job: published, resumed, the same for any number of actors, and true to scan and network."""

import copy
import io
import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from jobs.sanity import sanity as sanity_on_ray
from jobs.scan import scan
from jobs.watch import SilentWatcher
from service.cli import main
from service.query import catalog
from service.sheets import boards
from tests.support import corpora, pages
from tests.support.in_process import here, jobs_run_here
from tests.support.networks import weighted
from workers.core.display import undisplay
from workers.core.randomisation import Draw
from workers.errors import RunError, UsageError
from workers.kinds import Kind
from workers.models import model as models
from workers.spec.make import make
from workers.spec.sanity import SanityRun
from workers.spec.scan import make_spec
from workers.store.root import Root

scipy_stats = pytest.importorskip("scipy.stats")
pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("two_cpus")]
sanity = here(sanity_on_ray)
MODEL = {"source": "deconvoy://zfnet-mini"}
LAYERS = ["relu2", "relu3"]
METHODS = ("deconvnet", "gradient", "guided_backprop")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    corpora.photos(folder, range(6))
    return folder


def scanned(corpus: Path, root: Path, run: str = "scanned") -> None:
    values = {"run": run, "root": str(root), "model": MODEL, "corpus": {"source": str(corpus)}}
    values["scan"] = {"layers": LAYERS, "batch": 4, "shard": 8, "k": 3}
    with jobs_run_here():
        scan(make_spec(values | {"resources": {"actors": 1, "device": "cpu"}}), SilentWatcher())


def spec(corpus: Path, root: Path, actors: int = 2, **asked) -> SanityRun:
    values = {
        "run": asked.pop("run", "one"),
        "root": str(root),
        "model": asked.pop("model", MODEL),
        "corpus": {"source": str(corpus)},
        "sanity": {"from_run": "scanned", "sample": 2, "draws": 2} | asked,
        "resources": {"actors": actors, "device": "cpu"},
    }
    return make(SanityRun, values)


@pytest.fixture(scope="module")
def root(corpus, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("root")
    scanned(corpus, root)
    sanity_on_ray(spec(corpus, root), SilentWatcher())
    return root


def rows(root: Path, run: str = "one", table: str = "sanity") -> list[dict]:
    return pq.read_table(root / "tables" / table, filters=[("run", "==", run)]).to_pylist()


def tables(root: Path, run: str) -> dict:
    told = json.loads((root / "runs" / run / "manifest.json").read_text())
    return {name: [part["sha256"] for part in parts] for name, parts in told["tables"].items()}


def pixels(column: dict) -> np.ndarray:
    with Image.open(io.BytesIO(column["bytes"])) as opened:
        return np.asarray(opened.convert("RGB"))


def test_every_unit_has_a_row_for_each_method_stage_mode_and_seed(root):
    found, units = rows(root), defaultdict(list)
    for row in found:
        units[row["layer"], row["channel"], row["rank"]].append(
            tuple(row[name] for name in ("method", "mode", "seed", "stage", "other"))
        )
    assert len({unit[:2] for unit in units}) == 4 and {unit[2] for unit in units} == {0, 1}
    for (layer, channel, _), keys in units.items():
        others = sorted({other for *_, other in keys if other is not None})
        stages = range(1, 3 if layer == "relu2" else 4)
        for method in METHODS:
            wanted: list[tuple[Any, ...]] = [
                (method, "trained", None, 0, None),
                *((method, "other_channel", None, 0, other) for other in others),
            ]
            wanted += [(method, m, s, n, None) for m in ("cascading", "independent") for s in (0, 1) for n in stages]
            assert sorted(map(repr, wanted)) == sorted(repr(key) for key in keys if key[0] == method)
        assert 0 < len(others) <= 3 and channel not in others
    names = {(row["layer"], row["stage"]): row["stage_node"] for row in found if row["stage"]}
    assert [names["relu3", stage] for stage in (1, 2, 3)] == ["conv3", "conv2", "conv1"]
    assert {row["status"] for row in found} <= {"ok", "blank"}


def test_with_nothing_random_it_is_the_scans_projection_and_exactly_alike(root):
    stored = {(r["layer"], r["channel"], r["rank"]): r for r in rows(root, "scanned", "patches")}
    found = [row for row in rows(root) if row["mode"] == "trained"]
    assert {row["method"] for row in found} == set(METHODS)
    for row in found:
        assert (row["rank_correlation"], row["rank_correlation_abs"], row["ssim"]) == (1.0, 1.0, 1.0)
        wanted = stored[row["layer"], row["channel"], row["rank"]]
        assert (row["image_id"], row["y"], row["x"], row["score"]) == tuple(
            wanted[n] for n in ("image_id", "y", "x", "score")
        )
        assert row["patch"]["bytes"] == wanted["patch"]["bytes"]
        if row["method"] == wanted["method"] == "deconvnet":
            assert np.array_equal(pixels(row["projection"]), pixels(wanted["projection"]))
            assert row["projection_scale"] == pytest.approx(wanted["projection_scale"], rel=1e-6)


def test_a_random_networks_gradient_is_that_of_a_torch_module_with_its_weights(corpus, root):
    """By another road: torch's own module, its own state with the weights drawn, and automatic differentiation."""
    model = models.load(make_spec({"root": "r", "model": MODEL, "corpus": {"source": "c"}}).model)
    names = {node.name: number for number, node in enumerate(model.network.nodes)}
    found = [
        r
        for r in rows(root)
        if (r["layer"], r["method"], r["mode"], r["seed"]) == ("relu3", "gradient", "cascading", 0)
    ]
    trained = {
        (r["channel"], r["rank"]): r for r in rows(root)
        if (r["layer"], r["method"], r["mode"]) == ("relu3", "gradient", "trained")
    }  # fmt: skip
    for row in found:
        module = copy.deepcopy(model.module)
        drawn = ["conv3", "conv2", "conv1"][: row["stage"]]
        random = Draw(model.network, 0).randomise({names[name] for name in drawn})
        for name in drawn:
            module.get_parameter(f"{name}.weight").copy_(weighted(random.nodes[names[name]]).weight)
            module.get_parameter(f"{name}.bias").zero_()
        kept: dict[str, Tensor] = {}
        module.get_submodule("conv3").register_forward_hook(
            lambda _, __, map_, kept=kept: kept.update(map=map_.clone())
        )
        with Image.open(corpus / row["image_id"]) as opened:
            prepared = model.preprocessing.prepare(np.array(opened.convert("RGB")), 10**8)
        leaf = model.preprocessing.normalise(prepared[None]).requires_grad_()
        module(leaf)
        value = kept["map"][0, row["channel"], row["y"], row["x"]]
        gradient = torch.autograd.grad(value, leaf)[0][0].numpy() * row["score"]
        wanted = _inside(model.network.field(names["relu3"]).box(row["y"], row["x"]).cut(160, 160), gradient)
        got = undisplay(pixels(row["projection"]), row["projection_scale"])
        assert row["projection_scale"] == pytest.approx(np.abs(wanted).max(), rel=1e-3)
        assert np.abs(got - wanted).max() < 0.02 * np.abs(wanted).max()  # 8 bits
        true = trained[row["channel"], row["rank"]]
        other = undisplay(pixels(true["projection"]), true["projection_scale"])
        assert row["rank_correlation"] == pytest.approx(
            scipy_stats.spearmanr(wanted.ravel(), other.ravel()).statistic, abs=0.01
        )
    assert {row["stage"] for row in found} == {1, 2, 3}


def _inside(box, signal: np.ndarray) -> np.ndarray:
    outside = signal.copy()
    outside[:, box.top : box.bottom, box.left : box.right] = 0
    assert not outside.any()
    return signal[:, box.top : box.bottom, box.left : box.right]


def test_a_run_goes_on_with_the_results_that_are_there_and_one_actor_gives_the_tables_of_two(corpus, root, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(root, other)
    told = json.loads((other / "runs" / "one" / "manifest.json").read_text())
    left, *lost = told["shards"]
    for result in lost:  # as an attempt leaves them that was stopped after its first image
        (other / result).unlink()
    asked = spec(corpus, other, 1, run="two")
    outcome = sanity(asked, SilentWatcher())
    assert (other / left).exists() and (outcome.shards_run, outcome.shards_reused) == (len(lost), 1)
    assert tables(other, "two") == tables(root, "one")
    assert sanity(asked, SilentWatcher()).already_published


def test_sheet_and_atlas_show_it_and_a_channel_leads_to_it(root):
    drawn = boards.BOARDS[Kind.SANITY](catalog.find(Root(str(root)), "one", None))
    assert drawn.width > 1000 and drawn.height > 1000
    page = pages.shown(root, "one")
    assert [layer["name"] for layer in page["layers"]] == ["relu3", "relu2"] and page["total"] == len(page["units"]) > 4
    cells = page["units"][-1]["lines"]["deconvnet"]
    assert [cell["rank_correlation"] == 1 for cell in cells] == [True, False, False, False]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"from_run": "nothing"}, "from_run 'nothing' is not a published scan"),
        ({"from_run": "one"}, "from_run 'one' is not a published scan"),
        ({"layers": ["relu9"]}, "no layer 'relu9' in the model; nearest: relu"),
        ({"layers": ["relu4"]}, "from_run 'scanned' has no layer 'relu4'"),
        ({"channels": [5, 9999]}, "sanity.channels: no channel 9999 in relu2; it has 0 to "),
        ({"channels": [5, 5]}, "sanity.channels: 5 is named twice"),
        ({"modes": ["both"]}, "'both' is not valid"),
        ({"model": MODEL | {"mean": (0, 0, 0)}}, "from_run 'scanned' preprocesses images differently"),
        ({"ranks": 0}, "sanity.ranks: 0 is not valid"),
        ({"ranks": 1000}, "sanity.ranks: 1000 is more than the 3 images per channel"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(corpus, root, asked, told):
    before = sorted(root.rglob("*"))
    with pytest.raises(UsageError) as caught:
        sanity(spec(corpus, root, run="six", **asked), SilentWatcher())
    assert told in str(caught.value) and "\n" not in str(caught.value) and caught.value.exit_code == 2
    assert sorted(root.rglob("*")) == before


def test_a_dead_channel_another_corpus_and_another_model_are_refused(corpus, root, tmp_path):
    dead = next(row["channel"] for row in rows(root, "scanned", "units") if row["dead"] and row["layer"] == "relu3")
    with pytest.raises(UsageError, match=f"sanity.channels: channel {dead} of relu3 is dead: it has no projection"):
        sanity(spec(corpus, root, run="six", layers=["relu3"], channels=[dead]), SilentWatcher())
    corpora.photos(tmp_path, range(2))
    with pytest.raises(RunError, match="from_run 'scanned' is a scan of another corpus"):
        sanity(spec(tmp_path, root, run="six"), SilentWatcher())
    state = models.load(make_spec({"root": "r", "model": MODEL, "corpus": {"source": "c"}}).model).module.state_dict()
    safetensors.torch.save_file(state | {"conv1.bias": state["conv1.bias"] + 1}, tmp_path / "other.safetensors")
    with pytest.raises(RunError, match="from_run 'scanned' is a scan of another model"):
        other = {"source": f"{MODEL['source']}?weights={tmp_path / 'other.safetensors'}"}
        sanity(spec(corpus, root, run="six", model=other), SilentWatcher())


def test_the_command_takes_model_and_corpus_from_the_scan_and_an_image_that_broke_since_is_a_reject(
    corpus, root, tmp_path
):
    broken = rows(root)[0]["image_id"]
    whole = (corpus / broken).read_bytes()
    (corpus / broken).write_bytes(whole[:60])
    words = ["sanity", "--root", str(root), "--from-run", "scanned", "--run", "three", "--sample", "2", "--draws", "2"]
    told = CliRunner().invoke(
        main.app, [*words, "--actors", "1", "--device", "cpu", "-o", str(tmp_path / "sheet.png"), "--json"]
    )
    (corpus / broken).write_bytes(whole)
    assert told.exit_code == 3 and (tmp_path / "sheet.png").stat().st_size > 10_000, told.output
    images = {row["image_id"] for row in rows(root)}
    assert [(row["image_id"], row["reason"]) for row in rows(root, "three", "rejects")] == [(broken, "damaged")]
    assert {row["image_id"] for row in rows(root, "three")} == images - {broken}
    assert f'"shards_reused": {len(images) - 1}' in told.output  # what has not changed was there
    wrong = CliRunner().invoke(main.app, ["sanity", "--root", str(root), "--from-run", "nothing"])
    assert (wrong.exit_code, wrong.output.count("\n")) == (2, 1) and "run 'nothing' is not published" in wrong.output
