"""Speed of two actors against one: the same images, each actor with one thread of its own, without Ray."""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.figures import Figure
from tests.benchmarks.rivals import Photos, Task, ours
from tests.support import benchmarking

GOAL = 0.95


def figures(network: str, images: int, rounds: int) -> Iterator[Figure]:
    """The rate of two actors over twice that of one."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        corpus = benchmarking.photos(Path(folder))
        task = Task(network, Photos(corpus, images), Path(folder))
        sides = {f"{count}": stack.enter_context(ours(task, corpus, images, count)) for count in (1, 2)}
        seconds = list(benchmarking.alternating(rounds, **sides))
    yield Figure(f"{network}: two actors / (2 x one)", "", tuple(each["1"] / each["2"] / 2 for each in seconds), GOAL)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    for figure in figures(asked.network, asked.images, asked.rounds):
        print(figure)


if __name__ == "__main__":
    main()
