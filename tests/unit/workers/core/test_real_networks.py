"""Projections and receptive fields of the real architectures, on real photos, every layer, at corners and borders.

The forward pass of a projection runs on whole images, so its windows use the very switches of the full image. What
float32 can change is which of two nearly equal values a max-pooling layer takes: the last test counts such rows and traces
each of them to its window.
"""

from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from PIL import Image
from torch import Tensor

from tests.support.differentiated import differentiated, projected
from tests.support.networks import weighted
from workers.core import deconvnet, pooling, recording
from workers.core.graph import trace
from workers.core.network import Network
from workers.core.preprocess import Preprocessing
from workers.core.recording import Tape, Units
from workers.spec.parts import Interpolation, Method

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NAMES = ["alexnet", "squeezenet1_1", "resnet18"]
CHANNELS = 4  # of each layer, in the test of ties
DIFFERS = 1e-4


def network(name: str, side: int, dtype: torch.dtype, weights: Path | None = None) -> Network:
    torch.manual_seed(0)
    module = torchvision.models.get_model(name, weights=None).eval().requires_grad_(False)
    if weights:
        module.load_state_dict(safetensors.torch.load_file(weights))
    return Network(trace(module.to(dtype), (side, side)))


def photo(side: int) -> Tensor:
    """A photograph that scikit-image carries, (1, 3, side, side) in model-input scale, float64."""
    folder = Path(find_spec("skimage").submodule_search_locations[0]) / "data"
    with Image.open(folder / "chelsea.png") as opened:
        return prepared(np.array(opened.convert("RGB")), side)


def prepared(pixels, side: int) -> Tensor:
    preprocessing = Preprocessing(side, side, MEAN, STD, Interpolation.BILINEAR)
    return preprocessing.normalise(preprocessing.prepare(pixels, 10**8)[None]).double()


def corners_and_middle(of: Network, number: int) -> list[tuple[int, int, int, int]]:
    """The strongest channel's units at the corners, in the middle of a border and of the map."""
    channels, height, width = of.nodes[number].shape
    places = {
        (0, 0),
        (0, width - 1),
        (height - 1, 0),
        (height - 1, width - 1),
        (height // 2, 0),
        (height // 2, width // 2),
    }
    return [(0, n * 7 % channels, y, x) for n, (y, x) in enumerate(sorted(places))]


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_at_corners_and_borders_equals_the_whole_image_in_float64(name):
    side = 224 if name == "alexnet" else 160
    of = network(name, side, torch.float64)
    noise = torch.randn(1, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    images = photo(side) + 0.01 * noise  # no two values of a window are equal
    for layer in of.select(["auto"]):
        number = layer.node
        places = corners_and_middle(of, number)
        got = projected(of, images, number, places, Method.DECONVNET)
        for mine, wanted in zip(got, differentiated(of, images, number, places, Method.DECONVNET), strict=True):
            torch.testing.assert_close(mine, wanted, rtol=0, atol=1e-9 * float(wanted.abs().max()) + 1e-300)


@pytest.fixture(scope="module")
def squeezenets(shared) -> tuple[Network, Network]:
    """Squeezenet 1.1 with its real weights, in float32 and float64."""
    weights = shared / "weights" / "squeezenet1_1" / "model.safetensors"
    single, double = (network("squeezenet1_1", 224, dtype, weights) for dtype in (torch.float32, torch.float64))
    return single, double


def plain_photos(shared, step: int) -> Iterator[Tensor]:
    for file in sorted((shared / "images" / "imagenet-1000-256px").glob("*.[jJ]*"))[::step]:
        with Image.open(file) as opened:
            yield prepared(np.array(opened.convert("RGB")), 224)


def test_on_plain_photos_in_float32_no_row_differs_from_the_whole_images(squeezenets, shared):
    """Ties cannot part the two roads: both take the switches of the same forward pass."""
    of, _ = squeezenets
    for images in plain_photos(shared, 500):
        for layer in of.select(["auto"]):
            number = layer.node
            units = strongest(of, images.float(), number)
            places = list(zip(*(column.tolist() for column in vars(units).values()), strict=True))
            got = projected(of, images.float(), number, places, Method.DECONVNET)
            for mine, wanted in zip(
                got, differentiated(of, images.float(), number, places, Method.DECONVNET), strict=True
            ):
                assert float((mine - wanted).abs().max()) <= DIFFERS * float(wanted.abs().max())


def test_rows_that_float32_changes_come_from_tied_windows(squeezenets, shared, capsys):
    """The share of rows that differ from float64 is printed, and each of them is explained."""
    rows = changed = 0
    for images in plain_photos(shared, 350):
        for layer in squeezenets[0].select(["auto"]):
            number = layer.node
            units = strongest(squeezenets[1], images, number)
            single, double = (
                recording.record(of, images.to(weighted(of.nodes[1]).weight.dtype), {number: units}, Method.DECONVNET)
                for of in squeezenets
            )
            differing = difference(single, double, number, units) > DIFFERS
            rows, changed = rows + len(units), changed + int(differing.sum())
            if differing.any():
                explain(single, double, images, number, units, differing)
    with capsys.disabled():
        told = f"{changed} of {rows} rows ({changed / rows:.2%}) differ by more than {DIFFERS:g}"
        print(f"\n{told} between float32 and float64, all by tied windows")  # noqa: T201
    assert rows > 100


def strongest(of: Network, images: Tensor, number: int) -> Units:
    """The largest unit of some channels, where it is positive."""
    maps: list[Tensor] = []
    of.forward(images, [number], lambda _, __, map_: maps.append(map_.clone()))
    channels = torch.linspace(0, maps[0].shape[1] - 1, CHANNELS).long()
    values, places = maps[0][0, channels].flatten(1).max(dim=1)
    positive = values > 0
    width = maps[0].shape[3]
    y, x = places[positive] // width, places[positive] % width
    return Units(torch.zeros_like(y), channels[positive], y, x)


def signals(tape: Tape, number: int, units: Units) -> Tensor:
    return deconvnet.project(tape, number, units, tape.values[number])[0].double()


def difference(single: Tape, double: Tape, number: int, units: Units) -> Tensor:
    """(units,): largest difference, relative to the projection's largest value."""
    one, two = signals(single, number, units), signals(double, number, units)
    return (one - two).abs().amax(dim=(1, 2, 3)) / two.abs().amax(dim=(1, 2, 3)).clamp(min=1e-300)


def explain(single: Tape, double: Tape, images: Tensor, number: int, units: Units, differing: Tensor) -> None:
    """With the other pass's switches the rows agree, and where switches differ two values of a window are equal."""
    same = replace(single, kept=double.kept)
    assert float(difference(same, double, number, units)[differing].max()) < DIFFERS
    inputs: dict[int, Tensor] = {}
    double.network.forward(images, list(double.kept), lambda n, below, _: inputs.update({n: below[0].clone()}))
    for pool, switches in double.kept.items():
        step = double.network.nodes[pool].step
        assert isinstance(step, pooling.MaxPool)
        if bool((switches != single.kept[pool]).any()):
            chosen = [value_at(step, inputs[pool], tape.kept[pool]) for tape in (single, double)]
            assert float((chosen[1] - chosen[0]).abs().max()) <= 1e-5 * float(inputs[pool].abs().max())


def value_at(step: pooling.MaxPool, map_: Tensor, switches: Tensor) -> Tensor:
    """What a pooling layer takes if it takes these elements; a padded map's outside is never chosen."""
    extent = switches.shape[2], switches.shape[3]
    padded = step._pad(map_, extent)
    taps = [pooling._strided_view(padded, dy, dx, step.stride, extent) for dy, dx in step.taps()]
    return torch.stack(taps).gather(0, switches[None].long())[0]
