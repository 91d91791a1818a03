"""What a pool keeps in mind. Takes items and actors' handles, says what is next and who is doing what; knows nothing of Ray."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

DEATHS = 2  # of one item's actors, until the item is to blame


@dataclass(eq=False)
class Task:
    """An item, and how many actors have died of it."""

    item: Any
    deaths: int = 0


@dataclass(eq=False)
class Queue:
    """Items that wait, those to be tried again first."""

    fresh: Iterator[Any]
    poison: Callable[[Any], Any]
    again: deque[Task] = field(default_factory=deque)
    exhausted: bool = False

    def next(self) -> Task | None:
        """The next task, or None if there is none now."""
        if self.again:
            return self.again.popleft()
        for item in self.fresh:
            return Task(item)
        self.exhausted = True
        return None

    def put_back(self, task: Task) -> None:
        """Try an item again, or what is to run in its place if it has killed too often."""
        self.again.append(task if task.deaths < DEATHS else Task(self.poison(task.item)))


@dataclass(eq=False)
class Seat:
    """One actor: getting ready (a future, no task), at work (both), or idle (neither).

    Attributes:
        actor: Ray's handle.
        future: of what it is doing.
        task: what it works on.
        ready: built and checked.
        node: id of the node it is on.
        host: name of that node.
        done: how far it was in its task when last asked.
        poll: the question how far it is, under way.
        since: when it was asked to get ready, on the monotonic clock.
        in_place: it is the actor that the run's place on the cluster is for; one that replaces it is too.
    """

    actor: Any
    future: Any = None
    task: Task | None = None
    ready: bool = False
    node: str = ""
    host: str = ""
    done: int = 0
    poll: Any = None
    since: float = 0.0
    in_place: bool = False
