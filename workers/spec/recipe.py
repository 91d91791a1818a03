"""Recipes for inversion: weights, rates and their schedule. Takes a layer's depth in its network, gives numbers.

Mahendran & Vedaldi (CVPR 2015), section 3.3, and the authors' code.
"""

from collections.abc import Sequence
from dataclasses import dataclass

SCHEDULE = ((100, 1.0), (200, 0.1), (100, 0.01))  # number of iterations, and their rate as a share of the first rate
TV_BY_DEPTH = ((0.3, 1.0), (0.6, 10.0), (1.0, 100.0))  # weight of layers up to this depth, a share of all layers
# Rates in the same form. They are measured; the paper uses 0.004 for all layers.
RATE_BY_DEPTH = ((0.12, 0.016), (0.3, 0.008), (0.6, 0.004), (0.8, 0.001), (1.0, 0.00025))


@dataclass(frozen=True)
class Recipe:
    """The parameters of an inversion.

    Attributes:
        tv_weight: weight of the total variation; see `tv_weight`.
        rate: learning rate in the first phase of the schedule; see `rate`.
        iterations: number of iterations; fewer than the schedule's truncate it.
        momentum: share of a step that is added to the next one; reset to zero whenever the rate changes.
        alpha: exponent of the norm that keeps pixels in range.
        alpha_weight: weight of that norm.
        beta: exponent of the total variation.
        jitter_px: largest random shift of the image in each iteration; the CVPR paper has none (0).
        bounded: keep pixels in 0 to 255; the CVPR paper does not.
    """

    tv_weight: float
    rate: float
    iterations: int = 400
    momentum: float = 0.9
    alpha: float = 6.0
    alpha_weight: float = 8e-10
    beta: float = 2.0
    jitter_px: int = 0
    bounded: bool = False

    def rates(self) -> list[float]:
        """The rate of each iteration; after the end of the schedule its last rate is used."""
        rates = [self.rate * share for count, share in SCHEDULE for _ in range(count)]
        return (rates + [rates[-1]] * max(0, self.iterations - len(rates)))[: self.iterations]


def tv_weight(number: int, nodes: int) -> float:
    """The weight of the total variation by depth: 1, 10 or 100, like the paper's weights for each third of its network.

    Args:
        number: number of the node; the input is node 0.
        nodes: number of nodes, including the input.
    """
    return _by_depth(TV_BY_DEPTH, number / nodes)


def rate(number: int, nodes: int) -> float:
    """The learning rate of the schedule's first phase, by depth.

    In the middle of a network it is the paper's 0.004. In earlier layers, two to four times as much is stable, and bright
    backgrounds do not reappear in 400 iterations without it. In later layers, features are so non-linear that 0.004
    only oscillates until the schedule lowers it. The rates were chosen on SqueezeNet 1.1 and zfnet-mini.
    """
    return _by_depth(RATE_BY_DEPTH, number / nodes)


def _by_depth(steps: Sequence[tuple[float, float]], depth: float) -> float:
    return next(value for share, value in steps if depth <= share or share == 1.0)
