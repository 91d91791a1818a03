"""The queue of runs that share a cluster. Takes the resources of one actor, gives a place that holds them, in submission order.

Ray gives freed room to any placement group that waits for it. So a run takes a ticket when it arrives, and requests its place
once no earlier run is waiting. A ticket is also a placement group, with a negligible share of resources: every driver sees it in
Ray's own table, and it disappears with its process, however that ends.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace

import ray
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group

from workers.errors import NoPlace

HEAD = "node:__internal_head__"  # a resource of which the head node of every Ray cluster has 1
TICKET = {HEAD: 0.0001}  # the smallest share that Ray can represent
ON_HEAD = "head"  # kind of place: on the head node, for a run without actors
PREFIX = "deconvoy"
LOOK_S, SLOWEST_LOOK_S = 1.0, 10.0  # the first run in line checks every second, later ones less often
NAMED_RUNS = 2  # how many runs a message names


@dataclass(frozen=True)
class PlaceRequest:
    """A run's request for a place.

    Attributes:
        run: id of the run.
        submitted: when the run was submitted, UTC, ISO 8601.
        kind: cpu, cuda or head; each kind has its own line.
        bundle: Ray's resources that the place holds.
        what: the same in words, such as `a GPU`.
        limit_s: how long the run may wait, in seconds.
        at_once: request the place even if earlier runs wait, so that an autoscaling cluster sees the whole demand.
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
    """A ticket or a place, encoded in the name of its placement group, which every driver of the cluster sees."""

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
class HeldPlace:
    """The place that this process holds: its kind, and Ray's handle."""

    kind: str
    group: PlacementGroup


_held: HeldPlace | None = None


def held_place() -> HeldPlace | None:
    """The place that this process holds, if any."""
    return _held


@contextmanager
def place(request: PlaceRequest, say: Callable[[str], None], check: Callable[[], None]) -> Iterator[None]:
    """Wait in line for a place, and hold it until the end of the block.

    Args:
        request: the place to wait for.
        say: receives a message whenever the reason for waiting changes.
        check: called before each check of the line; raises if waiting longer cannot help.

    Raises:
        NoPlace: no place became free within the limit.
    """
    global _held
    ticket = _Entry("ticket", request.kind, f"{request.submitted}/{_driver()}", request.run)
    with ExitStack() as stack:
        with _group(ticket, TICKET):
            _held = HeldPlace(request.kind, _wait(ticket, request, _ChangedLines(say), check, stack))
        try:
            yield
        finally:
            _held = None


def has_waiting_runs(kind: str) -> bool:
    """Whether runs wait for a place of this kind; freed room is theirs."""
    return any(entry.role == "ticket" and entry.kind == kind for entry in _entries())


def _wait(
    ticket: _Entry, request: PlaceRequest, say: _ChangedLines, check: Callable[[], None], stack: ExitStack
) -> PlacementGroup:
    """Request the place, on the stack, when it is this run's turn; returns it once Ray has placed it."""
    started, group = time.monotonic(), None
    while True:
        waited_s = time.monotonic() - started
        check()
        entries = _entries()
        ahead = [entry for entry in entries if _is_ahead(entry, ticket)]
        if ahead and not request.at_once:  # a run that was submitted earlier may arrive later
            stack.pop_all().close()
            group = None
        elif group is None:
            group = stack.enter_context(_group(replace(ticket, role="place"), request.bundle))
        if group is not None and group.wait(LOOK_S):
            if say.last:
                say("the cluster has room; the run starts")
            return group
        say(_message(request, entries, len(ahead)))
        if waited_s > request.limit_s:
            raise NoPlace(
                f"the cluster had no room for this run within {request.limit_s:.0f} s (it waited for {request.what}); "
                "start the run again to resume it"
            )
        if group is None:
            time.sleep(min(LOOK_S * (1 + len(ahead)), SLOWEST_LOOK_S))


def _is_ahead(entry: _Entry, ticket: _Entry) -> bool:
    return entry.role == "ticket" and entry.kind == ticket.kind and entry.since < ticket.since


def _message(request: PlaceRequest, entries: list[_Entry], ahead: int) -> str:
    """What a run waits for, and which runs hold it."""
    holders = sorted({entry.run for entry in entries if entry.role == "place" and entry.kind == request.kind})
    more = f" and {len(holders) - NAMED_RUNS} more" if len(holders) > NAMED_RUNS else ""
    runs = f"run{'s' if len(holders) > 1 else ''} {(', ' if more else ' and ').join(holders[:NAMED_RUNS])}{more}"
    who = (
        f"{runs} {'is' if len(holders) == 1 else 'are'} using the cluster"
        if holders
        else "other work is using the cluster"
    )
    queue = f"; {ahead} earlier run{'s are' if ahead > 1 else ' is'} waiting" if ahead else ""
    return f"waiting for {request.what}: {who}{queue}"


def _entries() -> list[_Entry]:
    """The tickets and places that all drivers of the cluster hold."""
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
    """A placement group of one bundle, visible to every driver under the entry's name until the end of the block."""
    group = placement_group([bundle], name=str(entry))
    try:
        yield group
    finally:
        remove_placement_group(group)


def _driver() -> str:
    """Ray's number of this driver, padded so that it sorts."""
    number = int.from_bytes(bytes.fromhex(ray.get_runtime_context().get_job_id()), "little")
    return f"{number:010d}"
