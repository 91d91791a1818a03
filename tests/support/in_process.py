"""A pool without Ray. Takes a job's workers and items, runs them one after the other in this process."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Self, TypeVar, cast

import pytest
import torch

from jobs.ray.actor import MakeWorker, PlainWorker
from jobs.ray.seats import Judge
from workers.actors.environment import Environment
from workers.errors import OutdatedShard

Job = TypeVar("Job", bound=Callable[..., Any])


class OneWorker:
    """What a job needs of `jobs.ray.pool.Pool`, for tests of results: no actor starts, and errors are raised as they are."""

    def __init__(self) -> None:
        self._worker: PlainWorker | None = None
        self._threads = torch.get_num_threads()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._threads)  # workers set their own number

    actors = 1

    def start(self, make: MakeWorker) -> Environment:
        """Build a worker and check it."""
        self._worker = make()
        return self._worker.check()

    def run(self, items: Iterable[Any], progress: Callable[[int], None], judge: Judge) -> Iterator[Any]:
        """Run every item in its turn, and give the reports. An item with an outdated image is judged, as in the pool."""
        assert self._worker is not None
        for item in items:
            yield self._run(self._worker, item, judge)
            progress(self._worker.done)

    def _run(self, worker: PlainWorker, item: Any, judge: Judge) -> Any:
        while True:
            try:
                return worker.run(item)
            except OutdatedShard as error:
                item = judge(item, error)


@contextmanager
def jobs_run_here() -> Iterator[None]:
    """Jobs of this process run in it, on one CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobs.run.attempt.start_pool", lambda *_: OneWorker())
        patch.setattr("jobs.run.attempt.wait_for_actors", lambda *_: 1)
        yield


def here(job: Job) -> Job:
    """A job's function, which runs it in this process."""

    @wraps(job)
    def run(*words: Any, **keys: Any) -> Any:
        with jobs_run_here():
            return job(*words, **keys)

    return cast(Job, run)
