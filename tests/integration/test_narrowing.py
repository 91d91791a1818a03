"""A scan of some layers takes the first pass of a scan of more layers, and publishes the same bytes as one that does not."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from jobs import scan as scanning
from jobs.dry_run import dry_run
from jobs.watch import SilentWatcher
from tests.support import corpora
from workers.actors.job import Job
from workers.actors.scan import ScanWorker, scans_alike
from workers.actors.shard import Shard
from workers.core.preprocess import Preprocessing
from workers.models import model as models
from workers.models.model import Model
from workers.spec.parts import Interpolation
from workers.spec.scan import RunSpec, make_spec

pytestmark = pytest.mark.usefixtures("without_ray")
PHOTOS, SIDE_PX = 12, 32
RELUS = ["relu1", "relu2", "relu3"]


class Normed(nn.Module):
    """Convolutions with batch norms, which are folded unless the convolution itself is scanned."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        for number, (below, above) in enumerate([(3, 6), (6, 8), (8, 5)], 1):
            setattr(self, f"conv{number}", nn.Conv2d(below, above, 3, stride=2))
            setattr(self, f"norm{number}", nn.BatchNorm2d(above))
            setattr(self, f"relu{number}", nn.ReLU())
            norm = getattr(self, f"norm{number}")
            norm.running_mean, norm.running_var = torch.randn(above) / 5, 0.5 + torch.rand(above)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for number in (1, 2, 3):
            x = getattr(self, f"relu{number}")(getattr(self, f"norm{number}")(getattr(self, f"conv{number}")(x)))
        return x


@pytest.fixture(scope="module")
def model() -> Model:
    return models.export(Normed(), "normed", Preprocessing(36, SIDE_PX, (0.5,) * 3, (0.5,) * 3, Interpolation.BILINEAR))


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    corpora.photos(folder, range(PHOTOS))
    return folder


@pytest.fixture
def scan(model, photos, tmp_path, monkeypatch):
    """Scans layers; gives how many shards ran through the network, and the hashes of the tables."""
    ran: list[Shard] = []
    run_shards = ScanWorker._run_shards

    def counted(worker: ScanWorker, work):
        ran.extend(work.shards)
        return run_shards(worker, work)

    monkeypatch.setattr(ScanWorker, "_run_shards", counted)

    def scan(layers: list[str], run: str, root: str = "root", **more) -> tuple[int, dict[str, list[str]]]:
        ran.clear()
        asked = spec(model, photos, tmp_path / root, layers, run, **more)
        scanning.scan(asked, SilentWatcher())
        manifest = json.loads((tmp_path / root / "runs" / run / "manifest.json").read_text())
        return len(ran), {name: [part["sha256"] for part in parts] for name, parts in manifest["tables"].items()}

    return scan


def spec(model: Model, photos: Path, root: Path, layers: list[str], run: str, **more) -> RunSpec:
    how = {"resize": 36, "crop": SIDE_PX, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}
    values = {
        "run": run,
        "root": str(root),
        "corpus": {"source": str(photos), "label": "none"},
        "model": {"source": model.stored.source, **how},
        "scan": {"k": 3, "batch": 4, "shard": 4, "layers": layers, "engine": "eager"} | more,
        "resources": {"actors": 1, "device": "cpu"},
    }
    return make_spec(values)


@pytest.mark.parametrize("layers", [["relu3"], ["relu1"], ["relu1", "relu3"], ["relu2", "relu3"]])
def test_a_subset_runs_no_image_and_has_the_bytes_of_a_scan_of_its_own(scan, layers):
    assert scan(RELUS, "all")[0] == 3
    ran, tables = scan(layers, "some")
    alone, expected = scan(layers, "alone", root="elsewhere")
    assert (ran, alone) == (0, 3)
    assert tables == expected


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(path.read_bytes()[:-9]), Path.unlink])
def test_a_damaged_or_missing_result_of_more_layers_is_not_used(scan, tmp_path, damage):
    scan(RELUS, "all")
    manifest = json.loads((tmp_path / "root" / "runs" / "all" / "manifest.json").read_text())
    damage(tmp_path / "root" / manifest["shards"][1])
    ran, tables = scan(["relu2"], "some")
    assert ran == 1 and tables == scan(["relu2"], "alone", root="elsewhere")[1]


@pytest.mark.parametrize("note", [b"", b"{", b'{"layers": 3}'])
def test_a_damaged_note_only_costs_its_reuse(scan, tmp_path, note):
    scan(RELUS, "all")
    [path] = (tmp_path / "root" / "layer_sets").rglob("*.json")
    path.write_bytes(note)
    assert scan(["relu2"], "some")[0] == 3


def test_layers_that_keep_a_batch_norm_from_being_folded_give_other_bits_and_are_not_used(scan):
    scan(["conv2", "relu3"], "all")
    ran, tables = scan(["relu3"], "some")
    assert ran == 3 and tables == scan(["relu3"], "alone", root="elsewhere")[1]


def test_predictions_depend_on_the_whole_network(model, photos, tmp_path, monkeypatch):
    """A batch norm above the layers that only one of the scans folds would change the bits of the predictions."""
    asked = spec(model, photos, tmp_path, ["relu1"], "some").resolved("cpu")
    job = Job(asked, model.stored, ("relu1",), "")
    assert scans_alike(job, model.network, ["relu1", "conv2"])
    monkeypatch.setattr("workers.actors.scan._predicts", lambda *_: True)
    assert not scans_alike(job, model.network, ["relu1", "conv2"])
    assert scans_alike(job, model.network, ["relu1", "relu3"])


def test_other_settings_and_fewer_layers_are_not_used(scan):
    scan(["relu1", "relu2"], "all")
    assert scan(["relu1"], "k", k=2)[0] == 3
    assert scan(RELUS, "more")[0] == 3
    assert scan(["relu3"], "last")[0] == 0  # of the run that has it


def test_another_engine_is_not_used(scan, monkeypatch):
    scan(RELUS, "all")
    monkeypatch.setattr("jobs.run.narrowing.EAGER", "compiled")
    assert scan(["relu2"], "some")[0] == 3


def test_a_dry_run_says_what_it_takes_from_a_scan_of_more_layers(scan, model, photos, tmp_path):
    scan(RELUS, "all")
    planned = dry_run(spec(model, photos, tmp_path / "root", ["relu2"], "some"))
    assert (planned.shards, planned.shards_done, planned.shards_from_more_layers) == (3, 0, 3)
    planned = dry_run(spec(model, photos, tmp_path / "root", [*RELUS, "conv1"], "other"))
    assert (planned.shards_done, planned.shards_from_more_layers) == (0, 0)
