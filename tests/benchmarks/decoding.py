"""Speed of decoding into batches: in a thread, in one process and in two; and what each image costs the process that asks.

Photos of 256 px, in batches of 32 for an input of 160 px (zfnet-mini) or 224 px (torchvision).
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import Figure
from tests.support import benchmarking
from workers.actors import reading
from workers.actors.job import Job
from workers.corpus import manifest
from workers.corpus.manifest import Row
from workers.store.root import Root

BATCH = 32
GOAL = 1.6
WAYS = {"a thread": 0, "1 process": 1, "2 processes": 2}


def figures(images: int, rounds: int) -> Iterator[Figure]:
    """Rates, their ratio, and CPU time per image of the process that asks."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        source = benchmarking.source("alexnet", scratch)
        job, _ = benchmarking.prepared(source, benchmarking.photos(scratch), scratch, images, batch=BATCH)
        rows = manifest.rows(Root(job.spec.root), job.manifest, 0, images)
        jobs = {way: _with_readers(job, count) for way, count in WAYS.items()}
        rates: dict[str, list[float]] = {way: [] for way in WAYS}
        used: dict[str, list[float]] = {way: [] for way in WAYS}
        for number in range(rounds + 1):
            for way in list(WAYS) if number % 2 else reversed(WAYS):
                began, cpu = time.perf_counter(), time.process_time()
                count = _read(jobs[way], rows)
                seconds, own = time.perf_counter() - began, time.process_time() - cpu
                if number:  # the first round warms up
                    rates[way].append(count / seconds)
                    used[way].append(1e6 * own / count)
    for way in WAYS:
        yield Figure(f"decoding in {way}", "images/s", tuple(rates[way]))
        yield Figure(f"decoding in {way}: CPU time of the actor", "us per image", tuple(used[way]))
    ratios = tuple(two / one for two, one in zip(rates["2 processes"], rates["1 process"], strict=True))
    yield Figure("decoding, 2 processes / 1", "", ratios, GOAL)


def _read(job: Job[Any], rows: list[Row]) -> int:
    return sum(len(batch.pixels()) for batch in reading.batches(job, rows, BATCH))


def _with_readers(job: Job[Any], count: int) -> Job[Any]:
    resources = job.spec.resources.model_copy(update={"readers": count})
    return replace(job, spec=job.spec.model_copy(update={"resources": resources}))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=960)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    for figure in figures(asked.images, asked.rounds):
        print(figure)


if __name__ == "__main__":
    main()
