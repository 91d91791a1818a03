"""Priors of natural images, as losses. Takes mean-subtracted pixels, gives each image's loss, or adds its gradient.

Mahendran & Vedaldi (CVPR 2015), section 2.1: the alpha-norm, sum |x|^alpha, keeps pixels in range; the total variation,
sum (dx^2 + dy^2)^(beta / 2) over forward differences, keeps neighbouring pixels alike. After the last row and column the
difference is 0. Gradients are written out and added in place, through one buffer: with new memory for every term they
would take a third of the time of a first layer.
"""

import torch
from torch import Tensor
from torch.nn import functional

SMALLEST = 1e-8  # added to dx^2 + dy^2 if beta is not 2, because the root has no gradient at 0


def alpha_norm(x: Tensor, alpha: float) -> Tensor:
    """Sum of |x|^alpha of images (n, colours, height, width): (n,)."""
    return x.abs().pow(alpha).flatten(1).sum(1)


def variation(x: Tensor, beta: float) -> Tensor:
    """Sum of (dx^2 + dy^2)^(beta / 2) of images (n, colours, height, width): (n,)."""
    squares = _squares(x[:, :, 1:] - x[:, :, :-1], x[..., 1:] - x[..., :-1])
    return (squares if beta == 2 else (squares + SMALLEST).pow(beta / 2)).flatten(1).sum(1)


def add_alpha_norm(gradient: Tensor, x: Tensor, alpha: float, weight: float, buffer: Tensor) -> None:
    """Add weight times the gradient of `alpha_norm`, alpha x |x|^(alpha - 2), in place.

    Args:
        gradient: changed in place, (n, colours, height, width).
        x: images of the same shape.
        alpha: exponent.
        weight: factor.
        buffer: overwritten, of the same shape.
    """
    torch.mul(x, x, out=buffer)
    buffer.pow_(alpha / 2 - 1).mul_(x)
    gradient.add_(buffer, alpha=weight * alpha)


def add_variation(gradient: Tensor, x: Tensor, beta: float, weight: float, buffer: Tensor) -> None:
    """Add weight times the gradient of `variation` in place. Descent pulls the two pixels of each difference together.

    Args:
        gradient: changed in place, (n, colours, height, width).
        x: images of the same shape.
        beta: exponent.
        weight: factor.
        buffer: overwritten, of the same shape.
    """
    slope = None if beta == 2 else _slope(x, beta)
    for axis in (2, 3):
        count = x.shape[axis] - 1
        difference = buffer.narrow(axis, 0, count)
        torch.sub(x.narrow(axis, 1, count), x.narrow(axis, 0, count), out=difference)
        if slope is not None:
            difference.mul_(slope.narrow(axis, 0, count))
        factor = 2 * weight if slope is None else weight
        gradient.narrow(axis, 1, count).add_(difference, alpha=factor)
        gradient.narrow(axis, 0, count).sub_(difference, alpha=factor)


def _slope(x: Tensor, beta: float) -> Tensor:
    """The slope beta (dx^2 + dy^2)^(beta / 2 - 1) at every pixel, (n, colours, height, width)."""
    squares = _squares(x[:, :, 1:] - x[:, :, :-1], x[..., 1:] - x[..., :-1])
    return beta * (squares + SMALLEST).pow(beta / 2 - 1)


def _squares(down: Tensor, right: Tensor) -> Tensor:
    """dx^2 + dy^2 at every pixel, (n, colours, height, width)."""
    return functional.pad(down.square(), (0, 0, 0, 1)) + functional.pad(right.square(), (0, 1))
