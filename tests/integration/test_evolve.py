"""Features over a training as a job: what each checkpoint's own scan would say, once for what has not changed."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from jobs.evolve.pipeline import evolve as evolve_on_ray
from jobs.scan import scan
from jobs.watch import SilentWatcher
from service.query import catalog, comparing, evolution
from service.query.layers import read_layer
from service.sheets import evolve as sheet
from tests.support import corpora
from tests.support.in_process import here
from workers.errors import ModelError, RunError, SpecError, UnknownLayerError
from workers.models.architectures import resolve
from workers.spec.evolve import EvolutionRun
from workers.spec.make import make
from workers.spec.parts import ModelSpec
from workers.spec.scan import make_spec
from workers.store.root import Root

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("two_cpus")]
evolve = here(evolve_on_ray)
LAYERS = ["relu2", "relu5"]
SCAN = {"layers": LAYERS, "batch": 4, "shard": 8, "k": 3, "max_reject_share": 0.5}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    corpora.photos(folder, range(14))
    corpora.broken(folder)
    return folder


@pytest.fixture(scope="module")
def training(tmp_path_factory) -> Path:
    """Three checkpoints: the second changes the fifth layer alone, the third the classifier alone."""
    folder = tmp_path_factory.mktemp("training")
    _, entry = resolve(ModelSpec(source="deconvoy://zfnet-mini"))
    state = {key: value.float() for key, value in load_file(str(entry.file)).items()}
    save_file(state, folder / "epoch-1.safetensors")
    state["conv5.weight"] = state["conv5.weight"].flip(0) * 0.5
    save_file(state, folder / "epoch-2.safetensors")
    state["fc7.bias"] = state["fc7.bias"] + 1
    save_file(state, folder / "epoch-10.safetensors")
    return folder


def spec(corpus: Path, training: Path, root: Path, run: str = "one", actors: int = 2, **more) -> EvolutionRun:
    values = {
        "run": run, "root": str(root), "model": {"source": "deconvoy://zfnet-mini"}, "corpus": {"source": str(corpus)},
        "evolve": {"checkpoints": [f"{training}/*.safetensors"]}, "scan": SCAN | more,
        "resources": {"actors": actors, "device": "cpu"},
    }  # fmt: skip
    return make(EvolutionRun, values)


@pytest.fixture(scope="module")
def root(corpus, training, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("root")
    outcome = evolve_on_ray(spec(corpus, training, root), SilentWatcher())
    assert (outcome.images, outcome.rejects, outcome.exit_code) == (14, 1, 0)
    assert outcome.shards_run == 4  # two of the first checkpoint, two of the second, none of the third
    return root


def rows(root: Path, table: str, run: str = "one") -> list[dict]:
    return pq.read_table(root / "tables" / table, filters=[("run", "==", run)]).to_pylist()


def parts(root: Path, run: str = "one") -> dict:
    told = json.loads((root / "runs" / run / "manifest.json").read_text())
    return {name: [part["sha256"] for part in files] for name, files in told["tables"].items()}


def test_each_checkpoint_is_what_a_scan_of_it_says_pictures_included(corpus, training, root, tmp_path):
    found = rows(root, "evolution")
    tops = {}
    for number, name in enumerate(("epoch-1", "epoch-2")):
        model = {"source": f"deconvoy://zfnet-mini?weights={training}/{name}.safetensors"}
        values = {"run": "plain", "root": str(tmp_path / name), "model": model, "corpus": {"source": str(corpus)}}
        here(scan)(make_spec(values | {"scan": SCAN, "resources": {"actors": 1, "device": "cpu"}}), SilentWatcher())
        best = [row for row in rows(tmp_path / name, "patches", "plain") if row["rank"] == 0]
        mine = [row for row in found if row["checkpoint"] == number]
        assert len(best) == len(mine) == 224
        for plain, row in zip(best, mine, strict=True):
            assert {key: plain[key] for key in plain if key not in ("rank", "run")} == {
                key: row[key] for key in plain if key not in ("rank", "run")
            }
        units = rows(tmp_path / name, "units", "plain")
        assert [(unit["mean"], unit["active_share"]) for unit in units] == [
            (r["mean"], r["active_share"]) for r in mine
        ]
        tops[number] = rows(tmp_path / name, "top", "plain")
    for row in found:
        if row["checkpoint"] == 0:
            assert row["overlap"] == shared(tops, row["layer"], row["channel"])
        else:
            assert row["overlap"] in (1.0, None)


def shared(tops: dict, layer: str, channel: int) -> float | None:
    sets = [
        {r["image_id"] for r in tops[n] if (r["layer"], r["channel"]) == (layer, channel) and r["score"] > 0}
        for n in (0, 1)
    ]
    return len(sets[0] & sets[1]) / max(map(len, sets)) if any(sets) else None


def test_a_fine_tuned_network_with_another_head_overlaps_its_original_as_two_scans_do(corpus, training, tmp_path):
    shutil.copy(training / "epoch-1.safetensors", tmp_path / "original.safetensors")
    state = load_file(training / "epoch-2.safetensors")
    state |= {key: state[key][:5].clone() for key in ("fc7.weight", "fc7.bias")}
    save_file(state, tmp_path / "tuned.safetensors")
    root = tmp_path / "root"
    evolve(spec(corpus, tmp_path, root), SilentWatcher())
    for name in ("original", "tuned"):
        model = {"source": f"deconvoy://zfnet-mini?weights={tmp_path}/{name}.safetensors"}
        values = {"run": name, "root": str(root), "model": model, "corpus": {"source": str(corpus)}}
        here(scan)(make_spec(values | {"scan": SCAN, "resources": {"actors": 1, "device": "cpu"}}), SilentWatcher())
    runs = [catalog.find(Root(str(root)), name) for name in ("original", "tuned")]
    compared = comparing.comparison(*runs)
    for layer in LAYERS:
        strips = evolution.strips(catalog.find(Root(str(root)), "one", None), layer)
        pairs = compared.pairs([read_layer(run, layer) for run in runs])
        assert [strip.frames[0].overlap for strip in strips] == [pair.overlap for pair in pairs]
    assert {pair.overlap for pair in pairs} > {1.0}


def test_what_has_not_changed_is_told_to_be_the_same(root):
    same = {(row["layer"], row["checkpoint_name"]): row["same_as"] for row in rows(root, "evolution")}
    assert same == {
        ("relu2", "epoch-1"): None, ("relu2", "epoch-2"): 0, ("relu2", "epoch-10"): 0,
        ("relu5", "epoch-1"): None, ("relu5", "epoch-2"): None, ("relu5", "epoch-10"): 1,
    }  # fmt: skip
    settled = {layer: {r["settled_since"] for r in rows(root, "evolution") if r["layer"] == layer} for layer in LAYERS}
    assert settled["relu2"] <= {0, None} and 1 in settled["relu5"] <= {0, 1, None}


@pytest.mark.slow
def test_the_bytes_are_the_same_for_one_actor_and_nothing_is_done_twice(corpus, training, root, tmp_path):
    calm = evolve(spec(corpus, training, tmp_path, actors=1), SilentWatcher())
    assert calm.shards_run == 4 and parts(tmp_path) == parts(root)
    again = evolve(spec(corpus, training, tmp_path, run="two"), SilentWatcher())
    assert (again.shards_run, again.shards_reused, again.groups_run) == (0, 4, 0)
    assert parts(tmp_path, "two") == parts(root)
    assert evolve(spec(corpus, training, tmp_path), SilentWatcher()).already_published


def test_a_result_that_is_lost_is_made_again_and_no_other(corpus, training, root, tmp_path):
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    lost = json.loads((root / "runs" / "one" / "manifest.json").read_text())["shards"][-1]
    (tmp_path / lost).unlink()
    assert evolve(spec(corpus, training, tmp_path, run="two"), SilentWatcher()).shards_run == 1
    assert parts(tmp_path, "two") == parts(root)


class Thief(SilentWatcher):
    """Takes a result away when the run is about to publish."""

    def __init__(self, root: Path, result: str) -> None:
        self.path = root / result
        self.lines: list[Any] = []

    def phase(self, name, total, unit):
        del total, unit
        if name == "publish":
            self.path.unlink()

    def say(self, line, **about):
        del about
        self.lines.append(line)


def test_a_result_that_vanishes_while_rows_are_written_is_made_again(corpus, training, root, tmp_path):
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    lost = json.loads((root / "runs" / "one" / "manifest.json").read_text())["groups"][0]
    thief = Thief(tmp_path, lost)
    evolve(spec(corpus, training, tmp_path, run="two"), thief)
    assert any("computing it again" in line for line in thief.lines) and parts(tmp_path, "two") == parts(root)


def test_parts_of_a_training_give_the_same_bytes(corpus, training, root, tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.evolve.pipeline.HELD_BYTES", 1)
    evolve(spec(corpus, training, tmp_path), SilentWatcher())
    assert parts(tmp_path) == parts(root)


def test_a_training_that_goes_on_costs_its_new_checkpoint(corpus, training, root, tmp_path):
    longer = tmp_path / "longer"
    shutil.copytree(training, longer)
    state = load_file(longer / "epoch-10.safetensors")
    state["conv5.weight"] = state["conv5.weight"] * 2
    save_file(state, longer / "epoch-11.safetensors")
    shutil.copytree(root, tmp_path / "root")
    outcome = evolve(spec(corpus, longer, tmp_path / "root", run="two"), SilentWatcher())
    assert (outcome.shards_run, outcome.shards_reused) == (2, 4)


def test_a_published_training_whose_file_was_written_over_is_not_called_the_same(corpus, training, root, tmp_path):
    changed = tmp_path / "changed"
    shutil.copytree(training, changed)
    shutil.copytree(root, tmp_path / "root")
    evolve(spec(corpus, changed, tmp_path / "root", run="two"), SilentWatcher())
    shutil.copy(changed / "epoch-2.safetensors", changed / "epoch-1.safetensors")
    with pytest.raises(RunError, match=r"epoch-1\.safetensors' have changed"):
        evolve(spec(corpus, changed, tmp_path / "root", run="two"), SilentWatcher())
    shutil.copy(training / "epoch-1.safetensors", changed / "epoch-10.safetensors")
    shutil.copy(training / "epoch-1.safetensors", changed / "epoch-1.safetensors")
    with pytest.raises(RunError, match=r"epoch-10\.safetensors' have changed"):
        evolve(spec(corpus, changed, tmp_path / "root", run="two"), SilentWatcher())


def test_wrong_input_is_refused_before_anything_is_written(corpus, training, tmp_path):
    with pytest.raises(UnknownLayerError):
        evolve(spec(corpus, training, tmp_path / "root", layers=["conv9"]), SilentWatcher())
    with pytest.raises(SpecError, match="nothing matches"):
        evolve(spec(corpus, tmp_path / "nowhere", tmp_path / "root"), SilentWatcher())
    shutil.copytree(training, tmp_path / "broken")
    (tmp_path / "broken" / "epoch-2.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match=r"epoch-2\.safetensors' are neither"):
        evolve(spec(corpus, tmp_path / "broken", tmp_path / "root"), SilentWatcher())
    assert not (tmp_path / "root").exists()


def test_a_diverged_checkpoint_is_left_out_of_the_tables_and_named(corpus, training, root, tmp_path):
    shutil.copytree(training, tmp_path / "training")
    state = load_file(training / "epoch-10.safetensors")
    for number in (3, 11):  # in the middle, and at the end
        state["conv2.bias"] = state["conv2.bias"] * float("nan")
        save_file(state, tmp_path / "training" / f"epoch-{number}.safetensors")
    outcome = evolve(spec(corpus, tmp_path / "training", tmp_path), SilentWatcher())
    assert outcome.exit_code == 0 and parts(tmp_path) == parts(root)
    told = json.loads((tmp_path / "runs" / "one" / "manifest.json").read_text())
    assert [each["name"] for each in told["diverged"]] == ["epoch-3", "epoch-11"]
    assert [each["name"] for each in told["checkpoints"]] == ["epoch-1", "epoch-2", "epoch-10"]
    run = catalog.find(Root(str(tmp_path)), "one", None)
    assert evolution.diverged(run) == ("epoch-3", "epoch-11")
    assert sheet.draw(run).size == sheet.draw(catalog.find(Root(str(root)), "one", None)).size
    assert evolve(spec(corpus, tmp_path / "training", tmp_path), SilentWatcher()).already_published


def test_the_strips_are_asked_for_and_drawn(root):
    run = catalog.find(Root(str(root)), "one", None)
    [strip] = evolution.strips(run, "relu5", [7])
    mine = [row for row in rows(root, "evolution") if (row["layer"], row["channel"]) == ("relu5", 7)]
    assert [(f.score, f.image_id, f.overlap) for f in strip.frames] == [
        (row["score"], row["image_id"], row["overlap"]) for row in mine
    ]
    assert evolution.checkpoints(run) == ("epoch-1", "epoch-2", "epoch-10")
    for frame, row in zip(strip.frames, mine, strict=True):
        layer, cell = evolution.cell(run, frame.number)
        assert (layer, cell.channel, cell.patch) == ("relu5", 7, row["patch"]["bytes"])
    second, fifth = evolution.courses(run)
    assert second.overlap == (1.0, 1.0, 1.0) and second.median == 0
    known = [row["overlap"] for row in rows(root, "evolution") if (row["layer"], row["checkpoint"]) == ("relu5", 0)]
    known = [share for share in known if share is not None]
    assert fifth.overlap[0] == pytest.approx(sum(known) / len(known))
    drawn = sheet.draw(run)
    assert isinstance(drawn, Image.Image) and len(drawn.getcolors(1 << 24)) > 1000
