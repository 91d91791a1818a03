"""Inversion: what can be known comes back, priors are the paper's, and a run that diverges is caught."""

import math

import pytest
import torch
from torch import Tensor, nn

from tests.support.networks import weighted
from workers.core import inversion, priors
from workers.core.graph import trace
from workers.core.inversion import InversionProblem, Part, Scale
from workers.core.network import Network
from workers.core.pooling import MaxPool, SwitchedMaxPool
from workers.spec import recipe
from workers.spec.recipe import Recipe

SIDE = 24
SCALE = Scale.of((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PAPER = 0.004
FREE = Recipe(0.0, PAPER, alpha_weight=0.0)


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


def inverted(of: Network, pixels: Tensor, how: Recipe, seed: int = 0, part: Part | None = None) -> inversion.Inverted:
    problem = InversionProblem(of, part or Part(len(of.nodes) - 1), SCALE, how, seed)
    begin = inversion.start((SIDE, SIDE), seeded(seed, len(pixels)))
    return inversion.invert(problem, problem.features(SCALE.centred(pixels)), begin)


def seeded(seed: int, count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + n) for n in range(count)]


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
    of, pixels, how = network(mixing(), nn.ReLU()), photos(2), Recipe(1.0, PAPER, iterations=30, jitter_px=2)
    first, again, other = (inverted(of, pixels, how, seed).images for seed in (0, 0, 7))
    assert torch.equal(first, again) and not torch.allclose(first, other)


def deep() -> Network:
    """Convolutions, pooling and fully connected layers: all that could mix the images of a batch."""
    torch.manual_seed(3)
    return network(
        nn.Conv2d(3, 24, 5, 2, 2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(24, 40, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(40 * 9, 67), nn.ReLU(), nn.Linear(67, 33),
    )  # fmt: skip


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("count", [2, 5, 8])
def test_a_run_depends_on_its_place_in_the_batch_alone_and_not_on_its_neighbours(count, threads):
    of, before = deep(), torch.get_num_threads()
    problem = InversionProblem(of, Part(len(of.nodes) - 1), SCALE, Recipe(1.0, 1e-3, iterations=12))
    wanted, begin = problem.features(SCALE.centred(photos(count))), inversion.start((SIDE, SIDE), seeded(0, count))
    torch.set_num_threads(threads)
    try:
        out = inversion.invert(problem, wanted, begin)
        for slot in range(count):
            others = (torch.arange(count) * 3 + 1) % count
            others[slot] = slot
            beside = inversion.invert(problem, wanted[others], begin[others])
            assert torch.equal(beside.images[slot], out.images[slot])
            assert torch.equal(beside.errors[slot], out.errors[slot])
    finally:
        torch.set_num_threads(before)


def test_a_step_is_the_papers_by_another_road():
    """One iteration in the paper's own variable, an image of norm 1 times sigma, with the gradient written out."""
    of, pixels = network(mixing()), photos(1)
    problem, sigma = InversionProblem(of, Part(1), SCALE, Recipe(1.0, PAPER, iterations=1)), inversion.sigma(SIDE, SIDE)
    begin = inversion.start((SIDE, SIDE), seeded(0, 1))
    wanted = problem.features(SCALE.centred(pixels))
    unit = (begin / sigma).double().requires_grad_()
    x = sigma * unit
    matrix = weighted(of.nodes[1]).weight[:, :, 0, 0].double() / SCALE.std.flatten().double()
    features = torch.einsum("oc,nchw->nohw", matrix, x).flatten(1)
    down, right = (x[:, :, 1:] - x[:, :, :-1]) ** 2, (x[..., 1:] - x[..., :-1]) ** 2
    loss = (features - wanted.double().flatten(1)).square().sum() / wanted.double().square().sum()
    loss = loss + (8e-10 * (x**6).sum() + 1.0 * (down.sum() + right.sum())) / (2 * sigma**2)
    [gradient] = torch.autograd.grad(loss, unit)
    expected = (unit - 0.004 * gradient).detach() * sigma
    got = inversion.invert(problem, wanted, begin).images
    torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-3)


def test_the_total_variation_is_the_sum_over_neighbours():
    x = torch.zeros(1, 1, 3, 4)
    x[0, 0, 1, 1] = 2.0
    assert float(priors.variation(x, 2.0)) == 4 + 4 + 8  # above, left of, and of the pixel itself
    assert float(priors.variation(x, 1.0)) == pytest.approx(2 + 2 + math.sqrt(8), abs=1e-2)


@pytest.mark.parametrize("exponent", [1.0, 1.5, 2.0, 3.0, 6.0])
def test_gradients_of_priors_are_those_of_automatic_differentiation(exponent):
    x = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    pairs = (priors.alpha_norm, priors.add_alpha_norm), (priors.variation, priors.add_variation)
    for prior, add in pairs:
        [wanted] = torch.autograd.grad(prior(x, exponent).sum(), x)
        got = torch.ones_like(x)
        add(got, x.detach(), exponent, 0.5, torch.empty_like(x))
        torch.testing.assert_close(got, 1 + 0.5 * wanted, rtol=1e-10, atol=1e-10)


def test_the_schedule_is_cut_off_and_not_shrunk():
    assert Recipe(1.0, PAPER, iterations=150).rates() == [0.004] * 100 + [0.0004] * 50
    assert Recipe(1.0, PAPER, iterations=410).rates()[300:] == [0.004 * 0.01] * 110
    nodes = 21  # the paper's 20 layers and the input
    assert [recipe.tv_weight(n, nodes) for n in (1, 6, 7, 12, 13, 20)] == [1, 1, 10, 10, 100, 100]
    assert [recipe.rate(n, nodes) for n in (2, 6, 7, 12, 16, 17)] == [0.016, 0.008, 0.004, 0.004, 0.001, 0.00025]


def test_a_run_that_diverges_is_tried_slower_and_else_said_so_without_nan():
    of, pixels = network(mixing()), photos(2)
    saved = inverted(of, pixels, Recipe(0.0, 2.0, iterations=60, alpha_weight=0.0))
    slower = inverted(of, pixels, Recipe(0.0, 0.5, iterations=60, alpha_weight=0.0))
    assert not saved.diverged.any() and torch.equal(saved.images, slower.images)
    assert (saved.errors[:, -1] < 0.5 * saved.errors[:, 0]).all()
    lost = inverted(of, pixels, Recipe(1.0, 1e4, iterations=60))
    assert lost.diverged.all() and torch.isfinite(lost.images).all()
    last = InversionProblem(of, Part(1), SCALE, FREE).features(lost.images)
    wanted = InversionProblem(of, Part(1), SCALE, FREE).features(SCALE.centred(pixels))
    error = (last - wanted).square().flatten(1).sum(1) / wanted.square().flatten(1).sum(1)
    finite = torch.where(torch.isfinite(lost.errors), lost.errors, torch.inf)
    torch.testing.assert_close(error, finite.min(1).values)


def test_pixels_that_no_feature_sees_diverge_too_and_are_never_nan():
    of, pixels = network(mixing()), photos(1)
    unseen = Part(1, box=(0, 0, 6, 6))
    out = inverted(of, pixels, Recipe(0.0, PAPER, iterations=60, alpha_weight=1e-6), part=unseen)
    assert out.diverged.all() and torch.isfinite(out.images).all() and float(out.images.abs().max()) < 2550


def test_a_rate_that_only_bounds_hold_has_diverged():
    how = Recipe(1.0, 1e6, iterations=30, bounded=True)
    assert inverted(network(mixing(), nn.ReLU()), photos(2), how).diverged.all()


@pytest.mark.parametrize(("size", "stride", "padding", "ceil"), [(3, 2, 0, True), (3, 2, 0, False), (2, 2, 1, False)])
def test_the_gradient_through_our_switches_is_torchs_own(size, stride, padding, ceil):
    [_, step] = network(nn.MaxPool2d(size, stride, padding, ceil_mode=ceil)).nodes
    assert isinstance(step.step, MaxPool)
    x = torch.randn(
        2, 3, SIDE, SIDE - 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).requires_grad_()
    ours, torchs = SwitchedMaxPool.apply(x, step.step), step.step.pool(x)
    slope = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.equal(ours, torchs)
    torch.testing.assert_close(torch.autograd.grad(ours, x, slope), torch.autograd.grad(torchs, x, slope))


def test_a_neighbour_that_diverges_changes_nothing():
    of, pixels = network(mixing(), nn.ReLU()), photos(2)
    problem = InversionProblem(of, Part(2), SCALE, Recipe(1.0, PAPER, iterations=20))
    begin = inversion.start((SIDE, SIDE), seeded(0, 2))
    wanted = problem.features(SCALE.centred(pixels))
    calm = inversion.invert(problem, wanted, begin)
    broken = begin.clone()
    broken[1] = torch.nan
    beside = inversion.invert(problem, wanted, broken)
    assert beside.diverged.tolist() == [False, True]
    assert torch.equal(beside.images[0], calm.images[0]) and torch.equal(beside.errors[0], calm.errors[0])


def test_features_that_are_all_zero_are_blank_and_not_a_division_by_zero():
    of = network(mixing(), nn.ReLU())
    problem = InversionProblem(of, Part(2), SCALE, Recipe(1.0, PAPER, iterations=10))
    wanted = problem.features(SCALE.centred(photos(2)))
    wanted[1] = 0
    out = inversion.invert(problem, wanted, inversion.start((SIDE, SIDE), seeded(0, 2)))
    assert out.blank.tolist() == [False, True] and not out.diverged.any()
    assert torch.isfinite(out.images).all() and torch.isfinite(out.errors[0]).all()


def test_channels_and_regions_leave_the_rest_unknown():
    of, pixels = network(mixing()), photos(1)
    out = inverted(of, pixels, FREE, part=Part(1, box=(0, 0, SIDE, SIDE // 2)))
    away = (SCALE.pixels(out.images) - pixels).abs()[..., :]
    assert float(away[..., : SIDE // 2].max()) < 5 < float(away[..., SIDE // 2 :].mean())
    one = inverted(of, pixels, FREE, part=Part(1, channels=(0,)))
    assert float(one.errors[0, -1]) < 1e-3 and psnr(SCALE.pixels(one.images), pixels) < 30


def test_bounded_pixels_stay_in_range():
    out = inverted(network(mixing()), photos(1), Recipe(1.0, PAPER, iterations=50, bounded=True))
    pixels = SCALE.pixels(out.images)
    assert float(pixels.min()) >= -1e-3 and float(pixels.max()) <= 255 + 1e-3
