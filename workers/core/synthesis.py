"""Images that activate a channel strongly. Takes a network and channels of a layer, gives synthetic images.

Olah, Mordvintsev & Schubert, "Feature Visualization" (Distill, 2017): gradient ascent on the mean of a channel's map, over
spectra of images (see `spectrum`), each time through another small transform (see `jitter`).

Most channels are silent on the first, nearly grey images: then a ReLU lets no gradient pass. While that is so for an image,
a ReLU or ReLU6 passes what would bring its inputs back into its range. The authors do so in the first 16 steps only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from workers.core import spectrum
from workers.core.jitter import Transform
from workers.core.network import Network
from workers.core.preprocess import Preprocessing
from workers.core.rectifiers import Rectifier
from workers.core.steps import Step

CEILINGS = {"relu": float("inf"), "relu6": 6.0}

Tick = Callable[[float], None]


@dataclass(frozen=True)
class Ascent:
    """How images are optimised.

    Attributes:
        steps: number of steps.
        rate: learning rate of Adam.
        seed: of all random numbers.
    """

    steps: int = 256
    rate: float = 0.05
    seed: int = 0


@dataclass(frozen=True, eq=False)
class SynthesisProblem:
    """What is maximised, and how.

    Attributes:
        network: the network, on its device.
        node: number of the node whose channels are maximised.
        preprocessing: from pixels to the model's input.
        ascent: how.
    """

    network: Network
    node: int
    preprocessing: Preprocessing
    ascent: Ascent = Ascent()

    def input(self, images: Tensor) -> Tensor:
        """Images (n, channels, height, width), 0 to 1, in model-input scale."""
        return self.preprocessing.normalise(255 * images)

    def maps(self, network: Network, inputs: Tensor, channels: Sequence[int]) -> Tensor:
        """The map of each image's own channel, (n, height, width)."""
        maps: list[Tensor] = []
        network.forward(inputs, [self.node], lambda _, __, map_: maps.append(map_))
        return maps[0][range(len(channels)), channels]


@dataclass(frozen=True, eq=False)
class Synthesised:
    """Synthetic images, and the activations of their channels.

    Attributes:
        pixels: (n, channels, height, width), uint8.
        curves: (n, steps), the mean of the channel's map at each step, of the transformed image.
        means: (n,), the mean of the channel's map for `pixels`.
        maxima: (n,), its largest activation: the score that a scan would give the image.
    """

    pixels: Tensor
    curves: Tensor
    means: Tensor
    maxima: Tensor


def synthesise(problem: SynthesisProblem, channels: Sequence[int], tick: Tick = lambda _: None) -> Synthesised:
    """Maximise some channels together; none of them influences another.

    Args:
        problem: what is maximised, and how.
        channels: the channels.
        tick: called after each step with the share of steps that are done.
    """
    network, device = with_open_rectifiers(problem.network), _device(problem.network)
    ascent, shape = problem.ascent, problem.network.nodes[0].shape
    generators = [torch.Generator().manual_seed(ascent.seed * 1_000_003 + channel) for channel in channels]
    transforms = torch.Generator().manual_seed(ascent.seed)
    spectra = spectrum.start(shape, generators).to(device).requires_grad_()
    adam, curves = torch.optim.Adam([spectra], ascent.rate), []
    for step in range(ascent.steps):
        images = problem.input(spectrum.images(spectra, shape[2]))
        transformed = Transform.draw(transforms, shape[1:]).of(images)
        means = problem.maps(network, transformed, channels).mean((1, 2))
        [spectra.grad] = torch.autograd.grad(-means.sum(), spectra)
        adam.step()
        curves.append(means.detach())
        tick((step + 1) / ascent.steps)
    with torch.no_grad():
        pixels = (255 * spectrum.images(spectra, shape[2])).round().byte()
        maps = problem.maps(problem.network, problem.input(pixels / 255), channels)
    return Synthesised(pixels, torch.stack(curves, 1), maps.mean((1, 2)), maps.amax((1, 2)))


def with_open_rectifiers(network: Network) -> Network:
    """The network with other gradients: a rectifier that would let nothing pass lets through what raises its inputs."""
    return Network(
        tuple(
            replace(node, step=OpenRectifier(CEILINGS[node.step.name]))
            if isinstance(node.step, Rectifier) and node.step.name in CEILINGS
            else node
            for node in network.nodes
        )
    )


@dataclass(frozen=True, eq=False)
class OpenRectifier(Step):
    """A rectified linear unit with an upper bound; see `with_open_rectifiers`."""

    kind = "rectifier"
    ceiling: float
    by_channel = True

    def forward(self, *inputs: Tensor) -> Tensor:
        """The rectified map."""
        rectified: Tensor = _Open.apply(inputs[0], self.ceiling)
        return rectified


class _Open(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, map_: Tensor, ceiling: float) -> Tensor:  # noqa: ANN401 - torch's context
        ctx.save_for_backward(map_)
        ctx.ceiling = ceiling
        return map_.clamp(0, ceiling)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        (map_,) = ctx.saved_tensors
        usual = gradient * ((map_ > 0) & (map_ < ctx.ceiling))
        is_shut = usual.flatten(1).abs().amax(1).view(-1, 1, 1, 1) == 0
        away = ((map_ <= 0) & (gradient > 0)) | ((map_ >= ctx.ceiling) & (gradient < 0))  # a step descends the gradient
        return torch.where(is_shut, gradient.masked_fill(away, 0), usual), None


def _device(network: Network) -> torch.device:
    weights = (getattr(node.step, "weight", None) for node in network.nodes)
    return next((weight.device for weight in weights if isinstance(weight, Tensor)), torch.device("cpu"))
