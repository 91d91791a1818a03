"""Folded batch norms: the maps stay, whoever else reads them, and the network has fewer operations."""

from collections.abc import Collection

import pytest
import torch
import torchvision
from torch import Tensor, nn

from tests.support.networks import seeded
from workers.core.folding import fold
from workers.core.graph import trace
from workers.core.network import Network
from workers.core.steps import BatchNorm

SIDE = 64


def network_of(module: nn.Module) -> Network:
    """With statistics of its batch norms that are not those of new ones."""
    seeded(module)
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.running_mean.normal_()
            each.running_var.uniform_(0.1, 2)
    return Network(trace(module.eval(), (SIDE, SIDE)))


def maps(network: Network, wanted: Collection[int], *, overwrite: bool) -> dict[int, Tensor]:
    found: dict[int, Tensor] = {}
    images = torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    network.forward(images, wanted, lambda n, _, map_: found.update({n: map_.clone()}), overwrite=overwrite)
    return found


def norms(network: Network) -> int:
    return sum(isinstance(node.step, BatchNorm) for node in network.nodes)


def require_same(network: Network, folded: Network, wanted: Collection[int]) -> None:
    before = maps(network, wanted, overwrite=False)
    for overwrite in (False, True):
        after = maps(folded, wanted, overwrite=overwrite)
        for number, map_ in before.items():
            assert float((after[number] - map_).abs().max()) <= 1e-10 * float(map_.abs().max()), number


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_all_maps_but_those_of_folded_convolutions_stay(name):
    network = network_of(torchvision.models.get_model(name, weights=None))
    layers = network.select(["auto"])
    wanted = [layer.node for layer in layers]
    folded = fold(network, wanted)
    require_same(network, folded, wanted)
    assert norms(folded) < norms(network)
    assert [(each.name, each.node, each.kind) for each in folded.layers] == [
        (each.name, each.node, each.kind) for each in network.layers
    ]


def test_a_convolution_that_is_wanted_or_has_another_reader_is_left_alone():
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.first = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
            self.two, self.second = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4, affine=False)
            self.three, self.third = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            one = self.one(x)
            x = torch.relu(self.first(one)) + one
            return torch.relu(self.third(self.three(torch.relu(self.second(self.two(x))))))

    network = network_of(Block())
    numbers = {node.name: number for number, node in enumerate(network.nodes)}
    wanted = [numbers["three"], len(network.nodes) - 1]
    folded = fold(network, wanted)
    left = [node.name for node in folded.nodes if isinstance(node.step, BatchNorm)]
    assert left == ["first", "third"]
    require_same(network, folded, [numbers["one"], numbers["second"], *wanted])
