"""Random networks: what is reset, stage by stage, against torch modules with the same weights, by hand and by autograd."""

import copy

import pytest
import torch
from torch import nn

from tests.support import by_hand, networks
from tests.support.networks import weighted
from workers.core import randomisation, steps
from workers.core.graph import trace
from workers.core.network import Network
from workers.core.randomisation import Draw, before_rectifier, reset, stages
from workers.core.recording import Units
from workers.spec.parts import Method

SIDE = 45


def network_of(module: nn.Module) -> Network:
    return Network(trace(module, (SIDE, SIDE)))


def number_of(network: Network, name: str) -> int:
    return next(n for n, node in enumerate(network.nodes) if node.name == name)


def whole(
    network: Network, image: torch.Tensor, number: int, unit: tuple[int, int, int], method: Method
) -> torch.Tensor:
    """The projection (3, side, side) of one unit, which begins with 1."""
    units = Units(*(torch.tensor([each]) for each in (0, *unit)))
    tape = randomisation.record(network, image, {number: units})
    [(signal, box)] = randomisation.projections(tape, method, number, units, torch.ones(1, dtype=image.dtype))
    full, cut = torch.zeros(image.shape[1:], dtype=image.dtype), box.cut(*image.shape[2:])
    full[:, cut.top : cut.bottom, cut.left : cut.right] = signal[
        :, cut.top - box.top : cut.bottom - box.top, cut.left - box.left : cut.right - box.left
    ]
    return full


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(1, 3, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_stages_are_the_weighted_layers_below_from_the_top_with_their_batch_norms():
    network = network_of(networks.seeded(networks.Tangled()))
    named = {
        stage.name: [network.nodes[n].name for n in stage.nodes] for stage in stages(network, len(network.nodes) - 1, 9)
    }
    assert named == {"head": ["head"], "two": ["two"], "one": ["one"], "stem": ["stem", "norm"]}
    below_two = stages(network, number_of(network, "two") - 1, 9)
    assert [stage.name for stage in below_two] == ["one", "stem"]  # what stands above a unit does not matter to it


def test_many_layers_share_stages_evenly_and_every_learned_number_is_in_one():
    network = network_of(networks.seeded(networks.vgg_like()))
    four = stages(network, len(network.nodes) - 1, 9)
    three = stages(network, len(network.nodes) - 1, 3)
    assert [stage.name for stage in four] == ["8", "5", "2", "0"]
    assert [stage.name for stage in three] == ["8", "5", "0"]
    assert [n for stage in three for n in stage.nodes] == [n for stage in four for n in stage.nodes]
    assert [stage.name for stage in stages(network, len(network.nodes) - 1, 1)] == ["0"]


def test_a_layer_begins_again_with_hes_distribution_and_no_bias():
    step = steps.Convolution(torch.full((64, 32, 5, 5), 9.0), torch.ones(64), (1, 1), (0, 0), (1, 1), 1)
    drawn, other = reset(step, 3), reset(step, 4)
    assert isinstance(drawn, steps.Convolution) and isinstance(other, steps.Convolution)
    assert float(drawn.weight.std()) == pytest.approx((2 / (32 * 25)) ** 0.5, rel=0.01)
    assert abs(float(drawn.weight.mean())) < 1e-3 and not drawn.bias.any()
    again = reset(step, 3)
    assert isinstance(again, steps.Convolution) and torch.equal(drawn.weight, again.weight)
    assert not torch.equal(drawn.weight, other.weight)
    norm = steps.BatchNorm(torch.ones(4), torch.full((4,), 7.0), torch.full((4,), 2.0), torch.ones(4), 1e-12)
    map_ = torch.randn(1, 4, 3, 3)
    torch.testing.assert_close(reset(norm, 0).forward(map_), map_)
    pooling = steps.Flatten()
    assert reset(pooling, 0) is pooling


def test_what_is_drawn_depends_on_the_seed_and_the_node_alone():
    network = network_of(networks.seeded(networks.alexnet_like()))
    first, later = Draw(network, 5), Draw(network, 5)
    later.randomise([1])
    alone, all_ = weighted(first.randomise([4]).nodes[4]), weighted(later.randomise([1, 4, 7]).nodes[4])
    assert torch.equal(alone.weight, all_.weight)
    assert not torch.equal(alone.weight, weighted(Draw(network, 6).randomise([4]).nodes[4]).weight)
    assert first.randomise([4]).nodes[1] is network.nodes[1]


def randomised_module(module: nn.Sequential, network: Network) -> list[nn.Module]:
    """The torch modules with a network's weights in them, built apart from it."""
    twin = copy.deepcopy(module)
    for layer, node in zip(twin, network.nodes[1:], strict=True):
        if isinstance(layer, nn.Conv2d):
            layer.weight.copy_(weighted(node).weight)
            layer.bias.copy_(weighted(node).bias)
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    return list(twin)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_projections_of_a_random_network_are_those_of_a_torch_module_with_its_weights(image, stage):
    module = networks.seeded(networks.alexnet_like())
    network = network_of(module)
    number = before_rectifier(network, len(network.nodes) - 1)
    assert network.nodes[number].step.kind == "convolution"
    numbers = {n for each in stages(network, number, 9)[:stage] for n in each.nodes}
    random = Draw(network, 11).randomise(numbers)
    modules, unit = randomised_module(module, random)[:number], (3, 2, 4)
    leaf = image.clone().requires_grad_()
    value = nn.Sequential(*modules)(leaf)[(0, *unit)]
    wanted = torch.autograd.grad(value, leaf)[0][0]
    got = whole(random, image, number, unit, Method.GRADIENT)
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9 * float(wanted.abs().max()))
    modules[-1].bias += 1 - value.detach()  # by hand a signal begins with the unit's own value
    by_the_paper = by_hand.deconvnet(modules, image, unit)
    got = whole(random, image, number, unit, Method.DECONVNET)
    torch.testing.assert_close(got, by_the_paper, rtol=1e-9, atol=1e-9 * float(by_the_paper.abs().max()))


@pytest.mark.parametrize("method", list(Method))
def test_without_its_own_rectifier_a_waking_unit_has_the_same_projection(image, method):
    network = network_of(networks.seeded(networks.alexnet_like()))
    top = len(network.nodes) - 1
    maps = []
    network.forward(image, [top], lambda _, __, map_: maps.append(map_[0]))
    channel, y, x = (int(each) for each in (maps[0] > 0).nonzero()[0])
    wanted = whole(network, image, top, (channel, y, x), method)
    assert wanted.any()
    assert torch.equal(whole(network, image, before_rectifier(network, top), (channel, y, x), method), wanted)


def test_a_deconvnet_that_passes_one_path_cannot_see_the_upper_weights(image):
    """By hand: two convolutions of 1 x 1 on one channel. Whatever positive weight is above, the projection is the lower kernel.

    With a negative weight above the rectified signal is 0 for the deconvnet; the gradient keeps the kernel, its sign turned.
    """
    lower, upper = nn.Conv2d(3, 1, 3, padding=1), nn.Conv2d(1, 1, 1)
    module = nn.Sequential(lower, nn.ReLU(), upper).double().eval().requires_grad_(False)
    lower.bias.fill_(100.0)  # so that the rectifier between passes everything
    network = network_of(module)
    shown = {}
    for seed in range(8):
        random = Draw(network, seed).randomise({3})
        weight = float(weighted(random.nodes[3]).weight)
        found = {method: whole(random, image, 3, (0, 9, 9), method)[:, 8:11, 8:11] / abs(weight) for method in Method}
        kernel = lower.weight[0]
        torch.testing.assert_close(found[Method.GRADIENT], kernel if weight > 0 else -kernel)
        for method in (Method.DECONVNET, Method.GUIDED_BACKPROP):
            torch.testing.assert_close(found[method], kernel if weight > 0 else torch.zeros_like(kernel))
        shown[weight > 0] = True
    assert len(shown) == 2
