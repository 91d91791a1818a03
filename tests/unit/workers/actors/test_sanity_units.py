"""Units of the randomisation check whose receptive fields lie outside the image, wholly or in part."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from workers.actors.sanity import _LayerUnits
from workers.actors.shard import TopUnit
from workers.core.graph import trace
from workers.core.network import Network
from workers.core.randomisation import Draw
from workers.spec.parts import Precision
from workers.spec.sanity import SanitySpec

SIDE, PADDING = 8, 3
PLACES = {"outside": (0, 5), "partly": (1, 5), "inside": (6, 6)}  # of a map whose first row lies outside the image


def network() -> Network:
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 4, 1, padding=PADDING), nn.Conv2d(4, 4, 3)
    module = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
    for convolution in (first, second):
        assert convolution.bias is not None
        nn.init.uniform_(convolution.bias, 0.5, 1.0)  # units that see nothing of the image have scores, too
        nn.init.uniform_(convolution.weight, 0.0, 0.5)
    return Network(trace(module.eval().requires_grad_(False), (SIDE, SIDE)))


@pytest.fixture(scope="module")
def rows() -> dict[str, list[dict]]:
    """All rows of the three units, by the name of their place."""
    net = network()
    layer, prepared = net.layers[-1], torch.randint(0, 256, (3, SIDE, SIDE), dtype=torch.uint8)
    image = prepared[None].float() / 255
    found: dict[int, torch.Tensor] = {}
    net.forward(image, [layer.node], lambda number, _, map_: found.update({number: map_}))
    units = tuple(
        TopUnit(layer.index, 0, rank, y, x, float(found[layer.node][0, 0, y, x]))
        for rank, (y, x) in enumerate(PLACES.values())
    )
    assert all(unit.score > 0 for unit in units)
    spec = SanitySpec(from_run="scan", stages=2)
    worker = SimpleNamespace(
        job=SimpleNamespace(spec=SimpleNamespace(sanity=spec)), network=net, scanned_in=Precision.FLOAT32, tolerances={}
    )
    picture = SimpleNamespace(prepared=prepared, record=SimpleNamespace(image_index=0))
    view = _LayerUnits(worker, picture, image, layer, units)  # type: ignore[arg-type]
    every = [*view.trained(), *view.random(Draw(net, 0))]
    return {name: [row for row in every if row["rank"] == rank] for rank, name in enumerate(PLACES)}


def test_a_unit_that_sees_nothing_of_the_image_is_blank_and_has_no_similarity(rows):
    for row in rows["outside"]:
        assert row["status"] == "blank" and not row["projection"]
        assert row["rank_correlation"] is row["rank_correlation_abs"] is row["ssim"] is None
    patches = [row["patch"] for row in rows["outside"] if row["patch"]]
    assert patches
    for patch in patches:
        assert np.array(Image.open(io.BytesIO(patch))).tolist() == [[[128, 128, 128]]]


def test_a_unit_that_sees_a_part_of_the_image_is_compared_on_that_part(rows):
    trained = [row for row in rows["partly"] if row["mode"] == "trained"]
    assert {row["status"] for row in trained} == {"ok"}
    assert all(row["rank_correlation"] == pytest.approx(1.0) for row in trained if row["method"] == "gradient")
    for row in trained:
        assert np.array(Image.open(io.BytesIO(row["patch"]))).shape == (
            1,
            3,
            3,
        )  # of a field of 3 x 3, one row is inside


def test_a_unit_inside_has_the_whole_field(rows):
    [patch, *_] = [row["patch"] for row in rows["inside"] if row["patch"]]
    assert np.array(Image.open(io.BytesIO(patch))).shape == (3, 3, 3)
