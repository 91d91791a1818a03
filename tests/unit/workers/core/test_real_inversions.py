"""Inversions of the real networks on real photos: early layers come back, every layer's error falls ten times.

`make test` looks at two layers of zfnet-mini and one of SqueezeNet 1.1; every rectified layer is `make soak`'s.
The photos have no bright grounds, which the paper's alpha-norm holds back whatever the layer, and wake more than a few
percent of every layer's units: a face leaves SqueezeNet's last 3 x 3 convolution 98 % silent, and its error falls four times
only (see the README).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from workers.core import inversion
from workers.core.inversion import InversionProblem, Inverted, Part, Scale
from workers.models import model as models
from workers.models.model import Model
from workers.spec import recipe
from workers.spec.parts import ModelSpec
from workers.spec.recipe import Recipe

PHOTOS = (
    "butterfly/image_0011.jpg",
    "Leopards/image_0012.jpg",
    "kangaroo/image_0014.jpg",
    "car_side/image_0014.jpg",
    "lotus/image_0012.jpg",
)
EARLY_ERROR = 0.02  # in the first third of the layers
FALL = 10.0
SHORT = ("features.1",)


def photos(shared: Path, model: Model, count: int, names: Sequence[str] = PHOTOS) -> Tensor:
    """uint8 values (count, 3, crop, crop) as float32."""
    folder = shared / "images" / "caltech101-20x50"
    opened = [np.array(Image.open(folder / name).convert("RGB")) for name in names[:count]]
    return torch.stack([model.preprocessing.prepare(pixels, 10**8) for pixels in opened]).float()


def inverted(model: Model, layer: str, pixels: Tensor, **more) -> tuple[Inverted, float]:
    """The inversions, and the layer's depth as a share of all rectified layers."""
    network, preprocessing = model.network.to(dtype=torch.float32), model.preprocessing
    automatic = [each.name for each in network.select(["auto"])]
    [found] = network.select([layer])
    number, nodes = found.node, len(network.nodes)
    how = Recipe(recipe.tv_weight(number, nodes), recipe.rate(number, nodes), **more)
    problem = InversionProblem(network, Part(number), Scale.of(preprocessing.mean, preprocessing.std), how)
    with torch.no_grad():
        wanted = problem.features(problem.scale.centred(pixels).contiguous(memory_format=torch.channels_last))
    generators = [torch.Generator().manual_seed(0) for _ in pixels]
    begin = inversion.start((pixels.shape[2], pixels.shape[3]), generators)
    out = inversion.invert(problem, wanted, begin.contiguous(memory_format=torch.channels_last))
    return out, (automatic.index(layer) + 1) / len(automatic)


def check(model: Model, layer: str, pixels: Tensor) -> None:
    out, depth = inverted(model, layer, pixels)
    assert not out.diverged.any()
    assert (out.errors[:, 0] >= FALL * out.errors[:, -1]).all(), out.errors[:, [0, -1]]
    if depth <= 1 / 3:
        assert (out.errors[:, -1] < EARLY_ERROR).all(), out.errors[:, -1]


def squeezenet(shared: Path) -> Model:
    weights = shared / "weights" / "squeezenet1_1" / "model.safetensors"
    return models.load(ModelSpec(source=f"torchvision://squeezenet1_1?weights={weights}"))


@pytest.mark.shared
@pytest.mark.parametrize("layer", ["relu1", "relu3"])
def test_zfnet_mini_comes_back(shared, layer):
    model = models.load(ModelSpec(source="deconvoy://zfnet-mini"))
    check(model, layer, photos(shared, model, 3))


@pytest.mark.shared
@pytest.mark.parametrize("layer", SHORT)
def test_layers_of_squeezenet_come_back(shared, layer):
    model = squeezenet(shared)
    check(model, layer, photos(shared, model, 2))


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_rectified_layer_of_both_networks_comes_back(shared):
    for model in (squeezenet(shared), models.load(ModelSpec(source="deconvoy://zfnet-mini"))):
        for layer in model.network.select(["auto"]):
            check(model, layer.name, photos(shared, model, len(PHOTOS)))


@pytest.mark.shared
def test_a_white_ground_is_held_back_by_the_alpha_norm_alone(shared):
    """The photos above were chosen without bright grounds; this one has nothing else."""
    model = models.load(ModelSpec(source="deconvoy://zfnet-mini"))
    pixels = photos(shared, model, 1, ("Motorbikes/image_0004.jpg",))
    assert 0.02 < float(inverted(model, "relu1", pixels)[0].errors[0, -1]) < 0.06
    free = {"alpha_weight": 0.0, "bounded": True}
    assert float(inverted(model, "relu1", pixels, **free)[0].errors[0, -1]) < 0.02


@pytest.mark.shared
def test_a_part_of_the_map_knows_a_part_of_the_image(shared):
    """The paper's Figure 8: from the middle of relu2's map comes the middle of the photo; the border stays unknown."""
    model = models.load(ModelSpec(source="deconvoy://zfnet-mini"))
    network, preprocessing = model.network.to(dtype=torch.float32), model.preprocessing
    [layer] = network.select(["relu2"])
    top, bottom = layer.height // 3, layer.height - layer.height // 3
    problem = InversionProblem(
        network, Part(layer.node, None, (top, top, bottom, bottom)),
        Scale.of(preprocessing.mean, preprocessing.std), Recipe(1.0, 0.004),
    )  # fmt: skip
    pixels = photos(shared, model, 1)
    with torch.no_grad():
        wanted = problem.features(problem.scale.centred(pixels))
    out = inversion.invert(problem, wanted, inversion.start((160, 160), [torch.Generator().manual_seed(0)]))
    away = (problem.scale.pixels(out.images) - pixels).abs()[0].mean(0)
    first, last = layer.field.box(top, top), layer.field.box(bottom - 1, bottom - 1)
    seen = torch.zeros(160, 160, dtype=torch.bool)
    seen[first.top : last.bottom, first.left : last.right] = True
    middle = away[first.top + 16 : last.bottom - 16, first.left + 16 : last.right - 16]
    assert float(middle.mean()) < 20 < 30 < float(away[~seen].mean())
    assert float(out.images[0][:, ~seen].std()) < 0.5 * float(out.images[0][:, seen].std())
