"""Maxima of maps: those of the maps themselves, however many images go through the network together."""

import numpy as np
import pytest
import torch
import torchvision
from torch.nn import functional

from tests.support.networks import seeded
from workers.core.graph import trace
from workers.core.maxima import CACHE_BYTES, Maxima, find_head, images_in_cache, is_classifier, predictions
from workers.core.network import Network
from workers.core.recording import locate

SIDE = 64
ALEXNET = 128  # pixels; with fewer, its last pooling layer gives one unit


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


def test_inner_maxima_are_those_away_from_the_border_and_small_maps_count_whole(network):
    layers, images = network.layers, torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3)).double()
    maps: dict[int, np.ndarray] = {}
    network.forward(
        images, [layer.node for layer in layers], lambda node, _, map_: maps.__setitem__(node, map_.numpy().copy())
    )
    maxima = Maxima(network, layers, 2, inner=True)
    scores, seen = maxima.of(images), set()
    for layer in layers:
        rows = range(1, layer.height - 1) if min(layer.height, layer.width) >= 3 else range(layer.height)
        columns = range(1, layer.width - 1) if min(layer.height, layer.width) >= 3 else range(layer.width)
        expected = maps[layer.node][:, :, list(rows)][..., list(columns)].max(axis=(2, 3))
        np.testing.assert_allclose(scores[:, maxima.columns[layer.node]].numpy(), expected, rtol=1e-6)
        seen.add(len(rows) < layer.height)
    assert seen == {True, False}


@pytest.mark.parametrize("size", [(3, 3), (3, 7), (6, 5), (2, 5), (1, 1)])
def test_the_place_of_an_inner_maximum_is_in_the_map(size):
    maps = torch.randint(5, (40, *size), generator=torch.Generator().manual_seed(0)).double()  # many are equal
    y, x = locate(maps, inner=True)
    whole = min(size) < 3
    for map_, row, column in zip(maps.numpy(), y.tolist(), x.tolist(), strict=True):
        places = [
            (i, j)
            for i in range(size[0])
            for j in range(size[1])
            if whole or (0 < i < size[0] - 1 and 0 < j < size[1] - 1)
        ]
        assert (row, column) == max(places, key=lambda at: (map_[at], [-at[0], -at[1]]))


def test_columns_follow_one_another_in_the_order_of_the_layers(network):
    layers = network.select(["auto"])
    maxima = Maxima(network, layers, 1)
    width = sum(layer.channels for layer in layers)
    columns = [column for layer in layers for column in range(width)[maxima.columns[layer.node]]]
    assert columns == list(range(width))


def test_the_largest_maps_that_run_together_fit_the_cache(network):
    layers = network.select(["auto"])
    at_once = images_in_cache(network, [layer.node for layer in layers])
    largest = max(layer.channels * layer.height * layer.width for layer in network.layers) * 4
    assert at_once * largest <= CACHE_BYTES < 2 * at_once * largest


def test_a_map_larger_than_the_cache_runs_alone():
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 1100, 3, padding=1)).eval()
    network = Network(trace(module, (SIDE, SIDE)))
    assert images_in_cache(network, [layer.node for layer in network.layers]) == 1


def alexnet() -> Network:
    module = seeded(torchvision.models.alexnet(weights=None, num_classes=9)).eval()
    return Network(trace(module, (ALEXNET, ALEXNET))).to(dtype=torch.float32)


@pytest.mark.parametrize("wanted", [["features.*"], ["classifier.1", "classifier.4"], ["features.1", "classifier.6"]])
@pytest.mark.parametrize("predicts", [False, True])
def test_fully_connected_layers_run_for_all_images_together_and_the_rest_in_parts(wanted, predicts):
    network = alexnet()
    layers, head = network.select(wanted), find_head(network)
    assert head is not None
    assert network.nodes[head].name == "flatten"
    images = torch.randn(7, 3, ALEXNET, ALEXNET, generator=torch.Generator().manual_seed(0))
    alone, together = (Maxima(network, layers, 2, predicts, head=node).of(images) for node in (None, head))
    # Sums of 1,024 to 9,216 products in float32, in another order.
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5 * float(alone.abs().max()))
    above = [layer for layer in layers if layer.node >= head]
    columns = Maxima(network, layers, 2, predicts).columns
    for layer in layers:  # below the head nothing changes
        if layer not in above:
            assert torch.equal(together[:, columns[layer.node]], alone[:, columns[layer.node]])
    assert together.shape == alone.shape


def test_the_head_reads_its_weights_once_for_all_images(monkeypatch):
    network = alexnet()
    rows = list[int]()
    linear = functional.linear
    monkeypatch.setattr(
        functional, "linear", lambda x, *more: rows.append(x.numel() // x.shape[-1]) or linear(x, *more)
    )
    images = torch.randn(7, 3, ALEXNET, ALEXNET, generator=torch.Generator().manual_seed(0))
    Maxima(network, network.select(["features.1"]), 2, predicts=True, head=find_head(network)).of(images)
    assert rows == [7, 7, 7]


@pytest.mark.parametrize(
    ("make", "name"),
    [("resnet18", "avgpool"), ("squeezenet1_1", "classifier.3"), ("densenet121", "adaptive_avg_pool2d")],
)
def test_the_head_begins_where_maps_have_one_unit_and_nothing_below_is_read_again(make, name):
    network = Network(trace(torchvision.models.get_model(make, weights=None).eval(), (SIDE, SIDE)))
    head = find_head(network)
    assert (None if head is None else network.nodes[head].name) == name


@pytest.mark.parametrize("has_output", [False, True], ids=["below", "with the output"])
def test_predictions_are_those_of_the_module_and_leave_the_scores_as_they_are(has_output):
    module = seeded(torchvision.models.resnet18(weights=None, num_classes=7)).eval().double()
    network = Network(trace(module, (SIDE, SIDE)))
    layers = network.select(["layer1.*", "fc"] if has_output else ["layer1.*"])
    images = torch.randn(5, 3, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    maxima = Maxima(network, layers, 2, predicts=True)
    assert is_classifier(network, 7) and not is_classifier(network, 8) and not is_classifier(network, 0)
    every = maxima.of(images)
    assert torch.equal(every[:, maxima.scores], Maxima(network, layers, 2).of(images))
    assert every.shape[1] == sum(layer.channels for layer in layers) + (0 if has_output else 7)
    classes, probabilities = predictions(network, every[:, maxima.outputs])
    with torch.no_grad():
        expected = module(images).softmax(1).max(1)
    assert torch.equal(classes, expected.indices)
    torch.testing.assert_close(probabilities.double(), expected.values, rtol=1e-5, atol=0)


def test_of_equal_outputs_the_first_counts(network):
    classes, probabilities = predictions(network, torch.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]))
    assert classes.tolist() == [1, 0] and probabilities[1] == pytest.approx(1 / 3)


def test_a_map_of_classes_is_no_prediction():
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)).eval()
    assert not is_classifier(Network(trace(module, (SIDE, SIDE))), 4)


def test_a_network_that_ends_in_a_softmax_gives_probabilities_already():
    body = [torch.nn.Conv2d(3, 6, 5, stride=4), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    module = seeded(torch.nn.Sequential(*body, torch.nn.Softmax(dim=1))).eval().double()
    network = Network(trace(module, (SIDE, SIDE)))
    images = torch.randn(3, 3, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    maxima = Maxima(network, network.select(["0"]), 3, predicts=True)
    _, probabilities = predictions(network, maxima.of(images)[:, maxima.outputs])
    with torch.no_grad():
        torch.testing.assert_close(probabilities.double(), module(images).max(1).values, rtol=1e-5, atol=0)
