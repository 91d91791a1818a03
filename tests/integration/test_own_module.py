"""A network of the user's own, scanned from a script: its class is only in that script, and no actor needs it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import deconvoy
from jobs.dry_run import dry_run
from jobs.run.publish import read_manifest
from tests.support import corpora, scripts
from workers.errors import ModelError
from workers.models.model import outline
from workers.spec.parts import ModelSpec
from workers.spec.scan import make_spec
from workers.store.root import Root

PHOTOS = 12
HALF = [0.5, 0.5, 0.5]
SCRIPT = """
import sys

import torch
from torch import nn

import deconvoy


class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 5, stride=2)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 6, 1), nn.Sigmoid())
        self.second = nn.Conv2d(6, 5, 3)
        self.head = nn.Linear(5, 4)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = torch.relu(self.second(x * self.gate(x)))
        return {"logits": self.head(x.mean((2, 3))), "map": x}


if __name__ == "__main__":
    torch.manual_seed(0)
    corpus, root = sys.argv[1:]
    module = Mine().double()
    module.second.eval()  # as a frozen part
    run = deconvoy.scan(
        module,
        corpus=corpus,
        root=root,
        preprocessing={"resize": 40, "crop": 32, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
        run="mine",
        scan={"k": 3},
        resources={"actors": 1},
    )
    assert module.training and not module.second.training and module.head.weight.dtype == torch.float64
    torch.save(module.state_dict(), root + "/weights.pt")
    print(run)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    corpora.photos(folder / "photos", range(PHOTOS))
    (folder / "script.py").write_text(SCRIPT)
    scripts.run(folder / "script.py", str(folder / "photos"), str(folder / "root"))
    return folder


def test_its_tops_are_those_of_sorting_every_image(place):
    module = scripts.load(place / "script.py").Mine().eval()
    module.load_state_dict(torch.load(place / "root" / "weights.pt", weights_only=True))
    paths = sorted((place / "photos").rglob("*.*"))
    run = deconvoy.open(place / "root").run("mine")
    top = run.table("top").to_pylist()
    with torch.inference_mode():
        scores = torch.stack([module(prepared(path))["map"][0].amax((1, 2)) for path in paths])
    for channel in range(5):
        order = sorted(range(len(paths)), key=lambda n: (-float(scores[n, channel]), n))[:3]
        rows = [row for row in top if row["layer"] == "relu_1" and row["channel"] == channel]
        assert [row["image_index"] for row in rows] == order
        assert [row["score"] for row in rows] == pytest.approx([float(scores[n, channel]) for n in order], rel=1e-5)


def prepared(path: Path) -> torch.Tensor:
    from torchvision.transforms.v2 import functional

    with Image.open(path) as opened:
        image = torch.from_numpy(np.array(opened.convert("RGB"))).permute(2, 0, 1)
    height, width = image.shape[1:]
    size = [40, int(40 * width / height)] if height <= width else [int(40 * height / width), 40]
    cropped = functional.center_crop(functional.resize(image, size, antialias=True), [32, 32])
    return ((cropped.float() / 255 - 0.5) / 0.5)[None]


def test_the_command_plans_it_again_by_its_stored_name(place):
    found = read_manifest(Root(str(place / "root")), "mine")
    assert found is not None and found.model.source.startswith("stored://Mine@")
    values = {"root": str(place / "root"), "corpus": {"source": str(place / "photos")}}
    source, given = (
        {"source": found.model.source},
        {"resize": 40, "mean": HALF, "std": HALF, "interpolation": "bilinear"},
    )
    plan = dry_run(make_spec({**values, "model": {**source, **given, "crop": 32}}))
    assert (plan.images, plan.layers, plan.channels) == (PHOTOS, 2, 11)
    with pytest.raises(ModelError, match=r"needs all of its preprocessing; give model\.crop too"):
        dry_run(make_spec({**values, "model": {**source, **given}}))
    with pytest.raises(ModelError, match=r"model\.crop 24 does not match the input of .*, which is 32 x 32"):
        dry_run(make_spec({**values, "model": {**source, **given, "crop": 24}}))
    with pytest.raises(ModelError, match=r"model\.mean has 1 value, but .* takes 3 channels"):
        dry_run(make_spec({**values, "model": {**source, **given, "crop": 32, "mean": [0.5], "std": [0.5]}}))
    layers = outline(ModelSpec(**source), str(place / "root")).layers
    assert [layer.name for layer in layers if layer.auto] == ["relu", "relu_1"]


def test_a_stored_network_that_is_not_there_is_one_line(place):
    values = {"root": str(place / "root"), "corpus": {"source": str(place / "photos")}}
    with pytest.raises(ModelError, match=r"cannot be read: .* does not hold it, or it is damaged; call deconvoy\.scan"):
        dry_run(make_spec({**values, "model": {"source": f"stored://Mine@{'0' * 32}"}}))
