"""Graphs, geometry and layers of networks."""

import pytest
import torch
import torchvision
from torch import Tensor, nn

from tests.support import networks, operations
from workers.core import pooling, steps
from workers.core.graph import trace
from workers.core.network import Network
from workers.core.rectifiers import Pointwise
from workers.errors import GraphError, UnknownLayerError


def alexnet() -> Network:
    return Network(trace(torchvision.models.alexnet(weights=None).eval(), (224, 224)))


def test_alexnets_five_convolutions_see_what_the_literature_says():
    network = alexnet()
    seen = [(layer.field.height, layer.field.width, layer.field.stride_y) for layer in network.select(["auto"])]
    assert seen == [(11, 11, 4), (51, 51, 8), (99, 99, 16), (131, 131, 16), (163, 163, 16)]


def test_auto_takes_the_rectifier_behind_each_convolution_once():
    names = [layer.name for layer in Network(trace(networks.seeded(networks.Tangled()), (32, 32))).select(["auto"])]
    assert names == ["relu", "relu_1", "relu_2"]


def test_a_pattern_that_matches_nothing_names_the_nearest_layers():
    with pytest.raises(UnknownLayerError, match=r"no layer 'features.99' in the model; nearest: features\.\d"):
        alexnet().select(["features.99"])


@pytest.mark.parametrize("make", [networks.alexnet_like, networks.vgg_like, networks.Tangled])
def test_the_gradient_of_an_all_positive_network_fills_the_receptive_field(make):
    module = make().eval().double()
    for parameter in module.parameters():
        nn.init.constant_(parameter, 0.1)
    network = Network(trace(module, (61, 61)))
    for number, node in enumerate(network.nodes):
        if number and not isinstance(node.step, steps.Whole):
            _compare_field(network, number)


def _compare_field(network: Network, number: int) -> None:
    _, height, width = network.nodes[number].shape
    for y, x in ((0, 0), (height // 2, width // 2), (height - 1, width - 1)):
        leaf = torch.ones(1, 3, 61, 61, dtype=torch.float64, requires_grad=True)
        values: list[Tensor] = []
        for node in network.nodes[: number + 1]:
            values.append(_smoothed(node, [values[i] for i in node.inputs]) if node.inputs else leaf)
        values[number][0, :, y, x].sum().backward()
        rows, columns = (leaf.grad[0].sum(0).sum(1 - axis).nonzero().flatten() for axis in (0, 1))
        box = network.layers[number - 1].field.box(y, x).cut(61, 61)
        got = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
        reached = _reached(network, number)
        wanted = (box.top, box.left, min(box.bottom, reached), min(box.right, reached))
        assert got == wanted, (network.nodes[number].name, y, x)


def _smoothed(node, inputs):
    if isinstance(node.step, Pointwise):
        return inputs[0]
    if isinstance(node.step, pooling.MaxPool):
        return nn.functional.avg_pool2d(inputs[0], node.step.size, node.step.stride, node.step.padding, node.step.ceil)
    return node.step.forward(*inputs)


def _reached(network: Network, number: int) -> int:
    """The pixel behind the last one that any window reaches: floor mode drops some."""
    cone = network.cone(number)[0][0]
    if cone.step == 0:
        return 61
    return cone.at(network.nodes[number].shape[1] - 1)[1]


def test_in_place_maps_are_what_the_module_computes():
    module = networks.seeded(networks.Written())
    network = Network(trace(module, (16, 16)))
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    seen = {}
    for overwrite in (False, True):
        network.forward(
            images, range(1, len(network.nodes)), lambda n, _, out: seen.update({n: out.clone()}), overwrite=overwrite
        )
        torch.testing.assert_close(seen[len(network.nodes) - 1], module(images.clone()))


def test_an_unknown_operation_runs_but_ends_projections_above_it():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Softmax2d(), nn.Conv2d(4, 2, 3))
    network = Network(trace(module.eval(), (8, 8)))
    assert [(layer.name, layer.kind, bool(layer.obstacle)) for layer in network.layers] == [
        ("0", "convolution", False), ("1", "rectifier", False), ("2", "softmax", True), ("3", "convolution", True),
    ]  # fmt: skip
    assert network.layers[3].obstacle == "2: Softmax2d has no downward step"
    images, seen = torch.rand(2, 3, 8, 8), list[Tensor]()
    network.forward(images, [network.output], lambda _, __, value: seen.append(value))
    assert torch.equal(seen[0], module(images))


def test_maps_of_unequal_size_are_added_as_torch_adds_them_or_the_projection_is_refused():
    class Rows(nn.Module):
        def forward(self, x):
            return torch.relu(x) + x[:, :, :1]

    network = Network(trace(Rows().eval(), (8, 8)))
    assert network.layers[-1].obstacle == "add: add has no downward step: its maps have shapes (3, 8, 8) and (3, 1, 8)"


@pytest.mark.parametrize("size", ["y.shape", "(x.shape[0], -1)"])
def test_every_way_to_write_a_reshape_is_read(size):
    class Reshaped(nn.Module):
        def forward(self, x):
            y = torch.relu(x)
            return y.reshape(y.shape) if size == "y.shape" else y.view(x.shape[0], -1)

    assert not Network(trace(Reshaped().eval(), (8, 8))).layers[-1].obstacle


def test_a_view_that_mixes_images_is_refused():
    class Mixed(nn.Module):
        def forward(self, x):
            return torch.softmax(x.view(-1), 0)

    with pytest.raises(GraphError, match="gives different results for an image in a batch"):
        trace(Mixed().eval(), (8, 8))


def test_two_inputs_are_refused_in_one_line():
    class Two(nn.Module):
        def forward(self, x, y):
            return x + y

    with pytest.raises(GraphError, match=r"Two cannot be exported by torch\.export: ") as raised:
        trace(Two().eval(), (8, 8))
    assert "\n" not in str(raised.value)


def test_a_gate_is_marked_and_its_path_is_not_in_the_receptive_field():
    network = Network(trace(networks.seeded(operations.squeeze_excitation()), (32, 32)))
    found = {layer.name: (layer.gated, layer.field.height) for layer in network.layers}
    assert found["first"] == (False, 3) and found["mul"] == (True, 3) and found["last"] == (True, 5)
    assert [layer.name for layer in network.select(["auto"])] == ["relu", "relu_2"]


def test_a_size_that_the_module_does_not_accept_is_one_line_with_the_way_out():
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 6 * 6, 5)).eval()
    assert trace(module, (8, 8))
    with pytest.raises(
        GraphError, match=r"^Sequential does not accept inputs of 3 x 9 x 8: mat1 and mat2 .*--crop$"
    ) as raised:
        trace(module, (9, 8))
    assert "\n" not in str(raised.value)
