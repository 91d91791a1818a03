"""The projection against explicit unpooling and transposed convolution, and against automatic differentiation."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from tests.support import by_hand, networks
from tests.support.differentiated import differentiated, projected
from workers.core import deconvnet, pooling, recording
from workers.core.graph import trace
from workers.core.network import Network
from workers.core.receptive_field import Box
from workers.spec.parts import Method

SIDE = 45


def borders_and_middle(network: Network, number: int) -> list[tuple[int, int, int, int]]:
    channels, height, width = network.nodes[number].shape
    rows, columns = ({0, side // 2, side - 1} for side in (height, width))
    return [(image, image % channels, y, x) for image, (y, x) in zip([0, 1] * 9, product(rows, columns), strict=False)]


@pytest.mark.parametrize("make", [networks.alexnet_like, networks.vgg_like])
def test_equals_unpool_rectify_filter_by_hand(make):
    module = networks.seeded(make())
    network = Network(trace(module, (SIDE, SIDE)))
    images = torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for number in range(1, len(network.nodes)):
        places = borders_and_middle(network, number)
        got = projected(network, images, number, places, Method.DECONVNET)
        for place, projection in zip(places, got, strict=True):
            wanted = by_hand.deconvnet(list(module)[:number], images[place[0] : place[0] + 1], place[1:])
            torch.testing.assert_close(projection, wanted, rtol=1e-9, atol=1e-9 * float(wanted.abs().max()) + 1e-300)


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("make", [networks.alexnet_like, networks.Tangled, networks.Written])
def test_every_layer_and_border_equals_the_full_image(make, method):
    network = Network(trace(networks.seeded(make()), (SIDE, SIDE)))
    images = torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for number in range(1, len(network.nodes)):
        places = borders_and_middle(network, number)
        got = projected(network, images, number, places, method)
        for place, projection in zip(places, got, strict=True):
            wanted = differentiated(network, images, number, [place], method)[0]
            torch.testing.assert_close(projection, wanted, rtol=1e-9, atol=1e-9 * float(wanted.abs().max()) + 1e-300)


def test_images_and_signals_have_the_channels_of_the_input_and_the_docstrings_agree():
    network = Network(trace(networks.seeded(nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU())), (8, 8), 2))
    images = torch.randn(1, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    assert projected(network, images, 2, [(0, 1, 2, 2)], Method.DECONVNET)[0].shape[-3:] == (2, 8, 8)
    for function, shape in [
        (recording.record, "(n, channels, height, width)"),
        (deconvnet.project, "(units, channels, height, width)"),
        (Network.forward, "images: (n, channels, height, width)"),
    ]:
        assert shape in str(function.__doc__)


def test_overlapping_windows_that_share_a_switch_add_their_signals():
    pool = pooling.MaxPool((3, 3), (2, 2), (0, 0), (1, 1), ceil=False)
    map_ = torch.zeros(1, 1, 5, 5)
    map_[0, 0, 2, 2] = 1.0
    switches = pool.switches(map_, (2, 2))
    assert pool.unpool(torch.ones(1, 1, 2, 2), switches)[0, 0, 2, 2] == 4


def test_of_equal_values_the_first_in_row_major_order_is_the_switch():
    pool = pooling.MaxPool((2, 2), (2, 2), (0, 0), (1, 1), ceil=False)
    assert pool.switches(torch.zeros(1, 1, 4, 4), (2, 2)).unique().tolist() == [0]


def test_switches_are_those_of_torch_on_untied_maps():
    pool = pooling.MaxPool((3, 3), (2, 2), (1, 1), (1, 1), ceil=True)
    map_ = torch.randn(2, 3, 8, 11, generator=torch.Generator().manual_seed(3))
    wanted, where = nn.functional.max_pool2d(map_, 3, 2, 1, ceil_mode=True, return_indices=True)
    switches = pool.switches(map_, (wanted.shape[2], wanted.shape[3])).long()
    rows = torch.arange(wanted.shape[2])[:, None] * 2 - 1 + switches // 3
    columns = torch.arange(wanted.shape[3])[None, :] * 2 - 1 + switches % 3
    assert torch.equal(rows * 11 + columns, where)


def test_a_projection_on_the_pixels_of_a_box_keeps_its_place_and_is_0_elsewhere():
    image = np.arange(1, 101, dtype=np.float32).reshape(1, 10, 10)
    covers = Box(2, 3, 7, 9)
    signal = image[:, 2:7, 3:9]
    for wanted in (Box(0, 0, 10, 10), Box(3, 4, 5, 6), Box(0, 5, 4, 10), Box(2, 3, 7, 9), Box(7, 0, 9, 2)):
        whole = np.zeros_like(image)
        whole[:, 2:7, 3:9] = signal
        found = deconvnet.window(signal, covers, wanted)
        assert np.array_equal(found, whole[:, wanted.top : wanted.bottom, wanted.left : wanted.right])


POOLS = [
    ((2, 2), (2, 2), (0, 0), (1, 1), False),
    ((3, 3), (2, 2), (1, 1), (1, 1), True),
    ((3, 2), (1, 3), (1, 0), (2, 1), False),
    ((5, 1), (2, 1), (2, 0), (1, 1), True),
    ((17, 16), (8, 8), (0, 0), (1, 1), False),  # more elements than a byte counts
]


@pytest.mark.parametrize("pool", POOLS, ids=str)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=["last", "first"])
@pytest.mark.parametrize("channels", [1, 5])
def test_unpooling_by_place_adds_what_unpooling_tap_by_tap_adds(pool, layout, channels):
    step = pooling.MaxPool(*pool)
    chance = torch.Generator().manual_seed(0)
    map_ = torch.randn(3, channels, 33, 34, dtype=torch.float64, generator=chance).contiguous(memory_format=layout)
    pooled = step.pool(map_)
    switches = step.switches(map_, (pooled.shape[2], pooled.shape[3]))
    signal = torch.randn(pooled.shape, dtype=torch.float64, generator=chance).contiguous(memory_format=layout)
    expected = step.unpool_by_tap(signal, switches)
    torch.testing.assert_close(step.unpool(signal, switches), expected, rtol=1e-14, atol=1e-14)
    assert float(expected.sum()) == pytest.approx(float(signal.sum()))
