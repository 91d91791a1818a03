"""Receptive fields by channel: the pixels that each channel's gradient reaches."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from tests.support import operations
from workers.core.graph import trace
from workers.core.network import Layer, Network

SIDE = 48


def branches(m, x):
    x = m.stem(x)
    return m.last(torch.cat([m.one(x), m.three(x), m.tall(x)], 1).relu())


def shuffled(m, x):
    kept, changed = m.stem(x).chunk(2, dim=1)
    joined = torch.cat([kept, m.small(changed)], 1)
    mixed = joined.view(joined.shape[0], 2, 4, SIDE, SIDE).transpose(1, 2).reshape(joined.shape[0], 8, SIDE, SIDE)
    first, second = functional.max_pool2d(mixed, 2).chunk(2, dim=1)
    return torch.cat([first, m.again(second)], 1)


def upsampled(m, x):
    fine = m.stem(x)
    coarse = functional.interpolate(m.three(functional.avg_pool2d(fine, 2)), scale_factor=2)
    return m.last(torch.cat([fine, coarse], 1).relu())


def padded(m, x):
    fine = m.stem(x)
    return functional.pad(fine, (0, 0, 0, 0, 2, 1)) + torch.cat([m.three(fine), fine[:, :3]], 1)


def conv(inputs: int, outputs: int, size: int | tuple[int, int], groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding="same", groups=groups)


NETWORKS = {
    "branches": lambda: operations.Of(
        branches,
        stem=conv(3, 4, 3),
        one=conv(4, 2, 1),
        three=conv(4, 3, 3),
        tall=conv(4, 2, (7, 1)),
        last=conv(7, 5, 3),
    ),
    "channels that are shuffled": lambda: operations.Of(
        shuffled, stem=conv(3, 8, 3), small=conv(4, 4, 5, groups=4), again=conv(4, 4, 3)
    ),
    "upsampling": lambda: operations.Of(upsampled, stem=conv(3, 4, 3), three=conv(4, 4, 3), last=conv(8, 2, 1)),
    "channels that are added": lambda: operations.Of(padded, stem=conv(3, 4, 3), three=conv(4, 4, 3)),
}


def positive(module: nn.Module) -> Network:
    for parameter in module.parameters():
        nn.init.constant_(parameter, 0.1)
    return Network(trace(module.eval().double(), (SIDE, SIDE)))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_channels_gradient_fills_its_own_field(name):
    network = positive(NETWORKS[name]())
    several = [layer for layer in network.layers if len(layer.fields.fields) > 1]
    assert several
    for layer in network.layers:
        for channel in range(layer.channels):
            for y, x in ((0, 0), (layer.height // 2, layer.width // 2 + 1), (layer.height - 1, layer.width - 1)):
                compare(network, layer, (channel, y, x))


def compare(network: Network, layer: Layer, unit: tuple[int, int, int]) -> None:
    leaf = torch.ones(1, 3, SIDE, SIDE, dtype=torch.float64, requires_grad=True)
    values = list[torch.Tensor]()
    for node in network.nodes[: layer.node + 1]:
        inputs = [values[number] for number in node.inputs]
        pool = node.step.kind == "max pooling"
        values.append(
            leaf if not inputs else functional.avg_pool2d(inputs[0], 2) if pool else node.step.forward(*inputs)
        )
    channel, y, x = unit
    values[layer.node][0, channel, y, x].backward()
    box = layer.fields.of(channel).box(y, x).cut(SIDE, SIDE)
    if leaf.grad is None or not leaf.grad.any():  # a channel that only padding fills
        return
    rows, columns = (leaf.grad[0].sum(0).sum(1 - axis).nonzero().flatten() for axis in (0, 1))
    actual = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    assert actual == (box.top, box.left, box.bottom, box.right), (layer.name, unit)


def test_a_layers_field_contains_those_of_its_channels():
    layer = next(layer for layer in positive(NETWORKS["branches"]()).layers if layer.kind == "concatenate")
    sizes = [(layer.fields.of(channel).height, layer.fields.of(channel).width) for channel in range(7)]
    assert sizes == [(3, 3)] * 2 + [(5, 5)] * 3 + [(9, 3)] * 2
    assert (layer.field.height, layer.field.width) == (9, 5)


def test_the_two_branches_of_a_fire_module_see_different_parts():
    network = Network(trace(torchvision.models.squeezenet1_1(weights=None).eval(), (224, 224)))
    layer = next(layer for layer in network.layers if layer.name == "features.4.cat")
    assert [layer.fields.of(channel).height for channel in (0, 63, 64, 127)] == [15, 15, 23, 23]
    [after] = [other for other in network.layers if other.name == "features.6.squeeze"]
    assert {field.height for field in after.fields.fields} == {after.field.height}
