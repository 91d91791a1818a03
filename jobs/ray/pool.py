"""The one loop over Ray futures. Takes items, gives reports in finish order; an item whose actor is lost is retried.

An actor is a plain worker that Ray runs. It works on one item at a time and keeps no state between items, so running an item
twice does no harm. Ray never restarts an actor, since it would rerun the constructor silently. Instead, the pool starts a new
actor and checks it like the first.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from types import MappingProxyType, TracebackType
from typing import Any, Self

import ray

from jobs.ray import pulse
from jobs.ray.actor import LOST, MakeWorker, hire, is_alive, report_counts, result_of
from jobs.ray.seats import FAILED, Judge, Queue, Seat, Task, count_in_progress, longest_alone, pause_after
from jobs.watch import Watcher
from workers.actors.environment import Environment
from workers.actors.shard import log_fields
from workers.errors import DeconvoyError, LostActors, NodeError, OutdatedShard, ReaderLost, RunStopped
from workers.host import log
from workers.host.retrying import reason
from workers.host.steady import SteadyClock

FALSE_STARTS = 3  # actors in a row that die before they are ready
PATIENCE_S = 30.0  # time that Ray may take to place an actor
SETTLE_S = 5.0  # time to wait for the other actors once one is ready; later ones join the work
TICK_S = 1.0
GROW_EVERY_S = 10.0  # how often to look for more room


class Pool:
    """Actors that run workers, one on each GPU or on `threads` CPUs.

    Args:
        actors: number of actors to start with.
        device: cpu or cuda.
        threads: CPU threads of one actor.
        watch: receives messages about slow, lost and finished work.
        run_fields: fields of every line of the actors' logs.
        available: how many actors the run can have now. The pool uses new nodes, and does not wait for actors of nodes that
            left. Without it, the pool keeps its size.
        place: Ray's placement group that holds room for one actor, if the run has one.
        clock: gives seconds; by default those during which this process ran.
    """

    def __init__(  # noqa: PLR0913 - the parts of a run's pool, given once
        self,
        actors: int,
        device: str,
        threads: int,
        watch: Watcher,
        run_fields: Mapping[str, object] = MappingProxyType({}),
        available: Callable[[], int] | None = None,
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
        self.actors, self._place, self._clock = actors, place, clock
        self._watch, self._log_fields = watch, dict(run_fields)
        self._available, self._grown_at, self._is_waiting = available or (lambda: actors), clock(), False
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
        """Build a worker in every actor and check it. A later call gives all actors another worker.

        Args:
            make: builds the worker; it is pickled.

        Returns:
            The software and device that all actors share.

        Raises:
            NodeError: two actors differ in something that changes the results.
            LostActors: actors keep dying before they are ready.
        """
        self._make, self._environment = make, None
        self._shrink()
        while len(self._seats) < max(1, min(self.actors, self._available())):
            self._seats.append(self._new_seat())
        for seat in self._seats:
            if seat.task is not None:  # still working on an item that another actor has finished
                self._hire_again(seat)
            else:
                self._prepare(seat)
        return self._wait_until_ready()

    def run(self, items: Iterable[Any], progress: Callable[[int], None], judge: Judge) -> Iterator[Any]:
        """Run every item on some actor, and give the reports in finish order.

        When no other item is left, an item that takes unusually long is also given to an idle actor. The first report counts.

        Args:
            items: taken one at a time, when an actor is free.
            progress: called about once a second with how much of the current items is done.
            judge: called with an item and its error, if two actors or readers died at it, it hung a decoder, or a file is stale.
                Returns the item to run instead, or the same item if no image is to blame; or raises.

        Raises:
            DeconvoyError: a worker raised it.
            OutOfMemory: one item ran out of memory three times.
            LostActors: an item failed too often; or see `start`.
            NodeError: see `start`.
        """
        queue = Queue(iter(items), judge)
        while self._give(queue):
            self._grow()
            yield from self._step(queue)
            self._replace_silent(queue)
            progress(count_in_progress(self._seats))

    def _give(self, queue: Queue) -> bool:
        """Give work to idle actors; False once all work is finished."""
        now = self._clock()
        for seat in self._seats:
            if seat.ready and seat.task is None:
                task = queue.next(now) or self._slowest(queue, now)
                if task is None:
                    break
                seat.task, seat.done, seat.started = task, 0, now
                seat.future = seat.actor.run.remote(task.item)
        is_working = any(seat.task and not seat.task.finished for seat in self._seats)
        return not queue.exhausted or bool(queue.retries) or is_working

    def _slowest(self, queue: Queue, now: float) -> Task | None:
        """The task that has run longest, if that is unusually long and only one actor has it."""
        slowest = longest_alone(self._seats)
        if slowest is None or slowest.task is None or not queue.is_slow(now - slowest.started):
            return None
        self._watch.note("a slow shard is also given to an idle actor", **log_fields(slowest.task.item))
        return slowest.task

    def _step(self, queue: Queue) -> Iterator[Any]:
        """Wait up to a second for a call to finish; gives the reports of finished items."""
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
                report = result_of(future, sum(other.node == seat.node for other in self._seats))
            except (*LOST, *FAILED) as error:
                self._lose(seat, task, error, queue)
                continue
            if task is None:
                self._admit(seat, *report)
            elif not task.finished:
                task.finished = True
                queue.spent_s.append(self._clock() - seat.started)
                self._log_done(seat, task, report)
                yield report

    def _lose(self, seat: Seat, task: Task | None, error: Exception, queue: Queue) -> None:
        """Retry a failed item, and replace its actor if that is dead, hangs, or is out of memory."""
        died = isinstance(error, LOST) and is_alive(seat.node)
        if isinstance(error, ReaderLost):
            self._say_lost(seat, task, error, "the readers")
        elif not isinstance(error, OutdatedShard):
            self._replace(seat, task, error)
        if task is None or task.finished or any(other.task is task for other in self._seats):
            return
        if isinstance(error, LOST) and not died:  # the actor died with its node
            queue.retries.append(task)
        else:
            queue.put_back(task, error, self._clock(), died=died)

    def _replace_silent(self, queue: Queue) -> None:
        """Replace actors that no longer answer: stopped, swapped out, or disconnected."""
        now = self._clock()
        pulse.poll(self._seats, now)
        for seat in pulse.find_silent(self._seats, now):
            task, seat.task, seat.future = seat.task, None, None
            self._lose(seat, task, LostActors(f"no response for {now - seat.polled_at:.0f} s"), queue)

    def _grow(self) -> None:
        """Start actors for new nodes. Ray itself places an actor that waits for a node."""
        if self._clock() - self._grown_at < GROW_EVERY_S:
            return
        self._grown_at = self._clock()
        self._shrink()
        for _ in range(self._available() - len(self._seats)):
            self._seats.append(self._new_seat())
            self._prepare(self._seats[-1])
            self._watch.say(f"the cluster has grown: {_count(self._seats)}")

    def _shrink(self) -> None:
        """Give up actors whose nodes have left. The pool keeps waiting for the last one, and reports that."""
        now, available = self._clock(), self._available()
        waiting = [seat for seat in self._seats if not seat.is_placed and now - seat.started > PATIENCE_S]
        for seat in waiting[: max(0, len(self._seats) - max(available, 1))]:
            ray.kill(seat.actor)
            self._seats.remove(seat)
            self._watch.say(f"the cluster has shrunk: {_count(self._seats)}")
        is_waiting = bool(waiting) and not any(seat.ready for seat in self._seats)
        if is_waiting and not self._is_waiting:
            self._watch.say("no actor is left: waiting for a node with room for one")
        self._is_waiting = is_waiting

    def _new_seat(self) -> Seat:
        """A seat with a new actor, in the run's place if that is free."""
        in_place = self._place is not None and not any(seat.in_place for seat in self._seats)
        return Seat(hire(self._place if in_place else None, **self._options), in_place)

    def _prepare(self, seat: Seat) -> None:
        seat.started = self._clock()
        seat.ready, seat.future = False, seat.actor.prepare.remote(self._make, self._log_fields, log.form())

    def _admit(self, seat: Seat, environment: Environment, node: str) -> None:
        """Let a checked actor work, if it will compute the same numbers as the others."""
        first = self._environment or environment
        expected, actual = first.comparable(), environment.comparable()
        differences = [
            f"{key} {actual[key]} instead of {value}" for key, value in expected.items() if actual[key] != value
        ]
        if differences:
            raise NodeError(f"node {environment.node} differs from node {first.node}: {', '.join(differences)}")
        self._environment, self._false_starts = first, 0
        seat.ready, seat.node, seat.host = True, node, environment.node

    def _replace(self, seat: Seat, task: Task | None, error: Exception) -> None:
        """Replace a lost actor, unless actors keep dying before they are ready."""
        self._say_lost(seat, task, error)
        is_false_start = task is None and not seat.ready
        self._false_starts += is_false_start
        if self._false_starts >= FALSE_STARTS:
            raise LostActors(
                f"{FALSE_STARTS} actors in a row died before they were ready; the last error: {reason(error)}"
            ) from error
        self._hire_again(seat, pause_after(error, self._false_starts) if is_false_start else 0.0)

    def _hire_again(self, seat: Seat, pause_s: float = 0.0) -> None:
        """Put a new actor into a seat; it is prepared after a pause."""
        ray.kill(seat.actor)
        seat.actor = hire(self._place if seat.in_place else None, **self._options)
        seat.task, seat.future, seat.poll, seat.ready, seat.has_answered = None, None, None, False, False
        seat.started, seat.not_before = self._clock(), self._clock() + pause_s

    def _log_done(self, seat: Seat, task: Task, report: object) -> None:
        fields = log_fields(task.item)
        line = f"shard {next(iter(fields.values()))} is done"
        self._watch.note(line, node=seat.host, node_id=seat.node, **fields, **report_counts(report))

    def _say_lost(self, seat: Seat, task: Task | None, error: Exception, what: str = "an actor") -> None:
        place = f" on {seat.host}" if seat.host else ""
        cause = reason(error) if isinstance(error, DeconvoyError) else type(error).__name__
        fields = log_fields(task.item) if task else {}
        when = "while idle" if seat.ready else "before it was ready"
        if fields:
            when = f"at shard {next(iter(fields.values()))}"
        line = f"lost {what}{place} {when} ({cause}); replacing {'it' if what == 'an actor' else 'them'}"
        self._watch.say(line, node=seat.host, node_id=seat.node, **fields)

    def _wait_until_ready(self) -> Environment:
        """Wait for one actor, then a moment for the others: a busy cluster may have no room for them for a long time."""
        empty, started, first_ready, is_reported = Queue(iter(()), lambda item, _: item), self._clock(), None, False
        while not all(seat.ready for seat in self._seats):
            for _ in self._step(empty):
                pass
            self._replace_silent(empty)
            now = self._clock()
            if self._environment:
                first_ready = first_ready or now
                if now - first_ready > SETTLE_S:
                    break
            elif now - started > PATIENCE_S and not is_reported:
                self._watch.say(f"waiting for Ray to place {_count(range(self.actors))}")
                is_reported = True
        if self._environment is None:
            raise RunStopped("a pool needs at least one actor")
        return self._environment


def _count(actors: Sized) -> str:
    return f"{len(actors)} actor{'s' if len(actors) != 1 else ''}"
