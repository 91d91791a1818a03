"""The one loop over Ray futures. Takes items, gives reports in finish order; a lost actor costs its item one more try.

An actor is a plain worker that Ray runs. It works on one item at a time and keeps nothing between items, so an item may
run twice without harm. Ray never restarts an actor by itself (it would run the constructor again and say nothing): the
pool hires another one and checks it like the first.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Self

import ray

from jobs.ray import pulse
from jobs.ray.actor import LOST, MakeWorker, counts, hire, is_alive, value
from jobs.ray.seats import Judge, Queue, Seat, Task, longest_alone, pause, under_way
from jobs.watch import Watcher
from workers.actors.job import Environment
from workers.actors.shard import log_fields
from workers.errors import DecoderHang, DeconvoyError, LostActors, NodeError, OutdatedShard, OutOfMemory, RunStopped
from workers.host import log
from workers.host.retrying import reason
from workers.host.steady import SteadyClock

FALSE_STARTS = 3  # actors in a row that die before they are ready
PATIENCE_S = 30.0  # for an actor that Ray has not placed
SETTLE_S = 5.0  # for the other actors, once one is ready; who is later joins the work
TICK_S = 1.0
GROW_EVERY_S = 10.0  # how often more room is looked for


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
        place: Ray's placement group that holds room for one actor, if the run was promised one.
        clock: seconds; without one, those in which this process ran.
    """

    def __init__(  # noqa: PLR0913 - what a run's pool is made of, given once
        self,
        actors: int,
        device: str,
        threads: int,
        watch: Watcher,
        carried: Mapping[str, object] = MappingProxyType({}),
        room: Callable[[], int] | None = None,
        *,
        place: Any = None,  # noqa: ANN401 - Ray's
        clock: Callable[[], float] | None = None,
    ) -> None:
        clock = clock or SteadyClock()
        self._options = {
            "num_cpus": threads,
            "num_gpus": int(device == "cuda"),
            "max_restarts": 0,
            "max_task_retries": 0,
        }
        self._actors, self._place, self._clock = actors, place, clock
        self._watch, self._carried = watch, dict(carried)
        self._room, self._looked, self._alone = room or (lambda: actors), clock(), False
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
            self._seats.append(self._hired())
        for seat in self._seats:
            if seat.task is not None:  # still at an item that another actor has finished
                self._hire_again(seat)
            else:
                self._prepare(seat)
        return self._wait_until_ready()

    def run(self, items: Iterable[Any], progress: Callable[[int], None], judge: Judge) -> Iterator[Any]:
        """Run every item on some actor and give the reports as they come.

        When nothing else is left, an item that takes unusually long is given to an idle actor too; the first report counts.

        Args:
            items: taken one at a time, when an actor is free.
            progress: is told about once a second how much of the items under way is done.
            judge: is asked about an item that killed two actors, hung a decoder or holds a file that is not the listed one,
                and the error; gives what to run in its place, or the item itself if no image is to blame; or raises.

        Raises:
            DeconvoyError: raised by a worker; it comes as it was.
            OutOfMemory: actors had too little memory, three times at one item.
            LostActors: an item failed too often, or see `start`.
            NodeError: see `start`.
        """
        queue = Queue(iter(items), judge)
        while self._give(queue):
            self._grow()
            yield from self._step(queue)
            self._replace_silent(queue)
            progress(under_way(self._seats))

    def _give(self, queue: Queue) -> bool:
        """Give work to idle actors; False when nothing is left and nothing is under way."""
        now = self._clock()
        for seat in self._seats:
            if seat.ready and seat.task is None:
                task = queue.next(now) or self._slowest(queue, now)
                if task is None:
                    break
                seat.task, seat.done, seat.since = task, 0, now
                seat.future = seat.actor.run.remote(task.item)
        at_work = any(seat.task and not seat.task.finished for seat in self._seats)
        return not queue.exhausted or bool(queue.again) or at_work

    def _slowest(self, queue: Queue, now: float) -> Task | None:
        """The task that has run longest, if that is unusually long and one actor alone works on it."""
        slowest = longest_alone(self._seats)
        if slowest is None or slowest.task is None or not queue.is_slow(now - slowest.since):
            return None
        self._watch.note("a slow shard is given to an idle actor too", **log_fields(slowest.task.item))
        return slowest.task

    def _step(self, queue: Queue) -> Iterator[Any]:
        """Wait a moment for something to finish; gives the reports."""
        for seat in self._seats:
            if not seat.ready and seat.future is None and self._clock() >= seat.not_before:
                self._prepare(seat)
        seats = {seat.future: seat for seat in self._seats if seat.future is not None}
        if not seats:
            time.sleep(TICK_S)
            return
        finished, _ = ray.wait(list(seats), num_returns=1, timeout=TICK_S)
        for future in finished:
            seat = seats[future]
            task, seat.task, seat.future = seat.task, None, None
            try:
                report = value(future, sum(other.node == seat.node for other in self._seats))
            except (*LOST, DecoderHang, OutOfMemory, OutdatedShard) as error:
                self._lose(seat, task, error, queue)
                continue
            if task is None:
                self._admit(seat, *report)
            elif not task.finished:
                task.finished = True
                queue.spent_s.append(self._clock() - seat.since)
                self._log_done(seat, task, report)
                yield report

    def _lose(self, seat: Seat, task: Task | None, error: Exception, queue: Queue) -> None:
        """Put an item back whose try failed, and hire another actor where this one is dead, hangs, or is out of memory."""
        died = isinstance(error, LOST) and is_alive(seat.node)
        if not isinstance(error, OutdatedShard):
            self._replace(seat, task, error)
        if task is None or task.finished or any(other.task is task for other in self._seats):
            return
        if isinstance(error, LOST) and not died:  # it went down with its machine
            queue.again.append(task)
        else:
            queue.put_back(task, error, self._clock(), died=died)

    def _replace_silent(self, queue: Queue) -> None:
        """Hire others for actors that no longer answer: stopped, swapped out, or cut off."""
        now = self._clock()
        pulse.ask(self._seats, now)
        for seat in pulse.silent(self._seats, now):
            task, seat.task, seat.future = seat.task, None, None
            self._lose(seat, task, LostActors(f"no sign of life for {now - seat.asked:.0f} s"), queue)

    def _grow(self) -> None:
        """Hire for the room that nodes have brought since; an actor without a node waits for the next one by itself."""
        if self._clock() - self._looked < GROW_EVERY_S:
            return
        self._looked = self._clock()
        self._shrink()
        for _ in range(self._room() - len(self._seats)):
            self._seats.append(self._hired())
            self._prepare(self._seats[-1])
            self._watch.say(f"{len(self._seats)} actors: the cluster has grown")

    def _shrink(self) -> None:
        """Wait no more for actors whose nodes have gone; for the last one a pool waits, and says so."""
        now, room = self._clock(), self._room()
        waiting = [seat for seat in self._seats if not seat.ready and now - seat.since > PATIENCE_S]
        for seat in waiting[: max(0, len(self._seats) - max(room, 1))]:
            ray.kill(seat.actor)
            self._seats.remove(seat)
            self._watch.say(f"{len(self._seats)} actors: the cluster has shrunk")
        alone = bool(waiting) and not any(seat.ready for seat in self._seats)
        if alone and not self._alone:
            self._watch.say("no actor is left: waiting for a node with room for one")
        self._alone = alone

    def _hired(self) -> Seat:
        """A new actor, in the place that the run was promised if nobody has it."""
        inside = self._place is not None and not any(seat.inside for seat in self._seats)
        return Seat(hire(self._place if inside else None, **self._options), inside)

    def _prepare(self, seat: Seat) -> None:
        seat.since = self._clock()
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
        """Hire another actor for one that is lost, unless actors keep dying before they are ready."""
        self._say_lost(seat, task, error)
        is_false_start = task is None and not seat.ready
        self._false_starts += is_false_start
        if self._false_starts >= FALSE_STARTS:
            raise LostActors(
                f"{FALSE_STARTS} actors in a row died before they were ready; the last: {reason(error)}"
            ) from error
        self._hire_again(seat, pause(error, self._false_starts) if is_false_start else 0.0)

    def _hire_again(self, seat: Seat, pause_s: float = 0.0) -> None:
        """Give a seat to another actor, which gets ready after a pause."""
        ray.kill(seat.actor)
        seat.actor = hire(self._place if seat.inside else None, **self._options)
        seat.task, seat.future, seat.poll, seat.ready, seat.heard = None, None, None, False, False
        seat.since, seat.not_before = self._clock(), self._clock() + pause_s

    def _log_done(self, seat: Seat, task: Task, report: object) -> None:
        carried = log_fields(task.item)
        line = f"shard {next(iter(carried.values()))} is done"
        self._watch.note(line, node=seat.host, node_id=seat.node, **carried, **counts(report))

    def _say_lost(self, seat: Seat, task: Task | None, error: Exception) -> None:
        place = f" on {seat.host}" if seat.host else ""
        cause = reason(error) if isinstance(error, DeconvoyError) else type(error).__name__
        carried = log_fields(task.item) if task else {}
        when = (
            f"at shard {next(iter(carried.values()))}"
            if carried
            else "while idle"
            if seat.ready
            else "before it was ready"
        )
        line = f"an actor{place} is lost {when}, {cause}: another one is hired"
        self._watch.say(line, node=seat.host, node_id=seat.node, **carried)

    def _wait_until_ready(self) -> Environment:
        """Wait for an actor, and a moment for the others: a busy cluster may have no room for them for long."""
        nothing, started, first_ready, said = Queue(iter(()), lambda item, _: item), self._clock(), None, False
        while not all(seat.ready for seat in self._seats):
            for _ in self._step(nothing):
                pass
            self._replace_silent(nothing)
            now = self._clock()
            if self._environment:
                first_ready = first_ready or now
                if now - first_ready > SETTLE_S:
                    break
            elif now - started > PATIENCE_S and not said:
                self._watch.say(f"waiting for Ray to place {self._actors} actors")
                said = True
        if self._environment is None:
            raise RunStopped("a pool without actors cannot run anything")
        return self._environment
