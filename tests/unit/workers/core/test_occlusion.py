"""Occlusion: incremental equals whole, and a planted cause is found where it is."""

import pytest
import torch
import torchvision
from torch import nn

from tests.support import networks
from tests.support.networks import weighted
from tests.support.occluded import occluded
from workers.core.graph import trace
from workers.core.network import Network
from workers.core.occlusion import Squares, occlude

GREY = torch.zeros(3, 1, 1)


def compare(network: Network, number: int, sides: tuple[int, int], squares: Squares, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, *sides, generator=generator).to(weighted(network.nodes[1]).weight.dtype)
    fill = torch.randn(3, *sides, generator=generator).to(image.dtype)
    got = occlude(network, image, number, squares, fill)
    totals, scores = occluded(network, image, number, got.channel, squares, fill)
    probabilities = scores.softmax(-1)
    assert got.activation.shape == got.probability.shape == got.best.shape == (squares.rows, squares.columns)
    assert float((got.activation - totals).abs().max()) <= tolerance * float(totals.abs().max())
    assert float((got.probability - probabilities[..., got.target]).abs().max()) <= tolerance
    told = probabilities.gather(-1, got.best[..., None])[..., 0]
    assert float((probabilities.amax(-1) - told).max()) <= tolerance


@pytest.mark.parametrize(
    "name", ["alexnet", pytest.param("vgg11", marks=pytest.mark.slow), "squeezenet1_1", "resnet18"]
)
def test_incremental_equals_running_every_occluded_image_whole(name):
    torch.manual_seed(0)
    module = torchvision.models.get_model(name, weights=None).eval().requires_grad_(False)
    network = Network(trace(module, (128, 128)))
    layers = network.select(["auto"])
    for layer in (layers[1], layers[-1]):
        compare(network, layer.node, (128, 128), Squares(21, 19, 128, 128), 1e-5)


@pytest.mark.parametrize(("size", "stride"), [(1, 7), (5, 3), (20, 11), (45, 1)])
@pytest.mark.parametrize("make", [networks.alexnet_like, networks.Tangled])
def test_every_size_and_layer_of_small_networks_in_float64(make, size, stride):
    module = networks.seeded(make())
    if make is networks.alexnet_like:
        module = nn.Sequential(*module, nn.AdaptiveAvgPool2d(1), nn.Flatten()).double().eval()
    network = Network(trace(module, (45, 45)))
    for number in range(1, len(network.nodes) - 1):
        compare(network, number, (45, 45), Squares(size, stride, 45, 45), 1e-9)


class Skipping(nn.Module):
    """Convolutions of 1 x 1 with strides that skip most pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1, stride=2), nn.Conv2d(4, 4, 1, stride=(2, 3))
        self.last = nn.Conv2d(4, 5, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.second(torch.relu(self.first(x))))).mean((2, 3))


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (1, 3), (2, 1), (3, 5)])
def test_a_square_on_pixels_that_a_stride_skips_changes_nothing(size, stride):
    network = Network(trace(networks.seeded(Skipping()), (24, 70)))  # a row of positions is more than a chunk
    for layer in network.layers:
        compare(network, layer.node, (24, 70), Squares(size, stride, 24, 70), 1e-9)
    skipped = occlude(network, torch.rand(1, 3, 24, 70).double(), 1, Squares(1, 1, 24, 70), GREY.double())
    totals = torch.full((12, 70), skipped.total, dtype=torch.float64)
    assert torch.allclose(skipped.activation[1::2], totals, rtol=1e-12)


class Several(nn.Module):
    """Class scores, and a map that is computed after them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)
        self.after = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = torch.relu(self.first(x))
        scores = self.head(x.mean((2, 3)))
        return {"scores": scores, "map": torch.relu(self.after(x))}


@pytest.mark.parametrize(("size", "stride"), [(3, 4), (20, 5)])
def test_a_layer_after_the_first_of_several_outputs_is_measured(size, stride):
    network = Network(trace(networks.seeded(Several()), (32, 32)))
    assert network.nodes[network.output].name == "head" and network.layers[-1].node > network.output + 1
    for layer in network.layers:
        compare(network, layer.node, (32, 32), Squares(size, stride, 32, 32), 1e-9)


def planted() -> Network:
    """Class 1 is said where a bright patch is seen: a box filter of 8 px, its maximum, against a fixed score of class 0."""
    filter_, score = nn.Conv2d(3, 2, 8, stride=4, bias=False), nn.Conv2d(2, 2, 1)
    nn.init.zeros_(filter_.weight)
    filter_.weight.data[1] = 1 / (3 * 64)
    nn.init.zeros_(score.weight)
    score.weight.data[1, 1] = 20
    score.bias.data = torch.tensor([10.0, 0.0])
    module = nn.Sequential(filter_, nn.ReLU(), nn.MaxPool2d(15), score, nn.Flatten())
    return Network(trace(module.eval().requires_grad_(False), (64, 64)))


def test_the_planted_cause_is_found_where_it_is():
    network = planted()
    image = torch.zeros(1, 3, 64, 64)
    image[:, :, 24:32, 40:48] = 1.0
    squares = Squares(8, 4, 64, 64)
    got = occlude(network, image, 2, squares, GREY)
    assert got.channel == 1 and got.target == 1
    covered = torch.zeros(squares.rows, squares.columns, dtype=torch.bool)
    covered[24 // 4, 40 // 4] = True  # the square lies on the patch exactly
    near = torch.zeros_like(covered)
    near[24 // 4 - 1 : 24 // 4 + 2, 40 // 4 - 1 : 40 // 4 + 2] = True  # it covers a part of it
    assert torch.equal(got.best == 0, covered | (near & (got.probability < 0.5)))
    assert bool((got.probability[covered] < 1e-3).all())
    assert torch.allclose(got.probability[~near], got.probabilities[1].expand(int((~near).sum())))
    assert float(got.activation[covered]) == 0
    assert torch.allclose(got.activation[~near].double(), torch.tensor(got.total, dtype=torch.float64))


def test_positions_lie_wholly_inside():
    squares = Squares(32, 8, 224, 100)
    tops, lefts = squares.corners()
    assert (squares.rows, squares.columns) == (25, 9)
    assert int(tops.max()) + 32 <= 224 < int(tops.max()) + 32 + 8
    assert int(lefts.max()) + 32 <= 100 < int(lefts.max()) + 32 + 8
    assert tops[:9].tolist() == [0] * 9 and lefts[:3].tolist() == [0, 8, 16]
