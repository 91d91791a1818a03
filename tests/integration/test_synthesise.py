"""Synthesis as a job: published, resumed by batch of channels, the same for any number of actors, true to its scores."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from jobs.synthesise import synthesise as synthesise_on_ray
from jobs.watch import SilentWatcher
from service.cli.main import app
from service.query import catalog
from service.sheets import synthesise as sheet
from tests.support import pages
from tests.support.greedy import refuse_batches
from tests.support.in_process import here
from workers.actors.synthesise import SynthesiseWorker
from workers.errors import RunError, UsageError
from workers.models import model as models
from workers.spec.make import make
from workers.spec.parts import ModelSpec
from workers.spec.synthesise import SynthesisRun
from workers.store.root import Root

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("two_cpus")]
synthesise = here(synthesise_on_ray)
MODEL = "deconvoy://zfnet-mini"
CHANNELS = [0, 1, 2, 6, 9]
STEPS = 6


def spec(root: Path, *, run: str = "one", actors: int = 2, **asked) -> SynthesisRun:
    how = {"layers": ["relu1", "relu3"], "channels": CHANNELS, "steps": STEPS, "batch": 2}
    values = {
        "run": run,
        "root": str(root),
        "model": {"source": MODEL},
        "resources": {"actors": actors, "device": "cpu"},
        "synthesise": how | asked,
    }
    return make(SynthesisRun, values)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("root")
    synthesise_on_ray(spec(root), SilentWatcher())
    return root


def rows(root: Path, run: str = "one") -> list[dict]:
    return pq.read_table(root / "tables" / "syntheses", filters=[("run", "==", run)]).to_pylist()


def tables(root: Path, run: str = "one") -> dict:
    told = json.loads((root / "runs" / run / "manifest.json").read_text())
    return {name: [part["sha256"] for part in parts] for name, parts in told["tables"].items()}


def results(root: Path) -> list[Path]:
    return sorted(root.glob("shards/*/*.parquet"))


def picture(row: dict) -> Image.Image:
    with Image.open(io.BytesIO(row["synthesis"]["bytes"])) as opened:
        return opened.convert("RGB")


def test_a_row_for_each_channel_of_each_layer_in_that_order(root):
    found = rows(root)
    assert [(row["layer"], row["channel"]) for row in found] == [
        (layer, channel) for layer in ("relu1", "relu3") for channel in CHANNELS
    ]
    assert [row["layer_index"] for row in found] == sorted(row["layer_index"] for row in found)
    for row in found:
        assert row["status"] == "ok" and len(row["curve"]) == STEPS and row["score"] >= row["mean"] > 0
        settings = json.loads(row["settings"])
        assert settings == {"rate": 0.05, "seed": 0, "size": 1 if row["channel"] == 9 else 2, "steps": STEPS}


def test_the_stored_picture_has_the_stored_score_by_the_models_own_module(root):
    model = models.load(ModelSpec(source=MODEL))
    seen: list[torch.Tensor] = []
    for row in rows(root):
        handle = model.module.get_submodule(row["layer"]).register_forward_hook(
            lambda _, __, map_: seen.append(map_.clone())
        )
        pixels = torch.from_numpy(np.asarray(picture(row)).copy()).permute(2, 0, 1)
        with torch.inference_mode():
            model.module(model.preprocessing.normalise(pixels[None]))
        handle.remove()
        own = seen.pop()[0, row["channel"]]
        assert float(own.max()) == pytest.approx(row["score"], rel=1e-4)
        assert float(own.mean()) == pytest.approx(row["mean"], rel=1e-4)


def test_tables_do_not_depend_on_actors_and_a_second_run_reuses_every_result(root, tmp_path):
    again = synthesise(spec(root, run="two"), SilentWatcher())
    assert (again.shards_run, again.shards_reused, again.statuses) == (0, 6, {"ok": 10})
    assert tables(root, "two") == tables(root)
    synthesise(spec(tmp_path, actors=1), SilentWatcher())
    assert tables(tmp_path) == tables(root)
    published = synthesise(spec(tmp_path, actors=1), SilentWatcher())
    assert published.already_published and published.exit_code == 0


def test_an_interrupted_run_goes_on_with_what_is_left(root, tmp_path):
    class Impatient(SilentWatcher):
        def advance(self, done, rejects=0):
            del rejects
            if done >= 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesise(spec(tmp_path), Impatient())
    done = len(results(tmp_path))
    assert 1 <= done < 6 and not (tmp_path / "runs" / "one" / "manifest.json").exists()
    outcome = synthesise(spec(tmp_path), SilentWatcher())
    assert (outcome.shards_run, outcome.shards_reused) == (6 - done, done)
    assert tables(tmp_path) == tables(root)


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-9])])
def test_a_result_that_vanishes_or_is_damaged_is_made_again(root, tmp_path, harm):
    copied = tmp_path / "root"
    shutil.copytree(root, copied)

    class Thief(SilentWatcher):
        def phase(self, name, total, unit):
            del total, unit
            if name == "publish":
                harm(results(copied)[2])

    synthesise(spec(copied, run="three"), Thief())
    assert tables(copied, "three") == tables(root)


def test_a_damaged_table_of_a_published_run_is_made_again(root, tmp_path):
    copied = tmp_path / "root"
    shutil.copytree(root, copied)
    [part] = (copied / "tables" / "syntheses" / "run=one").iterdir()
    part.write_bytes(part.read_bytes()[:-9])
    assert not synthesise(spec(copied), SilentWatcher()).already_published
    assert tables(copied) == tables(root)


def test_another_seed_gives_other_pictures(root, tmp_path):
    synthesise(spec(tmp_path, seed=1, channels=[0], layers=["relu1"]), SilentWatcher())
    [other] = rows(tmp_path)
    assert other["synthesis"] != rows(root)[0]["synthesis"]


def test_smaller_batches_are_used_for_everything_when_memory_runs_out(tmp_path, monkeypatch):
    refuse_batches(monkeypatch, SynthesiseWorker)
    synthesise(spec(tmp_path), SilentWatcher())
    assert {json.loads(row["settings"])["size"] for row in rows(tmp_path)} == {1}
    assert json.loads((tmp_path / "runs" / "one" / "manifest.json").read_text())["reduced_batch"] == 1
    synthesise(spec(tmp_path, run="alone", batch=1), SilentWatcher())
    assert tables(tmp_path, "alone") == tables(tmp_path)


def test_the_sheet_shows_every_picture_below_the_name_of_its_layer(root):
    drawn = np.asarray(sheet.draw(catalog.find(Root(str(root)), "one", None)))
    for row in rows(root):
        shown = np.asarray(picture(row))
        assert shown.shape == (160, 160, 3)
        windows = np.lib.stride_tricks.sliding_window_view(drawn, (160, 160, 3))[:, :, 0]
        places = [tuple(at) for at in np.argwhere((windows[..., 80, 80, :] == shown[80, 80]).all(-1))]
        assert sum((windows[place] == shown).all() for place in places) == 1


def test_the_atlas_shows_every_picture(root):
    page = pages.shown(root, "one")
    assert [(each["layer"], each["channel"], each["score"]) for each in page["found"]] == [
        (row["layer"], row["channel"], row["score"]) for row in rows(root)
    ]
    assert [layer["run"] for layer in page["layers"]] == ["relu1", "relu3"]
    assert all(each["pictures"]["synthesis"] for each in page["found"])


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"layers": ["relu9"]}, "no layer 'relu9' in the model; nearest: relu"),
        ({"channels": [500]}, "synthesise.channels: no channel 500 in relu1; it has 0 to"),
        ({"channels": [-1]}, "synthesise.channels.0: -1 is not valid"),
        ({"channels": [3, 3]}, "synthesise.channels: 3 is named twice"),
        ({"steps": 0}, "synthesise.steps: 0 is not valid"),
        ({"rate": 0}, "synthesise.rate: 0 is not valid"),
        ({"rate": 1e36}, "synthesise.rate: 1e+36 is not valid"),
        ({"rate": float("nan")}, "synthesise.rate: nan is not valid"),
        ({"batch": 0}, "synthesise.batch: 0 is not valid"),
        ({"sed": 3}, "synthesise.sed: unknown key; nearest: seed"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(root, asked, told):
    before = sorted(root.rglob("*"))
    with pytest.raises(UsageError) as caught:
        synthesise(spec(root, run="six", **asked), SilentWatcher())
    assert told in str(caught.value) and "\n" not in str(caught.value) and caught.value.exit_code == 2
    assert sorted(root.rglob("*")) == before


def test_a_published_run_with_another_spec_is_refused(root):
    with pytest.raises(RunError, match="a different spec"):
        synthesise(spec(root, steps=STEPS + 1), SilentWatcher())


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"corpus": {"source": "photos"}}, "corpus: unknown key"),
        ({"resources": {"precision": "float16"}}, "resources.precision: synthesise supports float32 only, not float16"),
    ],
)
def test_what_a_synthesis_does_not_have_is_refused(tmp_path, more, told):
    with pytest.raises(UsageError, match=told):
        make(SynthesisRun, {"root": str(tmp_path), "model": {"source": MODEL}} | more)


def test_the_order_of_channels_is_not_part_of_a_runs_identity_and_many_are_checked_at_once(tmp_path):
    one, other = (spec(tmp_path, channels=channels) for channels in ([3, 1, 2], [1, 2, 3]))
    assert one.identity() == other.identity()
    assert len(spec(tmp_path, channels=list(range(65_536))).synthesise.channels) == 65_536
    with pytest.raises(UsageError, match=r"synthesise\.channels"):
        spec(tmp_path, channels=list(range(65_537)))


def test_the_command_takes_ranges_of_channels(tmp_path):
    words = ["synthesise", "--model", MODEL, "--root", str(tmp_path), "--layers", "relu3", "--steps", "1"]
    for channels, told in (
        ("5-2", "'5-2' is not a valid list of channels; use 7, 0-23 or 3,7,40-44"),
        ("", "'' is not a valid list of channels"),
        ("0-99999999", "'0-99999999' is not a valid list of channels; the largest number is 65535"),
        ("0-2,999", "synthesise.channels: no channel 999 in relu3; it has 0 to"),
    ):
        done = CliRunner().invoke(app, [*words, "--channels", channels])
        assert done.exit_code == 2 and told in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
