"""The line of runs that share a cluster. Takes what one actor needs, gives a place that holds it, in order of submission.

Ray gives freed room to any placement group that waits for it. So a run takes a ticket when it arrives, and asks for its place
once no earlier run is waiting. A ticket is a placement group too, of next to nothing: every driver sees it in Ray's own table,
and it disappears with the process that took it, however that ends.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace

import ray
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group

from workers.errors import NoPlace

HEAD = "node:__internal_head__"  # Ray gives the head node of every cluster 1 of it
TICKET = {HEAD: 0.0001}  # the smallest share that Ray counts
ON_HEAD = "head"  # the kind of a place on the head node for a run without actors
PREFIX = "deconvoy"
LOOK_S, SLOWEST_LOOK_S = 1.0, 10.0  # the first in line looks every second, later ones less often
NAMED = 2  # runs that a message names


@dataclass(frozen=True)
class Wanted:
    """What a run waits for.

    Attributes:
        run: its id.
        submitted: when it was submitted, UTC, ISO 8601.
        kind: cpu, cuda or head; each kind of room has a line of its own.
        bundle: Ray's resources that the place holds.
        what: the same in words, such as `a GPU`.
        limit_s: how long the run may wait, in seconds.
        at_once: ask for the place whoever else waits, so that a cluster that grows sees all demand.
    """

    run: str
    submitted: str
    kind: str
    bundle: dict[str, float]
    what: str
    limit_s: float
    at_once: bool = False


@dataclass(frozen=True)
class _Entry:
    """A ticket or a place, as the name of its placement group shows it to every driver of the cluster."""

    role: str  # ticket or place
    kind: str
    since: str  # sorts by submission
    run: str

    def __str__(self) -> str:
        return " ".join((PREFIX, self.role, self.kind, self.since, self.run))


class _ChangedLines:
    """Reports a line only when it changes."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self.last = say, ""

    def __call__(self, line: str) -> None:
        if line != self.last:
            self.last = line
            self._say(line)


@dataclass(frozen=True)
class Held:
    """The place that this process holds: of which kind, and Ray's handle."""

    kind: str
    group: PlacementGroup


_held: Held | None = None


def held() -> Held | None:
    """The place that this process holds, if any."""
    return _held


@contextmanager
def place(wanted: Wanted, say: Callable[[str], None], check: Callable[[], None]) -> Iterator[None]:
    """Wait in line for a place, and hold it until the end of the block.

    Args:
        wanted: what is waited for.
        say: receives a line for a person whenever it changes.
        check: is called before each look; raises if waiting longer cannot help.

    Raises:
        NoPlace: there was no place within the limit.
    """
    global _held
    ticket = _Entry("ticket", wanted.kind, f"{wanted.submitted}/{_driver()}", wanted.run)
    with ExitStack() as stack:
        with _group(ticket, TICKET):
            _held = Held(wanted.kind, _wait(ticket, wanted, _ChangedLines(say), check, stack))
        try:
            yield
        finally:
            _held = None


def is_waited_for(kind: str) -> bool:
    """Whether runs wait for room of this kind: what becomes free is theirs."""
    return any(entry.role == "ticket" and entry.kind == kind for entry in _entries())


def _wait(
    ticket: _Entry, wanted: Wanted, say: _ChangedLines, check: Callable[[], None], stack: ExitStack
) -> PlacementGroup:
    """Ask for the place when it is this run's turn, on the stack; gives it when Ray has placed it."""
    began, group = time.monotonic(), None
    while True:
        waited_s = time.monotonic() - began
        check()
        entries = _entries()
        ahead = [entry for entry in entries if _is_ahead(entry, ticket)]
        if ahead and not wanted.at_once:  # of an earlier run that came later
            stack.pop_all().close()
            group = None
        elif group is None:
            group = stack.enter_context(_group(replace(ticket, role="place"), wanted.bundle))
        if group is not None and group.wait(LOOK_S):
            if say.last:
                say("the cluster has room; the run starts")
            return group
        say(_message(wanted, entries, len(ahead)))
        if waited_s > wanted.limit_s:
            raise NoPlace(
                f"no place on the cluster for {wanted.limit_s:.0f} s ({wanted.what}); start it again to resume"
            )
        if group is None:
            time.sleep(min(LOOK_S * (1 + len(ahead)), SLOWEST_LOOK_S))


def _is_ahead(entry: _Entry, ticket: _Entry) -> bool:
    return entry.role == "ticket" and entry.kind == ticket.kind and entry.since < ticket.since


def _message(wanted: Wanted, entries: list[_Entry], ahead: int) -> str:
    """What a run waits for and who holds it."""
    holders = sorted({entry.run for entry in entries if entry.role == "place" and entry.kind == wanted.kind})
    more = f" and {len(holders) - NAMED} more" if len(holders) > NAMED else ""
    runs = f"run{'s' if len(holders) > 1 else ''} {(', ' if more else ' and ').join(holders[:NAMED])}{more}"
    who = f"{runs} hold{'s' if len(holders) == 1 else ''} the cluster" if holders else "other work holds the cluster"
    queue = f"; {ahead} earlier run{'s' if ahead > 1 else ''} waiting" if ahead else ""
    return f"waiting for {wanted.what}: {who}{queue}"


def _entries() -> list[_Entry]:
    """The tickets that are taken and the places that are held, by all drivers of the cluster."""
    entries = []
    for row in placement_group_table().values():
        prefix, _, name = row["name"].partition(" ")
        if prefix == PREFIX and name.count(" ") == len(fields(_Entry)) - 1:
            entry = _Entry(*name.split(" "))
            if row["state"] == "CREATED" or (entry.role == "ticket" and row["state"] != "REMOVED"):
                entries.append(entry)
    return entries


@contextmanager
def _group(entry: _Entry, bundle: dict[str, float]) -> Iterator[PlacementGroup]:
    """A placement group of one bundle, which every driver sees under its entry's name until the end of the block."""
    group = placement_group([bundle], name=str(entry))
    try:
        yield group
    finally:
        remove_placement_group(group)


def _driver() -> str:
    """The number that Ray gave this driver, as a word that sorts."""
    number = int.from_bytes(bytes.fromhex(ray.get_runtime_context().get_job_id()), "little")
    return f"{number:010d}"
