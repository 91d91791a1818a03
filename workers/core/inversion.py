"""Images from what a layer knows of them. Takes stored feature maps, gives images that have nearly the same ones.

Mahendran & Vedaldi, "Understanding Deep Image Representations by Inverting Them" (CVPR 2015), section 2 and 3.3: minimise

    |Phi(x) - Phi0|^2 / |Phi0|^2 + (lambda_alpha |x|_alpha^alpha + lambda_tv sum (dx^2 + dy^2)^(beta / 2)) / (2 sigma^2)

over images x in 0 to 255 with the mean subtracted, by gradient descent with momentum; sigma is the norm of a natural image,
in which the paper writes x as sigma times an image of norm 1: a step in the paper's variable is sigma^2 as large in ours.
Jitter and the bounded range of pixels are those of the longer version (IJCV 2016).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from workers.core.network import Network

SIGMA_227 = 27_098.0  # norm of natural images of 227 x 227 x 3, from the authors' code
RATE = 0.004
SCHEDULE = ((100, 1.0), (200, 0.1), (100, 0.01))  # iterations, and the share of the rate in them
TV_BY_DEPTH = ((0.3, 1.0), (0.6, 10.0), (1.0, 100.0))  # up to this share of the layers: this weight
GROWN = 4.0  # times its start: an error this large diverges
RETRY_RATE = 0.1  # of the rate, for runs that diverged


@dataclass(frozen=True)
class Recipe:
    """How to invert.

    Attributes:
        iterations: at most; fewer than the schedule has cut it off.
        rate: of the first stretch of the schedule.
        momentum: share of a step that goes on; forgotten whenever the rate changes.
        alpha: exponent of the norm that keeps pixels in range.
        alpha_weight: its weight.
        beta: exponent of the total variation.
        tv_weight: its weight; see `tv_weight`.
        jitter_px: largest random shift of the image in each iteration; 0 is the CVPR paper's way.
        bounded: keep pixels in 0 to 255; the CVPR paper does not.
    """

    iterations: int = 400
    rate: float = RATE
    momentum: float = 0.9
    alpha: float = 6.0
    alpha_weight: float = 8e-10
    beta: float = 2.0
    tv_weight: float = 1.0
    jitter_px: int = 0
    bounded: bool = False

    def rates(self) -> list[float]:
        """The rate of each iteration; behind the schedule its last one goes on."""
        found = [self.rate * share for count, share in SCHEDULE for _ in range(count)]
        return (found + [found[-1]] * max(0, self.iterations - len(found)))[: self.iterations]


@dataclass(frozen=True)
class Scale:
    """From pixels to the model's input.

    Attributes:
        mean: per RGB channel, of values in 0 to 1.
        std: per RGB channel, of values in 0 to 1.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def input(self, x: Tensor) -> Tensor:
        """Mean-subtracted pixels (n, 3, h, w) in 0 to 255 as the model's input."""
        return x / (255 * x.new_tensor(self.std).view(1, 3, 1, 1))

    def pixels(self, x: Tensor) -> Tensor:
        """Mean-subtracted pixels as pixels in 0 to 255, not cut."""
        return x + 255 * x.new_tensor(self.mean).view(1, 3, 1, 1)

    def centred(self, pixels: Tensor) -> Tensor:
        """Pixels in 0 to 255 with the mean subtracted."""
        return pixels - 255 * pixels.new_tensor(self.mean).view(1, 3, 1, 1)


@dataclass(frozen=True, eq=False)
class Inverted:
    """Images, and how near they came.

    Attributes:
        images: (n, 3, height, width), mean-subtracted pixels.
        errors: |Phi(x) - Phi0|^2 / |Phi0|^2 at the start, after each iteration, (n, iterations + 1).
        diverged: (n,), whether a run diverged at the lower rate too; its image is then that of its least error.
    """

    images: Tensor
    errors: Tensor
    diverged: Tensor


@dataclass(frozen=True, eq=False)
class Part:
    """What of a feature map is compared.

    Attributes:
        number: node of the network.
        channels: some channels, or None for all.
        box: rows and columns [top, bottom) x [left, right) of the map, or None for all of it.
    """

    number: int
    channels: tuple[int, ...] | None = None
    box: tuple[int, int, int, int] | None = None

    def of(self, network: Network, images: Tensor) -> Tensor:
        """The features (n, features) of images in model-input scale."""
        maps: list[Tensor] = []
        network.forward(images, [self.number], lambda _, __, map_: maps.append(map_))
        map_ = maps[0]
        if self.channels is not None:
            map_ = map_[:, list(self.channels)]
        if self.box is not None:
            top, left, bottom, right = self.box
            map_ = map_[:, :, top:bottom, left:right]
        return map_.flatten(1)


@dataclass(frozen=True, eq=False)
class Problem:
    """What is inverted, and how.

    Attributes:
        network: the network.
        part: which features.
        scale: from pixels to the model's input.
        recipe: how.
        seed: of the jitter.
    """

    network: Network
    part: Part
    scale: Scale
    recipe: Recipe
    seed: int = 0

    def features(self, x: Tensor) -> Tensor:
        """Features (n, features) of mean-subtracted pixels."""
        return self.part.of(self.network, self.scale.input(x))


def tv_weight(number: int, nodes: int) -> float:
    """The weight of the total variation by depth: 1, 10 or 100, as the paper's for the thirds of its network."""
    return next(weight for share, weight in TV_BY_DEPTH if number <= share * nodes or share == 1.0)


def sigma(height: int, width: int) -> float:
    """The norm of a natural image of this size with the mean subtracted, 0 to 255."""
    return SIGMA_227 * math.sqrt(height * width) / 227


def start(count: int, extent: tuple[int, int], generators: Sequence[torch.Generator]) -> Tensor:
    """Gaussian images (count, 3, height, width) scaled to the norm sigma, one generator for each."""
    noise = torch.stack([torch.randn(3, *extent, generator=generators[n]) for n in range(count)])
    norms = noise.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    scaled: Tensor = noise / norms * sigma(*extent)
    return scaled


def invert(problem: Problem, wanted: Tensor, begin: Tensor) -> Inverted:
    """Find images whose features are the wanted ones; a run that diverges is tried once more at a tenth of the rate.

    Args:
        problem: what is inverted, and how.
        wanted: (n, features).
        begin: (n, 3, height, width), mean-subtracted pixels to begin with.
    """
    first = _descend(problem, wanted, begin)
    again = first.diverged.nonzero().flatten()
    if not len(again):
        return first
    recipe = problem.recipe
    slower = replace(problem, recipe=replace(recipe, rate=recipe.rate * RETRY_RATE))
    second = _descend(slower, wanted[again], begin[again])
    images, errors, diverged = first.images.clone(), first.errors.clone(), first.diverged.clone()
    images[again], errors[again], diverged[again] = second.images, second.errors, second.diverged
    return Inverted(images, errors, diverged)


def _descend(problem: Problem, wanted: Tensor, begin: Tensor) -> Inverted:
    x, velocity, before = begin.clone(), torch.zeros_like(begin), 0.0
    recipe, step = problem.recipe, sigma(begin.shape[2], begin.shape[3]) ** 2
    watch = _Watch(begin)
    shifts = torch.Generator().manual_seed(problem.seed)
    for rate in recipe.rates():
        shift = _shift(recipe.jitter_px, shifts)
        gradient, error = _gradient(problem, wanted, torch.roll(x, shift, (2, 3)))
        watch.see(x, error)
        velocity = recipe.momentum * velocity if rate == before else torch.zeros_like(velocity)
        velocity -= rate * step * torch.roll(gradient, (-shift[0], -shift[1]), (2, 3))
        x, before = watch.kept(x + velocity), rate
        if recipe.bounded:
            x = problem.scale.centred(problem.scale.pixels(x).clamp(0, 255))
    with torch.no_grad():
        watch.see(x, _errors(problem.features(x), wanted))
    return Inverted(watch.kept(x), torch.stack(watch.errors, 1), ~watch.alive)


class _Watch:
    """Errors as they come; runs that diverge are stopped where their error was least."""

    def __init__(self, begin: Tensor) -> None:
        self.errors: list[Tensor] = []
        self.alive = torch.ones(len(begin), dtype=torch.bool, device=begin.device)
        self._best = begin.clone()
        self._least = torch.full((len(begin),), torch.inf, device=begin.device, dtype=begin.dtype)

    def see(self, x: Tensor, error: Tensor) -> None:
        """The error (n,) of images x."""
        self.errors.append(error)
        self.alive = self.alive & torch.isfinite(error) & (error <= GROWN * self.errors[0].clamp(min=1.0))
        better = self.alive & (error < self._least)
        self._best[better], self._least[better] = x[better], error[better]

    def kept(self, x: Tensor) -> Tensor:
        """These images, and the best ones of runs that diverged."""
        return torch.where(self.alive.view(-1, 1, 1, 1), x, self._best)


def _gradient(problem: Problem, wanted: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient (n, 3, height, width) of each image's own loss, and its error (n,)."""
    recipe, leaf = problem.recipe, x.detach().requires_grad_()
    error = _errors(problem.features(leaf), wanted)
    alpha = leaf.abs().pow(recipe.alpha).sum()
    priors = recipe.alpha_weight * alpha + recipe.tv_weight * variation(leaf, recipe.beta).sum()
    loss = error.sum() + priors / (2 * sigma(x.shape[2], x.shape[3]) ** 2)
    return torch.autograd.grad(loss, leaf)[0], error.detach()


def variation(x: Tensor, beta: float) -> Tensor:
    """The total variation of images (n, colours, height, width): sum of (dx^2 + dy^2)^(beta / 2), (n,).

    Differences are forward ones; behind the last row and column there is none.
    """
    down, right = torch.zeros_like(x), torch.zeros_like(x)
    down[:, :, :-1] = x[:, :, 1:] - x[:, :, :-1]
    right[..., :-1] = x[..., 1:] - x[..., :-1]
    squares = down.square() + right.square()
    return (squares if beta == 2 else (squares + 1e-8).pow(beta / 2)).flatten(1).sum(1)


def _errors(features: Tensor, wanted: Tensor) -> Tensor:
    return (features - wanted).square().sum(1) / wanted.square().sum(1)


def _shift(largest: int, generator: torch.Generator) -> tuple[int, int]:
    if not largest:
        return 0, 0
    drawn = torch.randint(-largest, largest + 1, (2,), generator=generator)
    return int(drawn[0]), int(drawn[1])
