"""Networks with every operation: names, numbers, receptive fields and projections, against the module and its gradient."""

import pytest
import torch
from torch import Tensor, nn

from tests.support import operations
from tests.support.differentiated import differentiated, projected
from tests.support.networks import seeded
from workers.core.channel_fields import hull
from workers.core.graph import trace
from workers.core.network import Network
from workers.errors import GraphError
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


def gradient_of_module(module: nn.Module, unit: tuple[int, int, int, int]) -> Tensor:
    """The gradient of a unit of the module's output, from its own value, by torch alone."""
    leaf = images().requires_grad_()
    value = module(leaf)[unit]
    [slope] = torch.autograd.grad(value, leaf, value.detach())
    return slope[unit[0]]


def test_contrast_normalisation_leaves_the_signal_as_it_is_and_its_gradient_is_torchs():
    module = seeded(nn.Sequential(*list(operations.local_response())[:3]))
    network = Network(trace(module, (SIDE, SIDE)))
    assert [(layer.name, layer.kind) for layer in network.layers] == [
        ("0", "convolution"), ("1", "rectifier"), ("2", "response norm"),
    ]  # fmt: skip
    norm = network.layers[2]
    assert network.exact(norm.node) and not norm.gated
    unit = (1, 2, 7, 9)
    [gradient] = projected(network, images(), norm.node, [unit], Method.GRADIENT)
    torch.testing.assert_close(gradient, gradient_of_module(module, unit), rtol=1e-9, atol=1e-12)
    with torch.no_grad():
        normalised, plain = module(images())[unit], module[:2](images())[unit]
    [above] = projected(network, images(), norm.node, [unit], Method.DECONVNET)
    [below] = projected(network, images(), norm.node - 1, [unit], Method.DECONVNET)
    torch.testing.assert_close(above, below * (normalised / plain), rtol=1e-9, atol=1e-12)


GATED = ("squeeze_excitation", "linear_gate", "spatial_gate", "response", "split_attention", "root_mean_squares")
STATISTICS = ("group_normed", "odd_borders")  # held constant too


@pytest.mark.parametrize("make", [make for make in operations.LOWERED if make.__name__ not in GATED + STATISTICS])
def test_without_gates_the_gradient_is_the_modules_own(make):
    module = seeded(make())
    network = Network(trace(module, (SIDE, SIDE)))
    for unit in places(network, network.output):
        [mine] = projected(network, images(), network.output, [unit], Method.GRADIENT)
        wanted = gradient_of_module(module, unit)
        torch.testing.assert_close(mine, wanted, rtol=1e-9, atol=1e-9 * float(wanted.abs().max()) + 1e-300)


@pytest.mark.parametrize("make", operations.LOWERED)
def test_a_patch_covers_what_its_projection_covers(make):
    """The field, found upward from the input, is the span that the way down reaches; less where channels see less."""
    network = Network(trace(seeded(make()), (SIDE, SIDE)))
    are_alike = all(len(layer.fields.fields) == 1 for layer in network.layers)
    for number in range(1, len(network.nodes)):
        field, reached = network.field(number), network.cone(number)[0]
        assert hull((field.rows, field.columns), reached) == reached, network.nodes[number].name
        assert (field.rows, field.columns) == reached or not are_alike, network.nodes[number].name


def test_a_padded_channels_last_tensor_is_not_taken_for_a_map_of_channels():
    def forward(m, x):
        x = m.first(x).permute(0, 2, 3, 1)
        return m.last(torch.nn.functional.pad(x, (0, 0, 1, 1, 1, 1)))

    network = Network(trace(seeded(operations.Of(forward, first=nn.Conv2d(3, 6, 3), last=nn.Linear(6, 4))), (12, 12)))
    assert {(layer.channels, layer.height) for layer in network.layers} == {(6, 10)}


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: m.first(x) * x.shape[0] / x.shape[0],
        lambda m, x: torch.dropout_(m.first(x).amax(3), 0.5, False),
        lambda m, x: torch.addcmul(
            torch.ones(1, 4, 10, 10, dtype=x.dtype), m.first(x), torch.ones(4, 1, 1, dtype=x.dtype)
        ),
        lambda m, x: m.first(x) * ((x.mean(1, keepdim=True)[:, :, 1:-1, 1:-1] > 0) & (m.first(x) < 1)),
        lambda m, x: (
            m.first(x).mean((2, 3), keepdim=True).expand(-1, -1, 8, 8)
            + torch.relu(m.first(x).mean((2, 3), keepdim=True))
        ),
    ],
)
def test_what_has_no_downward_step_still_runs(forward):
    module = seeded(operations.Of(forward, first=nn.Conv2d(3, 4, 3)))
    network, seen = Network(trace(module, (12, 12))), list[Tensor]()
    x = images()[:, :, :12, :12]
    with torch.inference_mode():
        network.forward(x, [network.output], lambda _, __, value: seen.append(value))
        assert torch.equal(seen[0].flatten(1), module(x.clone()).flatten(1))


def test_a_unit_that_sees_nothing_of_the_image_has_an_empty_box_and_an_empty_projection():
    network = Network(trace(seeded(nn.Sequential(nn.Conv2d(3, 2, 1, padding=2), nn.ReLU())), (32, 32)))
    box = network.layers[0].field.box(0, 0).cut(32, 32)
    assert box.is_empty and (box.top, box.left, box.bottom, box.right) == (0, 0, 0, 0)
    assert network.layers[0].field.box(35, 35).cut(32, 32).is_empty
    [signal] = projected(network, torch.rand(1, 3, 32, 32, dtype=torch.float64), 1, [(0, 0, 0, 0)], Method.DECONVNET)
    assert not signal.any()


@pytest.mark.parametrize("forward", [lambda m, x: x - m.first(x).mean(), lambda m, x: m.first(x) - m.first(x).sum()])
def test_a_number_of_the_whole_batch_is_refused(forward):
    with pytest.raises(GraphError, match="gives different results for an image in a batch"):
        trace(seeded(operations.Of(forward, first=nn.Conv2d(3, 4, 3))), (12, 12))
