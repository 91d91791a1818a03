"""Speed of what a scan does beside the network: scores are given, and a shard's result is made from them.

The scores are those of 22,720 channels, as `auto` selects in ResNet-50; three in ten are 0, as after a rectifier.
"""

import argparse
import time

import torch

from tests.support import benchmarking
from workers.core import shard_scores
from workers.core.topk import Rows, merge

CHANNELS = dict.fromkeys(range(160), 142)
GOAL_PER_S = 800


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--k", type=int, default=9)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(asked.images, sum(CHANNELS.values()), generator=generator) + 0.5
    scores = scores.relu().to(asked.device)
    names = list(range(asked.images))
    top: list[float] = []
    statistics: list[float] = []
    rates: list[float] = []
    for _ in range(asked.rounds + 1):  # the first warms up
        started = time.process_time()
        found = shard_scores.top_rows(scores, CHANNELS, names, names, asked.k)
        between = time.process_time()
        described = shard_scores.statistics(scores, CHANNELS)
        ended = time.process_time()
        top, statistics = [*top, between - started], [*statistics, ended - between]
        rates.append(asked.images / (ended - started))
    started = time.process_time()
    merge([found, Rows.from_arrow(found.to_arrow())], asked.k)
    described.fold(described)
    reduced = time.process_time() - started
    print(
        f"{asked.images} images, {scores.shape[1]:,} channels, k {asked.k}, {asked.device}, one thread: "
        f"top rows {benchmarking.spread(top[1:])} s, statistics {benchmarking.spread(statistics[1:])} s, "
        f"together {benchmarking.spread(rates[1:])} images/s, goal {GOAL_PER_S}; reduce {reduced:.2f} s per shard"
    )


if __name__ == "__main__":
    main()
