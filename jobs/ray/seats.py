"""The state of a pool: items that wait, and actors. Takes items and results of tries, gives the next task; imports no Ray."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from workers.errors import LostActors, OutdatedShard, OutOfMemory, ReaderCrash, SuspectImages
from workers.host.retrying import reason

DEATHS = (
    2  # deaths of actors or readers at one item, after which its images are searched for one that crashes its decoder
)
FAILURES = 6  # failures of one item, after which the run stops
MEMORY_FAILURES = 3  # failures of one item for lack of memory, after which the run stops or uses smaller batches
PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
MEMORY_PAUSE_S = 5.0  # another process that took the memory may release it
TWIN_AFTER_S = 10.0  # an idle actor also gets an item that has run longer than this
TWIN_AFTER_MEDIANS = 3  # and longer than so many times the median

FAILED = (SuspectImages, OutOfMemory, OutdatedShard)  # errors of an item that is tried again

Judge = Callable[[Any, Exception], Any]


@dataclass(eq=False)
class Task:
    """An item and its history.

    Attributes:
        item: the input of the actor's `run`.
        deaths: number of actors that died at it.
        failures: number of its failed tries, deaths included.
        not_before: earliest time of the next try, seconds on the pool's clock.
        finished: whether its report has been returned.
    """

    item: Any
    deaths: int = 0
    failures: int = 0
    not_before: float = 0.0
    finished: bool = False


@dataclass(eq=False)
class Queue:
    """Items that wait. Retries come first.

    Attributes:
        new: items that no actor has had yet.
        judge: called with an item whose images may have caused its error, and the error; returns the item to run instead, or
            the same item.
        retries: tasks to be retried.
        exhausted: whether `new` is exhausted.
        spent_s: seconds that each finished item took.
    """

    new: Iterator[Any]
    judge: Judge
    retries: deque[Task] = field(default_factory=deque)
    exhausted: bool = False
    spent_s: list[float] = field(default_factory=list)

    def next(self, now: float) -> Task | None:
        """The next task; None if none is due."""
        for task in self.retries:
            if task.not_before <= now:
                self.retries.remove(task)
                return task
        for item in self.new:
            return Task(item)
        self.exhausted = True
        return None

    def put_back(self, task: Task, error: Exception, now: float, *, died: bool = False) -> None:
        """Retry a failed item after a pause that doubles; an item that replaces it runs without a pause.

        Args:
            task: the failed task.
            error: its error.
            now: the time.
            died: whether its actor's process died while the node stayed alive; a crashed reader counts as much.

        Raises:
            OutOfMemory: the item ran out of memory too often.
            LostActors: the item failed too often and no image is to blame.
        """
        died = died or isinstance(error, ReaderCrash)
        task.failures, task.deaths = task.failures + 1, task.deaths + died
        is_hang = isinstance(error, SuspectImages) and not died
        is_suspect = is_hang or isinstance(error, OutdatedShard) or (died and task.deaths % DEATHS == 0)
        item = self.judge(task.item, error) if is_suspect else task.item
        if item != task.item:
            self.retries.append(Task(item))
            return
        _give_up_if_hopeless(task, error)
        task.not_before = now + pause_after(error, task.failures)
        self.retries.append(task)

    def is_slow(self, elapsed_s: float) -> bool:
        """Whether an item that has run for so long should also be given to an idle actor."""
        usual_s = median(self.spent_s) if self.spent_s else TWIN_AFTER_S
        return elapsed_s > max(TWIN_AFTER_S, TWIN_AFTER_MEDIANS * usual_s)


@dataclass(eq=False)
class Seat:
    """One actor: preparing (a future, no task), working (both), or idle (neither).

    Attributes:
        actor: Ray's handle.
        in_place: whether it occupies the place that the run holds.
        future: future of its current call.
        task: its current task.
        ready: whether it is built and checked.
        node: id of its node.
        host: name of its node.
        done: how much of its task was done at its last answer.
        poll: future of a call for its progress.
        polled_at: time of that call, seconds on the pool's clock.
        has_answered: whether it has ever answered such a call; before that it may still wait for room.
        started: start of its current call, seconds on the pool's clock.
        not_before: earliest time to prepare it, seconds on the pool's clock.
    """

    actor: Any
    in_place: bool = False
    future: Any = None
    task: Task | None = None
    ready: bool = False
    node: str = ""
    host: str = ""
    done: int = 0
    poll: Any = None
    polled_at: float = float("-inf")
    has_answered: bool = False
    started: float = 0.0
    not_before: float = 0.0

    @property
    def is_placed(self) -> bool:
        """Whether a node has had room for the actor."""
        return self.ready or self.has_answered


def pause_after(error: Exception, failures: int) -> float:
    """Seconds to wait after so many failures; the last one raised this error."""
    first_s = MEMORY_PAUSE_S if isinstance(error, OutOfMemory) else PAUSE_S
    return min(LONGEST_PAUSE_S, first_s * 2.0 ** (failures - 1))


def longest_alone(seats: Sequence[Seat]) -> Seat | None:
    """The actor that has worked longest on an item that no other actor has; None if there is none."""
    working = [seat for seat in seats if seat.task and not seat.task.finished]
    alone = [seat for seat in working if sum(other.task is seat.task for other in working) == 1]
    return min(alone, key=lambda seat: seat.started, default=None)


def count_in_progress(seats: Iterable[Seat]) -> int:
    """How much of the current items is done. If two actors have the same item, the one that is further counts."""
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
            f"{place} failed {task.failures} times, and no single image is to blame; the last error: {reason(error)}; "
            "the same command resumes the run"
        ) from error
