"""Attempts at a run in a simulated world: one process, no Ray, no clock. Takes faults, gives how an attempt ended."""

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
import tenacity
import tenacity.nap
import torch

from jobs.ray.actor import MakeWorker, PlainWorker
from jobs.ray.seats import Judge
from jobs.scan import scan
from jobs.watch import SilentWatcher
from service.cli.submissions import schedules_of
from service.control.housekeeping import Housekeeping
from tests.model.store import STORES, ActorDied, Crash, Fault, Objects
from workers.actors.environment import Environment
from workers.errors import OutdatedShard, RootError, RunError, StoreError
from workers.host.retrying import PATIENCE
from workers.models.model import Model
from workers.models.model import load as load_model
from workers.spec.parts import ModelSpec
from workers.spec.scan import RunSpec, make_spec
from workers.store.root import Root

K, BATCH, LAYERS = 3, 2, ("relu1", "relu2")
RUN, MODEL = "one", "deconvoy://zfnet-mini"


class End(StrEnum):
    """How an attempt ended."""

    DONE = "done"
    CRASHED = "crashed"
    STOPPED = "ended with a one-line error"


class Clock:
    """The time that retries see: it passes only while they wait."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Actors:
    """A pool whose actors take items in any order, do some of them twice, lose answers, and die.

    Args:
        objects: the store that the actors use.
        order: decides.
        actors: their number.
    """

    def __init__(self, objects: Objects, order: random.Random, actors: int) -> None:
        self._objects, self._order, self.actors = objects, order, actors
        self._make: MakeWorker | None = None
        self._threads = torch.get_num_threads()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._threads)

    def start(self, make: MakeWorker) -> Environment:
        """Build a worker and check it."""
        self._make = make
        self._worker = self._living(make)
        return self._living(self._worker.check)

    def run(self, items: Iterable[Any], progress: Callable[[int], None], judge: Judge) -> Iterator[Any]:
        """The reports of all items, in the order in which actors happen to finish."""
        remaining, in_work = iter(items), deque[Any]()
        while True:
            while len(in_work) < self.actors and (item := next(remaining, None)) is not None:
                in_work.append(item)
            if not in_work:
                return
            in_work.rotate(self._order.randrange(len(in_work)))
            item = in_work.popleft()
            for _ in range(self._order.choice((0, 0, 0, 1))):  # the answer is lost, or an idle actor does it as well
                self._judged(item, judge)
            yield self._judged(item, judge)
            progress(self._worker.done)

    def _judged(self, item: Any, judge: Judge) -> Any:
        while True:
            try:
                return self._living(partial(self._work, item))
            except OutdatedShard as error:
                item = judge(item, error)

    def _work(self, item: Any) -> Any:
        return self._worker.run(item)

    def _living(self, act: Callable[[], Any]) -> Any:
        """The result of an actor; if it dies, of another one."""
        while True:
            self._objects.in_actor = True
            try:
                return act()
            except ActorDied:
                self._objects.replace_actor()
                self._worker = self._rebuilt()
            finally:
                self._objects.in_actor = False

    def _rebuilt(self) -> PlainWorker:
        assert self._make is not None
        self._objects.in_actor = False  # a second death in a row would be the driver's
        return self._make()


class World:
    """A store, and everything that can happen to a run in it.

    Args:
        corpus: folder of the images.
        shard: images in a shard.
        name: the bucket.
    """

    def __init__(self, corpus: Path, shard: int, name: str = "bucket") -> None:
        self.objects = STORES[name] = Objects()
        self.url = f"simulated://{name}"
        self.spec = _spec(corpus, self.url, shard)
        self.trace: list[str] = []  # of the last attempt
        self.happened: list[Fault] = []

    def attempt(self, faults: Iterable[Fault] = (), *, seed: int = 0, actors: int = 1) -> End:
        """Run the command once."""
        self.objects.begin(list(faults))
        self.objects.rival = self._rival
        with _simulated(self.objects, random.Random(seed), actors):
            try:
                scan(self.spec, SilentWatcher())
            except Crash:
                return End.CRASHED
            except (StoreError, RootError) as error:
                assert "\n" not in str(error)
                return End.STOPPED
            finally:
                self.trace, self.happened = self.objects.trace, self.objects.happened
                self.objects.begin([])
        return End.DONE

    def collect_garbage(self, faults: Iterable[Fault] = ()) -> End:
        """Remove what gc removes, long after the last attempt."""
        return self._keep_house(lambda house: house.remove(house.plan()), faults)

    def remove_run(self, faults: Iterable[Fault] = ()) -> End:
        """Remove the run, long after the last attempt."""
        return self._keep_house(lambda house: house.remove(house.removal_of(RUN)), faults)

    def _keep_house(self, act: Callable[[Housekeeping], None], faults: Iterable[Fault]) -> End:
        self.objects.begin(list(faults))
        self.objects.rival = None  # gc spares young files, but in this world nothing is young
        root, later = Root(self.url), datetime(2027, 1, 1, tzinfo=UTC)
        try:
            act(Housekeeping(root, schedules_of(root), later, timedelta(days=1)))
        except Crash:
            return End.CRASHED
        except (StoreError, RunError):
            return End.STOPPED
        finally:
            self.objects.begin([])
        return End.DONE

    def _rival(self) -> None:
        """Another driver runs the same command, while this one waits."""
        take_up = self.objects.pause()
        self.objects.begin([])
        self.objects.rival = None
        try:
            scan(self.spec, SilentWatcher())
        finally:
            take_up()


@cache
def _model() -> Model:
    """The network; it is the same in all attempts, and tracing it takes longer than the rest of one."""
    return load_model(ModelSpec(source=MODEL))


def _spec(corpus: Path, root: str, shard: int) -> RunSpec:
    return make_spec(
        {
            "run": RUN,
            "root": root,
            "model": {"source": MODEL},
            "corpus": {"source": str(corpus)},
            "scan": {"layers": LAYERS, "batch": BATCH, "shard": shard, "k": K},
            "resources": {"actors": 1, "device": "cpu"},
        }
    )


@contextmanager
def _simulated(objects: Objects, order: random.Random, actors: int) -> Iterator[None]:
    """Jobs run in this process, and retries wait in no time."""
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobs.run.attempt.start_pool", lambda *_: Actors(objects, order, actors))
        patch.setattr("jobs.run.attempt.wait_for_actors", lambda *_: actors)
        patch.setattr("jobs.run.attempt.models.load", lambda *_: _model())
        patch.setenv(PATIENCE, "30")
        patch.setattr("workers.store.rows._VERIFIED", {})  # a new process has verified nothing
        patch.setattr(tenacity, "time", SimpleNamespace(monotonic=clock.monotonic))
        patch.setattr(tenacity.nap, "time", SimpleNamespace(sleep=clock.sleep))
        yield
