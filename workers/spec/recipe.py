"""How to invert: weights, rates and their schedule. Takes a layer's place in its network, gives numbers.

Mahendran & Vedaldi (CVPR 2015), section 3.3, and the authors' code.
"""

from collections.abc import Sequence
from dataclasses import dataclass

SCHEDULE = ((100, 1.0), (200, 0.1), (100, 0.01))  # iterations, and the share of the rate in them
TV_BY_DEPTH = ((0.3, 1.0), (0.6, 10.0), (1.0, 100.0))  # up to this share of the layers: this weight
# Likewise; measured, the paper has 0.004 everywhere.
RATE_BY_DEPTH = ((0.12, 0.016), (0.3, 0.008), (0.6, 0.004), (0.8, 0.001), (1.0, 0.00025))


@dataclass(frozen=True)
class Recipe:
    """How to invert.

    Attributes:
        tv_weight: weight of the total variation; see `tv_weight`.
        rate: of the first stretch of the schedule; see `rate`.
        iterations: at most; fewer than the schedule has cut it off.
        momentum: share of a step that goes on; forgotten whenever the rate changes.
        alpha: exponent of the norm that keeps pixels in range.
        alpha_weight: its weight.
        beta: exponent of the total variation.
        jitter_px: largest random shift of the image in each iteration; 0 is the CVPR paper's way.
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
        """The rate of each iteration; behind the schedule its last one goes on."""
        found = [self.rate * share for count, share in SCHEDULE for _ in range(count)]
        return (found + [found[-1]] * max(0, self.iterations - len(found)))[: self.iterations]


def tv_weight(number: int, nodes: int) -> float:
    """The weight of the total variation by depth: 1, 10 or 100, as the paper's for the thirds of its network.

    Args:
        number: the node's, the input's is 0.
        nodes: how many there are, the input among them.
    """
    return _by_depth(TV_BY_DEPTH, number / nodes)


def rate(number: int, nodes: int) -> float:
    """The learning rate of the schedule's first stretch by depth.

    The paper's 0.004 in the middle of a network. Before it two to four times as much is stable, and without it bright
    grounds do not come back in 400 iterations; behind it features bend so much that 0.004 only swings to and fro until
    the schedule lowers it. Chosen on SqueezeNet 1.1 and zfnet-mini.
    """
    return _by_depth(RATE_BY_DEPTH, number / nodes)


def _by_depth(steps: Sequence[tuple[float, float]], depth: float) -> float:
    return next(value for share, value in steps if depth <= share or share == 1.0)
