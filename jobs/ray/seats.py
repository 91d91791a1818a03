"""What a pool keeps in mind. Takes items and actors' handles, gives what is next and who does what; knows nothing of Ray."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from workers.errors import DecoderHang, LostActors, OutdatedShard, OutOfMemory
from workers.host.retrying import reason

DEATHS = 2  # of actors at one item, after which its images are searched for one that kills its decoder
FAILURES = 6  # of one item, after which the run stops
MEMORY_FAILURES = 3  # of one item for want of memory, after which the run stops or takes smaller batches
PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
MEMORY_PAUSE_S = 5.0  # a neighbour that took the memory may give it back
TWIN_AFTER_S = 10.0  # an item that takes longer than this,
TWIN_AFTER_MEDIANS = 3  # and so many times as long as usual, is also given to an idle actor

Judge = Callable[[Any, Exception], Any]


@dataclass(eq=False)
class Task:
    """An item, and how it has fared.

    Attributes:
        item: what an actor is given.
        deaths: actors that died at it.
        failures: all its failed tries.
        not_before: time before which it is not tried again, seconds on the pool's clock.
        finished: whether its report has been handed out.
    """

    item: Any
    deaths: int = 0
    failures: int = 0
    not_before: float = 0.0
    finished: bool = False


@dataclass(eq=False)
class Queue:
    """Items that wait, those to be tried again first.

    Attributes:
        fresh: items that nobody has had yet.
        judge: is asked about an item whose images may be to blame; gives what to run in its place, or the item itself.
        again: items to be tried again.
        exhausted: whether `fresh` is.
        spent_s: how long each finished item took.
    """

    fresh: Iterator[Any]
    judge: Judge
    again: deque[Task] = field(default_factory=deque)
    exhausted: bool = False
    spent_s: list[float] = field(default_factory=list)

    def next(self, now: float) -> Task | None:
        """The next task, or None if there is none at this time."""
        for task in self.again:
            if task.not_before <= now:
                self.again.remove(task)
                return task
        for item in self.fresh:
            return Task(item)
        self.exhausted = True
        return None

    def put_back(self, task: Task, error: Exception, now: float, *, died: bool = False) -> None:
        """Try an item again after a pause that doubles, or at once what runs in its place.

        Args:
            task: the item, whose try failed.
            error: what it failed of.
            now: the time.
            died: whether its actor's process died while its machine lived.

        Raises:
            OutOfMemory: memory was short too often.
            LostActors: it failed too often and no image is to blame.
        """
        task.failures, task.deaths = task.failures + 1, task.deaths + died
        is_suspect = isinstance(error, DecoderHang | OutdatedShard) or (died and task.deaths % DEATHS == 0)
        item = self.judge(task.item, error) if is_suspect else task.item
        if item != task.item:
            self.again.append(Task(item))
            return
        _give_up_if_hopeless(task, error)
        task.not_before = now + pause(error, task.failures)
        self.again.append(task)

    def is_slow(self, elapsed_s: float) -> bool:
        """Whether an item that has run for so long should be given to an idle actor too."""
        usual_s = median(self.spent_s) if self.spent_s else TWIN_AFTER_S
        return elapsed_s > max(TWIN_AFTER_S, TWIN_AFTER_MEDIANS * usual_s)


@dataclass(eq=False)
class Seat:
    """One actor: getting ready (a future, no task), at work (both), or idle (neither).

    Attributes:
        actor: Ray's handle.
        inside: whether it has the place that the run was promised.
        future: of what it is doing.
        task: what it works on.
        ready: built and checked.
        node: id of the node it is on.
        host: name of that node.
        done: how far it was in its task when last asked.
        poll: the question how far it is, under way.
        asked: when that was asked, seconds on the pool's clock.
        heard: whether it has ever answered; before that it may still wait for room.
        since: when it began what it is doing, seconds on the pool's clock.
        not_before: time before which it does not get ready, seconds on the pool's clock.
    """

    actor: Any
    inside: bool = False
    future: Any = None
    task: Task | None = None
    ready: bool = False
    node: str = ""
    host: str = ""
    done: int = 0
    poll: Any = None
    asked: float = 0.0
    heard: bool = False
    since: float = 0.0
    not_before: float = 0.0


def pause(error: Exception, failures: int) -> float:
    """Seconds to wait after so many failures, of which the last was of this error."""
    first_s = MEMORY_PAUSE_S if isinstance(error, OutOfMemory) else PAUSE_S
    return min(LONGEST_PAUSE_S, first_s * 2.0 ** (failures - 1))


def longest_alone(seats: Sequence[Seat]) -> Seat | None:
    """The actor that has worked longest on an item that no other one works on too; None if there is none."""
    working = [seat for seat in seats if seat.task and not seat.task.finished]
    alone = [seat for seat in working if sum(other.task is seat.task for other in working) == 1]
    return min(alone, key=lambda seat: seat.since, default=None)


def under_way(seats: Iterable[Seat]) -> int:
    """How much of the items under way is done; of two actors at one item the one that is further counts."""
    done: dict[Task, int] = {}
    for seat in seats:
        if seat.task and not seat.task.finished:
            done[seat.task] = max(done.get(seat.task, 0), seat.done)
    return sum(done.values())


def _give_up_if_hopeless(task: Task, error: Exception) -> None:
    if isinstance(error, OutOfMemory) and task.failures >= MEMORY_FAILURES:
        raise error
    if task.failures >= FAILURES:
        place = f"images {task.item.start} to {task.item.stop}" if hasattr(task.item, "start") else str(task.item)
        raise LostActors(
            f"{place} failed {task.failures} times and no single image is to blame; the last time: {reason(error)}; "
            "the same command resumes the run"
        ) from error
