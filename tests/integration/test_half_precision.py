"""A scan in half precision: its passes agree within what the network was measured to cost, and that is published."""

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision.transforms.v2 import functional

from jobs.precision import MARGIN
from jobs.run.publish import read_manifest
from jobs.scan import scan
from jobs.watch import SilentWatcher
from tests.support import corpora
from workers.actors.project import AGREEMENT
from workers.models import model as models
from workers.spec.parts import Precision
from workers.spec.scan import RunSpec, make_spec
from workers.store.manifest import Manifest
from workers.store.root import Root

pytestmark = pytest.mark.usefixtures("without_ray")
PHOTOS, SIDE, TOP = 12, 64, 9


class Listening(SilentWatcher):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str, **about: object) -> None:  # noqa: ARG002 - as in Watcher
        self.lines.append(line)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("half")
    corpora.photos(folder / "photos", range(PHOTOS))
    torch.save(mobilenet(pixels_of(folder)).state_dict(), folder / "weights.pth")
    return folder


def pixels_of(place: Path) -> torch.Tensor:
    """The photos as the network gets them, uint8 (images, 3, side, side), by image index."""
    prepared = []
    for path in sorted((place / "photos").rglob("*.png")):
        with Image.open(path) as opened:
            image = torch.from_numpy(np.array(opened)).permute(2, 0, 1)
        resized = functional.resize(image, [SIDE, int(SIDE * 90 / 80)], antialias=True)
        prepared.append(functional.center_crop(resized, [SIDE, SIDE]))
    return torch.stack(prepared)


def mobilenet(pixels: torch.Tensor) -> nn.Module:
    """A network whose batch norms keep the scale of its maps, as training does; else rounding would vanish with the maps."""
    torch.manual_seed(0)
    module = torchvision.models.mobilenet_v2(num_classes=10, dropout=0.0)
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.momentum = None  # the statistics are those of the one batch
    with torch.no_grad():
        module.train()((pixels.float() / 255 - 0.45) / 0.225)
    return module


@pytest.fixture(scope="module")
def spec(place) -> RunSpec:
    return make_spec(
        {
            "run": "half",
            "root": str(place / "root"),
            "model": {
                "source": f"torchvision://mobilenet_v2?weights={place / 'weights.pth'}",
                "resize": SIDE,
                "crop": SIDE,
            },
            "corpus": {"source": str(place / "photos")},
            "scan": {"batch": 4, "shard": 8, "k": 1},
            "project": {"previews": False, "method": "none"},
            "resources": {"actors": 1, "device": "cpu", "precision": "bfloat16"},
        }
    )


@pytest.fixture(scope="module")
def said(spec) -> list[str]:
    watch = Listening()
    scan(spec, watch)
    return watch.lines


@pytest.fixture(scope="module")
def published(said, place) -> Manifest:  # noqa: ARG001 - the scan
    found = read_manifest(Root(str(place / "root")), "half")
    assert found is not None
    return found


def scores_of(spec: RunSpec, place: Path, layers: list[str], precision: torch.dtype) -> np.ndarray:
    """Scores (images, channels of all layers), one image at a time."""
    model = models.load(spec.model)
    network = model.network.to(dtype=precision)
    nodes = {layer.node for layer in network.layers if layer.name in layers}
    every = []
    for pixels in pixels_of(place):
        row: list[float] = []
        with torch.inference_mode():
            images = model.preprocessing.normalise(pixels[None])
            network.forward(images.to(precision), nodes, partial(_add_scores, row))
        every.append(row)
    return np.array(every, np.float32)


def _add_scores(row: list[float], _: int, __: object, map_: torch.Tensor) -> None:
    row.extend(map_.amax((2, 3))[0].float().tolist())


@pytest.mark.slow
def test_mobilenet_in_bfloat16_completes_although_its_rounding_exceeds_the_fixed_bound(published, place):
    patches = pq.read_table(place / "root" / "tables" / "patches")
    assert len(patches) == published.totals.channels
    assert published.precision is not None and published.precision.images == PHOTOS
    scales: dict[str, float] = {}
    for row in pq.read_table(place / "root" / "tables" / "top").to_pylist():
        scales[row["layer"]] = max(scales.get(row["layer"], 0.0), abs(row["score"]))
    relative = {name: published.precision.tolerances[name] / MARGIN / scale for name, scale in scales.items()}
    assert len(relative) == len(published.layers) and max(relative.values()) < 1
    assert max(relative.values()) > AGREEMENT[Precision.BFLOAT16]


def test_what_half_precision_costs_is_said_and_published_and_is_what_sorting_gives(spec, said, published, place):
    names = [layer.name for layer in published.layers]
    exact, rounded = (scores_of(spec, place, names, dtype) for dtype in (torch.float32, torch.bfloat16))
    best = [
        [frozenset(sorted(range(PHOTOS), key=lambda n: (-each[n], n))[:TOP]) for each in scores.T.tolist()]
        for scores in (exact, rounded)
    ]
    expected = sum(one != other for one, other in zip(*best, strict=True)) / len(best[0])
    [row] = pq.read_table(place / "root" / "tables" / "runs").to_pylist()
    assert 0 < row["half_precision_share"] < 1 and row["half_precision_images"] == PHOTOS
    assert row["half_precision_share"] == pytest.approx(
        expected, abs=0.02
    )  # float32 sums in another order, for near ties
    [line] = [line for line in said if "top-9" in line]
    assert line.startswith(f"bfloat16: {published.precision.differing} of {published.totals.channels} channels")
