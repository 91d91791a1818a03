"""Small random transforms, against torch's sampling of a grid."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from workers.core.jitter import LARGEST_ROTATION_DEG, LARGEST_SCALING, LARGEST_SHIFT, Transform

EXTENT = (40, 56)


def smooth(count: int = 2, seed: int = 0) -> Tensor:
    """Blobs that are 0 near the border."""
    coarse = torch.rand(count, 3, 5, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    window = torch.hann_window(EXTENT[0]).double()[:, None] * torch.hann_window(EXTENT[1]).double()
    return window * functional.interpolate(coarse, EXTENT, mode="bicubic", align_corners=True)


def sampled(images: Tensor, transform: Transform) -> Tensor:
    """The same by `grid_sample`: the source of an output pixel is its place, shifted back, scaled back and rotated back."""
    height, width = images.shape[2:]
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    y, x = y - (height - 1) / 2 - transform.shift[0], x - (width - 1) / 2 - transform.shift[1]
    y, x = y / transform.scale, x / transform.scale
    cosine, sine = math.cos(transform.angle), math.sin(transform.angle)
    y, x = cosine * y + sine * x, cosine * x - sine * y  # rows point down, so that counterclockwise is towards the top
    grid = torch.stack([2 * x / (width - 1), 2 * y / (height - 1)], -1)
    return functional.grid_sample(images, grid.expand(len(images), -1, -1, -1), align_corners=True)


@pytest.mark.parametrize(
    "transform",
    [
        Transform(scale=1.1),
        Transform(scale=0.9, shift=(1.5, -2.25)),
        Transform(shift=(-2.0, 1.75)),
    ],
)
def test_scale_and_shift_are_those_of_bilinear_sampling(transform):
    torch.testing.assert_close(transform.of(smooth()), sampled(smooth(), transform), atol=1e-9, rtol=0)


@pytest.mark.parametrize("degrees", [-10, -3.5, 7, 10])
def test_a_rotation_is_that_of_sampling_but_for_interpolation(degrees):
    transform = Transform(math.radians(degrees), 1.05, (1.0, -2.0))
    difference = (transform.of(smooth()) - sampled(smooth(), transform)).abs()
    opposite = Transform(-math.radians(degrees), 1.05, (1.0, -2.0))
    assert difference.max() < 0.02 and difference.mean() < 0.002
    assert (opposite.of(smooth()) - sampled(smooth(), transform)).abs().mean() > 5 * difference.mean()


def test_no_transform_changes_nothing_and_whole_pixels_are_moved_as_they_are():
    images = smooth()
    assert torch.equal(Transform().of(images), images)
    moved = Transform(shift=(3.0, -2.0)).of(images)
    assert torch.allclose(moved[:, :, 3:, :-2], images[:, :, :-3, 2:]) and not moved[:, :, :3].any()


def test_the_gradient_is_the_adjoint():
    """<T x, y> = <x, T' y>: the gradient of the left side by x is T' y, for any x."""
    transform = Transform(0.15, 1.07, (2.3, -1.2))
    x, y = (
        smooth(seed=1).requires_grad_(),
        torch.randn(2, 3, *EXTENT, generator=torch.Generator().manual_seed(2)).double(),
    )
    [adjoint] = torch.autograd.grad((transform.of(x) * y).sum(), x)
    other = smooth(seed=3)
    assert float((transform.of(other) * y).sum()) == pytest.approx(float((other * adjoint).sum()), rel=1e-12)


def test_draws_stay_in_their_bounds_use_them_and_follow_the_seed():
    def draws(seed: int) -> list[Transform]:
        generator = torch.Generator().manual_seed(seed)
        return [Transform.draw(generator, EXTENT) for _ in range(300)]

    drawn = draws(0)
    assert drawn == draws(0) != draws(1)
    degrees = [math.degrees(each.angle) for each in drawn]
    scales, down, right = [each.scale - 1 for each in drawn], *zip(*(each.shift for each in drawn), strict=True)
    sides = (EXTENT[0] * LARGEST_SHIFT, EXTENT[1] * LARGEST_SHIFT)
    for values, largest in (
        (degrees, LARGEST_ROTATION_DEG),
        (scales, LARGEST_SCALING),
        (down, sides[0]),
        (right, sides[1]),
    ):
        assert -largest <= min(values) < -0.9 * largest and 0.9 * largest < max(values) <= largest
