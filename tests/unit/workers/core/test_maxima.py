"""Maxima of maps: those of the maps themselves, however many images go through the network together."""

import pytest
import torch
import torchvision

from tests.support.networks import seeded
from workers.core.graph import trace
from workers.core.maxima import CACHE_BYTES, Maxima, images_in_cache
from workers.core.network import Network

SIDE = 64


@pytest.fixture(scope="module")
def network() -> Network:
    return Network(trace(seeded(torchvision.models.squeezenet1_1(weights=None)).eval(), (SIDE, SIDE))).to(
        dtype=torch.float64
    )


@pytest.mark.parametrize("at_once", [1, 4, 7, 100])
def test_they_are_the_largest_values_of_each_map(network, at_once):
    layers = network.select(["auto"])
    images = torch.randn(7, 3, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected: list[torch.Tensor] = []
    network.forward(
        images, [layer.node for layer in layers], lambda _, __, map_: expected.append(map_.flatten(2).max(2).values)
    )
    before = images.clone()
    scores = Maxima(network, layers, at_once).of(images)
    assert scores.dtype == torch.float32 and torch.equal(images, before)
    torch.testing.assert_close(scores, torch.cat(expected, dim=1).float(), rtol=1e-6, atol=0)


def test_columns_follow_one_another_in_the_order_of_the_layers(network):
    layers = network.select(["auto"])
    maxima = Maxima(network, layers, 1)
    width = sum(layer.channels for layer in layers)
    columns = [column for layer in layers for column in range(width)[maxima.columns[layer.node]]]
    assert columns == list(range(width))


def test_the_largest_maps_that_run_together_fit_the_cache(network):
    layers = network.select(["auto"])
    at_once = images_in_cache(network, layers)
    largest = max(layer.channels * layer.height * layer.width for layer in network.layers) * 4
    assert at_once * largest <= CACHE_BYTES < 2 * at_once * largest


def test_a_map_larger_than_the_cache_runs_alone():
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 1100, 3, padding=1)).eval()
    network = Network(trace(module, (SIDE, SIDE)))
    assert images_in_cache(network, network.layers) == 1
