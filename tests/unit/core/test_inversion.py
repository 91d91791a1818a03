"""Inversion: what can be known comes back, priors are the paper's, and a run that diverges is caught."""

import math

import pytest
import torch
from torch import Tensor, nn

from workers.core import inversion
from workers.core.graph import trace
from workers.core.inversion import Part, Problem, Recipe, Scale
from workers.core.network import Network

SIDE = 24
SCALE = Scale((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
FREE = Recipe(alpha_weight=0.0, tv_weight=0.0)


def network(*layers: nn.Module) -> Network:
    return Network(trace(nn.Sequential(*layers).eval().requires_grad_(False), (SIDE, SIDE)))


def orthogonal() -> nn.Module:
    """A 4 x 4 convolution of stride 4 whose 48 kernels are an orthogonal basis: nothing is lost."""
    layer = nn.Conv2d(3, 48, 4, stride=4, bias=False)
    basis = torch.linalg.qr(torch.randn(48, 48, generator=torch.Generator().manual_seed(0)))[0]
    layer.weight.data = basis.view(48, 3, 4, 4)
    return layer


def mixing() -> nn.Module:
    """A 1 x 1 convolution that turns colours into one another."""
    layer = nn.Conv2d(3, 3, 1, bias=False)
    layer.weight.data = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)))[0].view(
        3, 3, 1, 1
    )
    return layer


def photos(count: int) -> Tensor:
    """Smooth pictures of 0 to 255 with the norm of natural ones."""
    generator = torch.Generator().manual_seed(2)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    return nn.functional.interpolate(coarse, SIDE, mode="bicubic").clamp(0, 1) * 255


def inverted(
    of: Network, pixels: Tensor, recipe: Recipe, seed: int = 0, part: Part | None = None
) -> inversion.Inverted:
    problem = Problem(of, part or Part(len(of.nodes) - 1), SCALE, recipe, seed)
    generators = [torch.Generator().manual_seed(seed + n) for n in range(len(pixels))]
    begin = inversion.start(len(pixels), (SIDE, SIDE), generators)
    return inversion.invert(problem, problem.features(SCALE.centred(pixels)), begin)


def psnr(one: Tensor, other: Tensor) -> float:
    return 20 * math.log10(255) - 10 * math.log10(float((one - other).square().mean()))


@pytest.mark.parametrize("make", [orthogonal, mixing])
def test_an_invertible_layer_comes_back(make):
    pixels = photos(3)
    out = inverted(network(make()), pixels, FREE)
    assert not out.diverged.any()
    assert psnr(SCALE.pixels(out.images), pixels) > 40
    assert (out.errors[:, -1] < 1e-4).all() and (out.errors[:, 0] > 0.5).all()


def test_the_same_seed_gives_the_same_picture_and_another_one_another():
    of, pixels, recipe = network(mixing(), nn.ReLU()), photos(2), Recipe(iterations=30, jitter_px=2)
    first, again, other = (inverted(of, pixels, recipe, seed).images for seed in (0, 0, 7))
    assert torch.equal(first, again) and not torch.allclose(first, other)


def test_a_run_does_not_depend_on_its_neighbours_in_the_batch():
    of, pixels = network(orthogonal(), nn.ReLU()), photos(3)
    problem = Problem(of, Part(2), SCALE, Recipe(iterations=40))
    begin = inversion.start(3, (SIDE, SIDE), [torch.Generator().manual_seed(n) for n in range(3)])
    wanted = problem.features(SCALE.centred(pixels))
    together = inversion.invert(problem, wanted, begin).images
    alone = torch.cat([inversion.invert(problem, wanted[n : n + 1], begin[n : n + 1]).images for n in range(3)])
    assert float((together - alone).abs().max()) < 0.05  # of 255


def test_a_step_is_the_papers_by_another_road():
    """One iteration in the paper's own variable, an image of norm 1 times sigma, with the gradient written out."""
    of, pixels, recipe = network(mixing()), photos(1), Recipe(iterations=1)
    problem, sigma = Problem(of, Part(1), SCALE, recipe), inversion.sigma(SIDE, SIDE)
    begin = inversion.start(1, (SIDE, SIDE), [torch.Generator().manual_seed(0)])
    wanted = problem.features(SCALE.centred(pixels))
    unit = (begin / sigma).double().requires_grad_()
    x = sigma * unit
    matrix = of.nodes[1].step.weight[:, :, 0, 0].double() / (255 * torch.tensor(SCALE.std, dtype=torch.float64))
    features = torch.einsum("oc,nchw->nohw", matrix, x).flatten(1)
    down, right = (x[:, :, 1:] - x[:, :, :-1]) ** 2, (x[..., 1:] - x[..., :-1]) ** 2
    loss = (features - wanted.double()).square().sum() / wanted.double().square().sum()
    loss = loss + (8e-10 * (x**6).sum() + 1.0 * (down.sum() + right.sum())) / (2 * sigma**2)
    [gradient] = torch.autograd.grad(loss, unit)
    expected = (unit - 0.004 * gradient).detach() * sigma
    got = inversion.invert(problem, wanted, begin).images
    torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-3)


def test_the_total_variation_is_the_sum_over_neighbours():
    x = torch.zeros(1, 1, 3, 4)
    x[0, 0, 1, 1] = 2.0
    assert float(inversion.variation(x, 2.0)) == 4 + 4 + 8  # above, left of, and of the pixel itself
    assert float(inversion.variation(x, 1.0)) == pytest.approx(2 + 2 + math.sqrt(8), abs=1e-2)


def test_the_schedule_is_cut_off_and_not_shrunk():
    assert Recipe(iterations=150).rates() == [0.004] * 100 + [0.0004] * 50
    assert Recipe(iterations=410).rates()[300:] == [0.004 * 0.01] * 110
    assert [inversion.tv_weight(n, 20) for n in (1, 6, 7, 12, 13, 20)] == [1, 1, 10, 10, 100, 100]


def test_a_run_that_diverges_is_tried_slower_and_else_said_so_without_nan():
    of, pixels = network(mixing()), photos(2)
    saved = inverted(of, pixels, Recipe(iterations=60, rate=1.2, alpha_weight=0, tv_weight=0))
    assert not saved.diverged.any() and (saved.errors[:, -1] < 0.5 * saved.errors[:, 0]).all()
    lost = inverted(of, pixels, Recipe(iterations=60, rate=1e4))
    assert lost.diverged.all() and torch.isfinite(lost.images).all()


def test_channels_and_regions_leave_the_rest_unknown():
    of, pixels = network(mixing()), photos(1)
    out = inverted(of, pixels, FREE, part=Part(1, box=(0, 0, SIDE, SIDE // 2)))
    away = (SCALE.pixels(out.images) - pixels).abs()[..., :]
    assert float(away[..., : SIDE // 2].max()) < 5 < float(away[..., SIDE // 2 :].mean())
    one = inverted(of, pixels, FREE, part=Part(1, channels=(0,)))
    assert float(one.errors[0, -1]) < 1e-3 and psnr(SCALE.pixels(one.images), pixels) < 30


def test_bounded_pixels_stay_in_range():
    out = inverted(network(mixing()), photos(1), Recipe(iterations=50, bounded=True))
    pixels = SCALE.pixels(out.images)
    assert float(pixels.min()) >= -1e-3 and float(pixels.max()) <= 255 + 1e-3
