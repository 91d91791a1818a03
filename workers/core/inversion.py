"""Images from what a layer knows of them. Takes stored feature maps, gives images that have nearly the same ones.

Mahendran & Vedaldi, "Understanding Deep Image Representations by Inverting Them" (CVPR 2015), sections 2 and 3.3: minimise

    |Phi(x) - Phi0|^2 / |Phi0|^2 + (lambda_alpha |x|_alpha^alpha + lambda_tv sum (dx^2 + dy^2)^(beta / 2)) / (2 sigma^2)

over images x in 0 to 255 with the mean subtracted, by gradient descent with momentum; sigma is the norm of a natural image,
in which the paper writes x as sigma times an image of norm 1: a step in the paper's variable is sigma^2 as large in ours.
Jitter and the bounded range of pixels are those of the longer version (IJCV 2016). We differ in the learning rate: the
paper's 0.004 is one for all layers of its network; see `recipe.rate`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.core import priors
from workers.core.network import Network
from workers.spec.recipe import Recipe

SIGMA_227 = 27_098.0  # norm of natural images of 227 x 227 x 3, from the authors' code
GROWN = 4.0  # times its start: an error this large diverges
LARGEST_PX = 2550.0  # a pixel that a step carries farther than this diverges, also where no unit sees it
RETRY_RATE = 0.25  # of the rate, for runs that diverged

Tick = Callable[[float], None]


@dataclass(frozen=True, eq=False)
class Scale:
    """From pixels to the model's input.

    Attributes:
        mean: (1, colours, 1, 1), of values in 0 to 255.
        std: likewise.
    """

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, mean: Sequence[float], std: Sequence[float], device: str = "cpu") -> "Scale":
        """The scale of a preprocessing, whose mean and standard deviation are of values in 0 to 1, on a device."""
        per_channel = [torch.tensor(each, device=device).view(1, -1, 1, 1) for each in (mean, std)]
        return cls(255 * per_channel[0], 255 * per_channel[1])

    def input(self, x: Tensor) -> Tensor:
        """Mean-subtracted pixels (n, colours, h, w) in 0 to 255 as the model's input."""
        return x / self.std

    def pixels(self, x: Tensor) -> Tensor:
        """Mean-subtracted pixels as pixels in 0 to 255, not cut."""
        return x + self.mean

    def centred(self, pixels: Tensor) -> Tensor:
        """Pixels in 0 to 255 with the mean subtracted."""
        return pixels - self.mean


@dataclass(frozen=True, eq=False)
class Inverted:
    """Images, and how near they came.

    Attributes:
        images: (n, colours, height, width), mean-subtracted pixels, always finite.
        errors: |Phi(x) - Phi0|^2 / |Phi0|^2 at the start and after each iteration, (n, iterations + 1); NaN from where a
            run has diverged.
        diverged: (n,), whether a run diverged at the lower rate too; its image is then that of its least error.
        retried: (n,), whether the run was made again at RETRY_RATE times the rate.
        blank: (n,), whether Phi0 is zero everywhere, so that there is nothing to invert; image and errors say nothing.
    """

    images: Tensor
    errors: Tensor
    diverged: Tensor
    retried: Tensor
    blank: Tensor


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
        """The features (n, channels, height, width) of images in model-input scale; the forward pass stops there."""
        maps: list[Tensor] = []
        network.forward(images, [self.number], lambda _, __, map_: maps.append(map_), overwrite=True)
        map_ = maps[0]
        if self.channels is not None:
            map_ = map_[:, list(self.channels)]
        if self.box is not None:
            top, left, bottom, right = self.box
            map_ = map_[:, :, top:bottom, left:right]
        return map_


@dataclass(frozen=True, eq=False)
class InversionProblem:
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
        """Features (n, channels, height, width) of mean-subtracted pixels."""
        return self.part.of(self.network, self.scale.input(x))


def sigma(height: int, width: int, colours: int = 3) -> float:
    """The norm of a natural image of this size with the mean subtracted, 0 to 255; per value, it is the same for any colours."""
    return SIGMA_227 * math.sqrt(height * width) / 227 * math.sqrt(colours / 3)


def start(extent: tuple[int, int], generators: Sequence[torch.Generator], colours: int = 3) -> Tensor:
    """Gaussian images (n, colours, height, width) scaled to the norm sigma, one for each generator."""
    noise = torch.stack([torch.randn(colours, *extent, generator=generator) for generator in generators])
    norms = noise.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    scaled: Tensor = noise / norms * sigma(*extent, colours)
    return scaled


def invert(problem: InversionProblem, wanted: Tensor, begin: Tensor, tick: Tick = lambda _: None) -> Inverted:
    """Find images whose features are the wanted ones; a run that diverges is tried once more at a lower rate.

    All of the batch is run again then: what a run gives must not depend on whether its neighbours diverged.

    Args:
        problem: what is inverted, and how.
        wanted: features (n, channels, height, width).
        begin: (n, colours, height, width), mean-subtracted pixels to begin with.
        tick: called after each iteration with the share of iterations that are done.
    """
    first = _descend(problem, wanted, begin, 1.0, tick)
    if not bool(first.diverged.any()):
        return first
    second, again = _descend(problem, wanted, begin, RETRY_RATE, tick), first.diverged
    return Inverted(
        torch.where(again.view(-1, 1, 1, 1), second.images, first.images),
        torch.where(again.view(-1, 1), second.errors, first.errors),
        again & second.diverged,
        again,
        first.blank,
    )


def _descend(problem: InversionProblem, wanted: Tensor, begin: Tensor, slower: float, tick: Tick) -> Inverted:
    recipe, target, watch = problem.recipe, _Target(wanted), _Watch(begin)
    x, velocity, buffer, before = (
        _kept_in(problem, begin.clone()),
        torch.zeros_like(begin),
        torch.empty_like(begin),
        0.0,
    )
    step = sigma(begin.shape[2], begin.shape[3], begin.shape[1]) ** 2 * slower
    shifts = torch.Generator().manual_seed(problem.seed)
    rates = recipe.rates()
    for number, each in enumerate(rates, start=1):
        gradient, error = _data_gradient(problem, target, x, _shift(recipe.jitter_px, shifts))
        watch.see(x, error)
        _add_priors(recipe, gradient, x, buffer)
        velocity.mul_(recipe.momentum if each == before else 0.0).add_(gradient, alpha=-each * step)
        before = each
        watch.step(x.add_(velocity))
        x = _kept_in(problem, watch.keep(x))
        tick(number / len(rates))
    with torch.no_grad():
        watch.see(x, target.errors(problem.features(x)))
    diverged = ~watch.alive & ~target.blank
    never = torch.zeros_like(diverged)
    return Inverted(watch.keep(x), torch.stack(watch.errors, 1), diverged, never, target.blank)


class _Target:
    """The wanted features (n, ...), and how far others are from them."""

    def __init__(self, wanted: Tensor) -> None:
        norms = wanted.square().sum((1, 2, 3))
        self.blank = norms == 0
        self._wanted = wanted
        self._norms = torch.where(self.blank, 1.0, norms)

    def errors(self, features: Tensor) -> Tensor:
        """|Phi - Phi0|^2 / |Phi0|^2, (n,)."""
        return (features - self._wanted).square().sum((1, 2, 3)) / self._norms

    def slope(self, features: Tensor) -> Tensor:
        """The gradient of the errors with respect to the features."""
        return (features - self._wanted) * (2 / self._norms).view(-1, *[1] * (features.dim() - 1))


class _Watch:
    """Errors as they come; runs that diverge are stopped where their error was least."""

    def __init__(self, begin: Tensor) -> None:
        self.errors: list[Tensor] = []
        self.alive = torch.ones(len(begin), dtype=torch.bool, device=begin.device)
        self._best = begin.clone()
        self._least = torch.full((len(begin),), torch.inf, device=begin.device, dtype=begin.dtype)

    def see(self, x: Tensor, error: Tensor) -> None:
        """The error (n,) of images x."""
        self.errors.append(torch.where(self.alive, error, torch.nan))
        self.alive = self.alive & torch.isfinite(error) & (error <= GROWN * self.errors[0].clamp(min=1.0))
        better = self.alive & (error < self._least)
        self._least = torch.where(better, error, self._least)
        if bool(better.all()):
            self._best.copy_(x)
        else:
            torch.where(better.view(-1, 1, 1, 1), x, self._best, out=self._best)

    def step(self, x: Tensor) -> None:
        """Where a step leads: a run that leaves all bounds (or is not a number) has diverged, whatever its error says."""
        self.alive = self.alive & (x.amax((1, 2, 3)) <= LARGEST_PX) & (x.amin((1, 2, 3)) >= -LARGEST_PX)

    def keep(self, x: Tensor) -> Tensor:
        """Put the best images in the place of those whose runs diverged."""
        return x if bool(self.alive.all()) else torch.where(self.alive.view(-1, 1, 1, 1), x, self._best, out=x)


def _data_gradient(
    problem: InversionProblem, target: _Target, x: Tensor, shift: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """The gradient (n, colours, height, width) of each image's own error, and the error (n,), both of the shifted image."""
    moved = shift != (0, 0)
    leaf = (torch.roll(x, shift, (2, 3)) if moved else x.detach()).requires_grad_()
    features = problem.features(leaf)
    with torch.no_grad():
        error, slope = target.errors(features), target.slope(features)
    [gradient] = torch.autograd.grad(features, leaf, slope)
    return torch.roll(gradient, (-shift[0], -shift[1]), (2, 3)) if moved else gradient, error


def _kept_in(problem: InversionProblem, x: Tensor) -> Tensor:
    """Pixels cut to 0 to 255 if the recipe says so."""
    return problem.scale.centred(problem.scale.pixels(x).clamp_(0, 255)) if problem.recipe.bounded else x


def _add_priors(recipe: Recipe, gradient: Tensor, x: Tensor, buffer: Tensor) -> None:
    """Add the gradient (n, colours, height, width) of both priors, halved and divided by sigma^2."""
    share = 1 / (2 * sigma(x.shape[2], x.shape[3], x.shape[1]) ** 2)
    priors.add_alpha_norm(gradient, x, recipe.alpha, recipe.alpha_weight * share, buffer)
    priors.add_variation(gradient, x, recipe.beta, recipe.tv_weight * share, buffer)


def _shift(largest: int, generator: torch.Generator) -> tuple[int, int]:
    if not largest:
        return 0, 0
    drawn = torch.randint(-largest, largest + 1, (2,), generator=generator)
    return int(drawn[0]), int(drawn[1])
