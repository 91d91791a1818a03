"""Synthetic images: they activate their channel, as the model's own module says, and no channel influences another."""

import math

import pytest
import torch
from torch import Tensor, nn

from workers.core import synthesis
from workers.core.graph import trace
from workers.core.network import Network
from workers.core.preprocess import Preprocessing
from workers.core.synthesis import Ascent, OpenRectifier, SynthesisProblem
from workers.models import model as models
from workers.spec.parts import Interpolation, ModelSpec

SIDE = 24
PLAIN = Preprocessing(SIDE, SIDE, (0.5,) * 3, (0.25,) * 3, Interpolation.BILINEAR)


def network(*layers: nn.Module) -> Network:
    return Network(trace(nn.Sequential(*layers).eval().requires_grad_(False), (SIDE, SIDE)))


def pointwise(*weights: tuple[float, float, float], bias: float = 0.0) -> nn.Module:
    layer = nn.Conv2d(3, len(weights), 1)
    layer.weight.data = torch.tensor(weights, dtype=torch.float32).view(-1, 3, 1, 1)
    layer.bias.data.fill_(bias)
    return layer


def made(of: Network, *channels: int, rate: float = 0.05, seed: int = 0) -> synthesis.Synthesised:
    problem = SynthesisProblem(of, len(of.nodes) - 1, PLAIN, Ascent(40, rate, seed))
    return synthesis.synthesise(problem, channels)


def test_a_channel_that_wants_red_and_no_blue_gets_it():
    red, blue = made(network(pointwise((1, 0, -1), (-1, 0, 1))), 0, 1, rate=1.0).pixels.float().mean((2, 3))
    assert red[0] > 200 and red[2] < 55 and blue[0] < 55 and blue[2] > 200


def test_a_channel_that_wants_upright_edges_gets_them():
    layer = nn.Conv2d(3, 1, 4, bias=False)
    layer.weight.data = torch.tensor([1.0, 1.0, -1.0, -1.0]).expand(1, 3, 4, 4).clone()
    out = made(network(layer, nn.ReLU()), 0)
    pixels = PLAIN.normalise(out.pixels.float())
    upright = nn.functional.conv2d(pixels, layer.weight).relu().mean()
    level = nn.functional.conv2d(pixels, layer.weight.mT.contiguous()).relu().mean()
    assert upright == pytest.approx(float(out.means[0]), rel=1e-5)
    assert upright > 1.8 * level and upright > 5 * out.curves[0, 0]


def test_channels_do_not_influence_one_another_and_follow_the_seed():
    torch.manual_seed(0)
    of = network(nn.Conv2d(3, 6, 5, padding=2), nn.ReLU(), nn.Conv2d(6, 8, 3))
    together, alone, other = made(of, 3, 7), made(of, 7), made(of, 7, seed=1)
    assert torch.equal(made(of, 3, 7).pixels, together.pixels)
    assert (together.pixels[1].int() - alone.pixels[0].int()).abs().max() <= 2
    assert (other.pixels[0].int() - alone.pixels[0].int()).abs().float().mean() > 5


def test_a_channel_that_is_silent_at_first_is_woken_and_one_that_cannot_be_is_not():
    """The bias is more than any weight can give to a grey image; the last channel has no weights."""
    of = network(pointwise((3, 0, 0), (0, -3, 3), (0, 0, 0), bias=-2.0), nn.ReLU())
    out = made(of, 0, 1, 2)
    assert (out.curves[:, 0] == 0).all() and (out.maxima[:2] > 1).all() and out.maxima[2] == 0


@pytest.mark.parametrize(
    ("values", "gradient", "passed"),
    [
        ((1.0, -1.0), (2.0, 3.0), (2.0, 0.0)),  # as usual, once one passes
        ((-1.0, -1.0), (2.0, -3.0), (0.0, -3.0)),  # nothing passes: only what a step against the gradient raises
        ((7.0, 9.0), (2.0, -3.0), (2.0, 0.0)),  # above the ceiling of 6: only what lowers it
        ((7.0, -9.0), (-2.0, 3.0), (0.0, 0.0)),
    ],
)
def test_a_rectifier_that_lets_nothing_pass_lets_pass_what_opens_it(values, gradient, passed):
    step = OpenRectifier(6.0)
    map_ = torch.tensor(values).view(1, 1, 1, 2).requires_grad_()
    out = step.forward(map_)
    assert torch.equal(out, map_.detach().clamp(0, 6))
    [got] = torch.autograd.grad(out, map_, torch.tensor(gradient).view(1, 1, 1, 2))
    assert got.flatten().tolist() == list(passed)


def test_each_image_of_a_batch_is_opened_by_itself():
    map_ = torch.tensor([[1.0, -1.0], [-1.0, -1.0]]).view(2, 1, 1, 2).requires_grad_()
    [got] = torch.autograd.grad(OpenRectifier(math.inf).forward(map_), map_, -torch.ones(2, 1, 1, 2))
    assert got.view(2, 2).tolist() == [[-1.0, 0.0], [-1.0, -1.0]]


@pytest.fixture(scope="module")
def mini() -> models.Model:
    return models.load(ModelSpec(source="deconvoy://zfnet-mini"))


def own_maps(model: models.Model, layer: str, pixels: Tensor) -> Tensor:
    """A layer's maps by the model's own module."""
    seen: list[Tensor] = []
    assert model.module is not None
    handle = model.module.get_submodule(layer).register_forward_hook(lambda _, __, map_: seen.append(map_.clone()))
    with torch.inference_mode():
        model.module(model.preprocessing.normalise(pixels))
    handle.remove()
    return seen[0]


def test_the_score_and_the_mean_are_those_of_the_models_own_module(mini):
    [layer] = mini.network.select(["relu3"])
    channels = (5, 0, 40)
    out = synthesis.synthesise(SynthesisProblem(mini.network, layer.node, mini.preprocessing, Ascent(8)), channels)
    maps = own_maps(mini, "relu3", out.pixels.float())[range(3), channels]
    torch.testing.assert_close(out.maxima, maps.amax((1, 2)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out.means, maps.mean((1, 2)), rtol=1e-4, atol=1e-5)
    ticks: list[float] = []
    synthesis.synthesise(SynthesisProblem(mini.network, layer.node, mini.preprocessing, Ascent(4)), [0], ticks.append)
    assert ticks == [0.25, 0.5, 0.75, 1.0]


def test_no_other_synthetic_image_activates_a_channel_as_much_as_its_own(mini):
    [layer] = mini.network.select(["relu3"])
    channels = range(0, layer.channels, layer.channels // 6)
    out = synthesis.synthesise(SynthesisProblem(mini.network, layer.node, mini.preprocessing, Ascent(24)), channels)
    means = own_maps(mini, "relu3", out.pixels.float()).mean((2, 3))[:, channels]
    assert means.argmax(0).tolist() == list(range(len(channels)))
    assert (out.curves[:, -4:].mean(1) > 1.5 * out.curves[:, 0]).all()
