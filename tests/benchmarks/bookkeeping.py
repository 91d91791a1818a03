"""Speed of what a scan does beside the network: scores are given, and a shard's result is made from them.

The scores are those of 22,720 channels, as `auto` selects in ResNet-50; three in ten are 0, as after a rectifier.
"""

import argparse
import time
from collections.abc import Iterator

import torch

from tests.benchmarks.figures import Figure
from workers.core import shard_scores

CHANNELS = dict.fromkeys(range(160), 142)
GOAL_PER_S = 800


def figures(images: int, rounds: int, k: int = 9) -> Iterator[Figure]:
    """Rate and CPU time of a shard's top rows and statistics, one thread."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(images, sum(CHANNELS.values()), generator=generator) + 0.5
    scores, names = scores.relu(), list(range(images))
    top, statistics = list[float](), list[float]()
    for _ in range(rounds + 1):  # the first warms up
        started = time.process_time()
        shard_scores.top_rows(scores, CHANNELS, names, names, k)
        between = time.process_time()
        shard_scores.statistics(scores, CHANNELS)
        top, statistics = [*top, between - started], [*statistics, time.process_time() - between]
    yield Figure("top rows of 22,720 channels", "s per shard", tuple(top[1:]))
    yield Figure("statistics of 22,720 channels", "s per shard", tuple(statistics[1:]))
    rates = tuple(images / (one + two) for one, two in zip(top[1:], statistics[1:], strict=True))
    yield Figure("bookkeeping with a null network, 22,720 channels", "images/s", rates, GOAL_PER_S)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--k", type=int, default=9)
    for figure in figures(**vars(parser.parse_args())):
        print(figure, flush=True)


if __name__ == "__main__":
    main()
