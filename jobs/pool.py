"""The one loop over Ray futures. Takes items, gives reports in finish order; a lost actor costs its item one more try.

An actor is a plain worker that Ray runs. It works on one item at a time and keeps nothing between items, so an item may
run twice without harm. Ray never restarts an actor by itself (it would run the constructor again and say nothing): the
pool hires another one and checks it like the first.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType, TracebackType
from typing import Any, Self

import ray
from ray.exceptions import RayError

from jobs.actor import LOST, MakeWorker, counts, hire, is_alive, value
from jobs.cluster import place_options
from jobs.seats import DEATHS, Queue, Seat, Task
from jobs.watch import Watcher
from workers import log
from workers.errors import DecoderHang, LostActors, NodeError, RunStopped
from workers.job import Environment
from workers.shard import about

FALSE_STARTS = 3  # actors in a row that die before they are ready
PATIENCE_S = 30.0  # for the other actors, once one is ready
TICK_S = 1.0
GROW_EVERY_S = 10.0  # is looked for more room


class Pool:
    """Actors that run workers, one on each GPU or on `threads` CPUs.

    Args:
        actors: how many to have.
        device: cpu or cuda.
        threads: CPU threads of one actor.
        watch: is told what takes long, what is lost, and what is done.
        carried: what every line of the actors' logs carries.
        room: how many actors could be had now: nodes that come are used, and actors of nodes that went are not waited for;
            without it the pool stays as large as it is.
    """

    def __init__(
        self,
        actors: int,
        device: str,
        threads: int,
        watch: Watcher,
        carried: Mapping[str, object] = MappingProxyType({}),
        room: Callable[[], int] | None = None,
    ) -> None:
        self._options = {
            "num_cpus": threads,
            "num_gpus": int(device == "cuda"),
            "max_restarts": 0,
            "max_task_retries": 0,
        }
        self._actors = actors
        self._watch, self._carried = watch, dict(carried)
        self._room, self._looked, self._alone = room or (lambda: actors), time.monotonic(), False
        self._seats: list[Seat] = []
        self._make: MakeWorker | None = None
        self._environment: Environment | None = None
        self._false_starts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for seat in self._seats:
            ray.kill(seat.actor)

    def start(self, make: MakeWorker) -> Environment:
        """Build a worker in every actor and check it; called again, the actors change their work.

        Args:
            make: builds the worker; it is pickled.

        Returns:
            The software and device that all actors have in common.

        Raises:
            NodeError: two actors differ in what the numbers depend on.
            LostActors: actors die before they are ready.
        """
        self._make, self._environment = make, None
        self._shrink()
        while len(self._seats) < max(1, min(self._actors, self._room())):
            self._seats.append(self._seat())
        for seat in self._seats:
            self._prepare(seat)
        return self._wait_until_ready()

    def run(self, items: Iterable[Any], progress: Callable[[int], None], poison: Callable[[Any], Any]) -> Iterator[Any]:
        """Run every item on some actor and give the reports as they come.

        Args:
            items: taken one at a time, when an actor is free.
            progress: is told about once a second how much of the items under way is done.
            poison: is asked about an item that killed two actors or hung a decoder; gives what to run in its place, or
                raises.

        Raises:
            DeconvoyError: raised by a worker; it comes as it was.
            OutOfMemory: an actor had too little memory.
            NodeError, LostActors: see `start`.
        """
        queue = Queue(iter(items), poison)
        while self._give(queue):
            self._grow()
            yield from self._step(queue)
            progress(self._under_way())

    def _give(self, queue: Queue) -> bool:
        """Give work to idle actors; False when nothing is left and nothing is under way."""
        for seat in self._seats:
            if seat.ready and seat.task is None:
                seat.task = queue.next()
                if seat.task is None:
                    break
                seat.done, seat.future = 0, seat.actor.run.remote(seat.task.item)
        return not queue.exhausted or bool(queue.again) or any(seat.task for seat in self._seats)

    def _step(self, queue: Queue) -> Iterator[Any]:
        """Wait a moment for something to finish; gives the reports."""
        seats = {seat.future: seat for seat in self._seats if seat.future is not None}
        finished, _ = ray.wait(list(seats), num_returns=1, timeout=TICK_S)
        for future in finished:
            seat = seats[future]
            task, seat.task, seat.future = seat.task, None, None
            try:
                report = value(future)
            except (*LOST, DecoderHang) as error:
                self._replace(seat, task, error)
                if task is not None:
                    queue.put_back(task)
                continue
            if task is None:
                self._admit(seat, *report)
            else:
                self._tell_done(seat, task, report)
                yield report

    def _grow(self) -> None:
        """Hire for the room that nodes have brought since; an actor without a node waits for the next one by itself."""
        if time.monotonic() - self._looked < GROW_EVERY_S:
            return
        self._looked = time.monotonic()
        self._shrink()
        for _ in range(self._room() - len(self._seats)):
            self._seats.append(self._seat())
            self._prepare(self._seats[-1])
            self._watch.say(f"{len(self._seats)} actors: the cluster has grown")

    def _shrink(self) -> None:
        """Wait no more for actors whose nodes have gone; for the last one a pool waits, and says so."""
        now, room = time.monotonic(), self._room()
        waiting = [seat for seat in self._seats if not seat.ready and now - seat.since > PATIENCE_S]
        for seat in waiting[: max(0, len(self._seats) - max(room, 1))]:
            ray.kill(seat.actor)
            self._seats.remove(seat)
            self._watch.say(f"{len(self._seats)} actors: the cluster has shrunk")
        alone = bool(waiting) and not any(seat.ready for seat in self._seats)
        if alone and not self._alone:
            self._watch.say("no actor is left: waiting for a node with room for one")
        self._alone = alone

    def _seat(self) -> Seat:
        """Hire an actor; one of them sits in the place that this process holds on the cluster, if it holds one."""
        in_place = not any(seat.in_place for seat in self._seats)
        return Seat(hire(**self._options, **(place_options() if in_place else {})), in_place=in_place)

    def _prepare(self, seat: Seat) -> None:
        seat.since = time.monotonic()
        seat.ready, seat.future = False, seat.actor.prepare.remote(self._make, self._carried, log.form())

    def _admit(self, seat: Seat, environment: Environment, node: str) -> None:
        """Let a checked actor work, if its numbers will be the others'."""
        known = self._environment or environment
        differing = [key for key, value in known.numerics().items() if environment.numerics()[key] != value]
        if differing:
            told = ", ".join(
                f"{key} {environment.numerics()[key]} instead of {known.numerics()[key]}" for key in differing
            )
            raise NodeError(f"node {environment.node} differs from node {known.node}: {told}")
        self._environment, self._false_starts = known, 0
        seat.ready, seat.node, seat.host = True, node, environment.node

    def _replace(self, seat: Seat, task: Task | None, error: Exception) -> None:
        """Hire another actor for a dead or hanging one, and note what it died of."""
        ray.kill(seat.actor)
        self._tell_lost(seat, task, error)
        if isinstance(error, DecoderHang) and task is not None:
            task.deaths = DEATHS
        elif task is not None and is_alive(seat.node):
            task.deaths += 1
        elif task is None:
            self._false_starts += 1
        if self._false_starts >= FALSE_STARTS:
            raise LostActors(
                f"{FALSE_STARTS} actors in a row died before they were ready; the last: {error}"
            ) from error
        seat.actor = hire(**self._options, **(place_options() if seat.in_place else {}))
        seat.poll = None
        self._prepare(seat)

    def _tell_done(self, seat: Seat, task: Task, report: object) -> None:
        carried = about(task.item)
        told = f"shard {next(iter(carried.values()))} is done"
        self._watch.note(told, node=seat.host, node_id=seat.node, **carried, **counts(report))

    def _tell_lost(self, seat: Seat, task: Task | None, error: Exception) -> None:
        place, told = f" on {seat.host}" if seat.host else "", f"{type(error).__name__}: another one is hired"
        carried = about(task.item) if task else {}
        when = f"at shard {next(iter(carried.values()))}" if carried else "before it was ready"
        self._watch.say(f"an actor{place} is lost {when}, {told}", node=seat.host, node_id=seat.node, **carried)

    def _wait_until_ready(self) -> Environment:
        """Wait for all actors, but not for ever for those that a busy cluster has no room for."""
        nothing, started, told = Queue(iter(()), lambda item: item), time.monotonic(), False
        while not all(seat.ready for seat in self._seats):
            for _ in self._step(nothing):
                pass
            waited = time.monotonic() - started
            if waited > PATIENCE_S and self._environment:
                break
            if waited > PATIENCE_S and not told:
                self._watch.say(f"waiting for Ray to place {self._actors} actors")
                told = True
        if self._environment is None:
            raise RunStopped("a pool without actors cannot run anything")
        return self._environment

    def _under_way(self) -> int:
        """How much of the items under way is done; actors are asked without waiting for their answer."""
        working = [seat for seat in self._seats if seat.task]
        for seat in working:
            if seat.poll is None:
                seat.poll = seat.actor.done.remote()
            elif ray.wait([seat.poll], timeout=0)[0]:
                with suppress(RayError):  # a dead actor is noticed by its task
                    seat.done = ray.get(seat.poll)
                seat.poll = None
        return sum(seat.done for seat in working)
