"""How long the command takes to start: `deconvoy --help`, and `deconvoy query units` on a small root."""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from tests.benchmarks.figures import Figure
from tests.support.published import publish
from workers.store.root import Root

HELP_GOAL_S, QUERY_GOAL_S = 0.3, 0.6


def figures(rounds: int) -> Iterator[Figure]:
    """Seconds from the start of the process to its end."""
    with tempfile.TemporaryDirectory() as folder:
        publish(Root(folder))
        query = ["query", "units", "--root", folder, "--layer", "relu1"]
        for words, goal in ((["--help"], HELP_GOAL_S), (query, QUERY_GOAL_S)):
            seconds = [_seconds(words) for _ in range(rounds + 1)][1:]
            yield Figure(f"deconvoy {' '.join(words[:2])}", "s", tuple(seconds), goal, at_most=True)


def _seconds(words: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "deconvoy", *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    for figure in figures(parser.parse_args().rounds):
        print(figure)


if __name__ == "__main__":
    main()
