"""A pool without Ray. Takes a job's workers and items, runs them one after the other in this process."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import pytest
import torch

from jobs.ray.actor import MakeWorker, PlainWorker
from workers.actors.job import Environment


class OneWorker:
    """What a job needs of `jobs.ray.pool.Pool`, for tests of results: no actor starts, and an item's error is raised as it is."""

    def __init__(self) -> None:
        self._worker: PlainWorker | None = None
        self._threads = torch.get_num_threads()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._threads)  # workers set their own number

    def start(self, make: MakeWorker) -> Environment:
        """Build a worker and check it."""
        self._worker = make()
        return self._worker.check()

    def run(self, items: Iterable[Any], progress: Callable[[int], None], _: object) -> Iterator[Any]:
        """Run every item in its turn, and give the reports."""
        assert self._worker is not None
        for item in items:
            yield self._worker.run(item)
            progress(self._worker.done)


@contextmanager
def jobs_run_here() -> Iterator[None]:
    """Jobs of this process run in it, on one CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobs.run.attempt._start_pool", lambda *_: OneWorker())
        patch.setattr("jobs.run.attempt._wait_for_actors", lambda *_: 1)
        yield
