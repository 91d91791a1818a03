"""Networks with every operation: names, numbers, receptive fields and projections, against the module and its gradient."""

import pytest
import torch
from torch import Tensor

from tests.support import operations
from tests.support.differentiated import differentiated, projected
from tests.support.networks import seeded
from workers.core.graph import trace
from workers.core.network import Network
from workers.spec.parts import Method

SIDE = 45


def images(count: int = 2) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def places(network: Network, number: int) -> list[tuple[int, int, int, int]]:
    """Units at corners, borders and inside, at neighbouring locations too: an upsampling has phases."""
    channels, height, width = network.nodes[number].shape
    rows, columns = (sorted({0, 1, side // 2, side // 2 + 1, side - 1} & set(range(side))) for side in (height, width))
    pairs = [(row, columns[n % len(columns)]) for n, row in enumerate(rows * 2)] + [(rows[0], columns[-1])]
    return [(n % 2, (3 * n) % channels, y, x) for n, (y, x) in enumerate(dict.fromkeys(pairs))]


@pytest.mark.parametrize("make", operations.LOWERED)
def test_upward_it_gives_the_very_numbers_of_the_module(make):
    module = seeded(make())
    network = Network(trace(module, (SIDE, SIDE)))
    assert not next(layer for layer in network.layers if layer.node == network.output).obstacle
    values: dict[int, Tensor] = {}
    with torch.inference_mode():
        network.forward(images(), [network.output], lambda number, _, value: values.update({number: value}))
        assert torch.equal(values[network.output].flatten(1), module(images()).flatten(1))


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("make", operations.LOWERED)
def test_every_projection_is_what_differentiating_the_whole_image_gives(make, method):
    network = Network(trace(seeded(make()), (SIDE, SIDE)))
    for layer in (layer for layer in network.layers if not layer.obstacle):
        units = places(network, layer.node)
        got = projected(network, images(), layer.node, units, method)
        for mine, wanted in zip(got, differentiated(network, images(), layer.node, units, method), strict=True):
            torch.testing.assert_close(mine, wanted, rtol=1e-9, atol=1e-9 * float(wanted.abs().max()) + 1e-300)
