"""A run's turn on its cluster. Takes its resources, waits until there is room for its first actor, and keeps that.

Drivers take no CPU, so any number of them may wait; no run begins its work without room for one actor, so none waits for a
room that only runs like itself could free.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from jobs.ray import cluster, line
from jobs.ray.line import Wanted
from workers.spec.parts import ResourcesSpec

LIMIT, LIMIT_S = "DECONVOY_WAIT_FOR_PLACE_S", 86_400  # seconds that a run may wait
HEAD_SHARE = 0.25  # of the head node for a run without actors: four of them at once


@contextmanager
def turn(resources: ResourcesSpec | None, run: str, submitted: str, say: Callable[[str], None]) -> Iterator[None]:
    """On a cluster, wait in line for the room of one actor and hold it during the block; elsewhere do nothing.

    Args:
        resources: of the run; None for a run without actors, which works in its driver, on the head node.
        run: its id.
        submitted: when it was submitted, UTC, ISO 8601: who submits first begins first.
        say: receives a line for a person whenever what is waited for changes.

    Raises:
        UsageError: the cluster is too small for what is asked for.
        NoPlace: there was no room within `DECONVOY_WAIT_FOR_PLACE_S`.
    """
    if not cluster.join():
        yield
        return
    device = cluster.resolve_device(resources.device) if resources else line.ON_HEAD
    check = _capacity_check(resources, device) if resources else lambda: None
    with line.place(_wanted(resources, device, run, submitted), say, check):
        yield


@contextmanager
def own_turn(resources: ResourcesSpec, run: str, say: Callable[[str], None]) -> Iterator[None]:
    """As `turn`, for a run that was not submitted: it joins the line of the cluster that RAY_ADDRESS names when it begins.

    Without such a cluster, or where a place is held already, it does nothing.
    """
    if line.held() is not None or not cluster.is_shared():
        yield
        return
    with turn(resources, run, datetime.now(UTC).isoformat(timespec="milliseconds"), say):
        yield


def _wanted(resources: ResourcesSpec | None, device: str, run: str, submitted: str) -> Wanted:
    limit_s = cluster.seconds(LIMIT, LIMIT_S)
    if resources is None:
        return Wanted(run, submitted, device, {line.HEAD: HEAD_SHARE}, "its turn on the head node", limit_s)
    cpus = "a CPU" if resources.threads == 1 else f"{resources.threads} CPUs"
    what, grows = "a GPU" if device == "cuda" else cpus, cluster.seconds(cluster.PATIENCE, 0) > 0
    return Wanted(run, submitted, device, cluster.bundle(device, resources.threads), what, limit_s, grows)


def _capacity_check(resources: ResourcesSpec, device: str) -> Callable[[], None]:
    """What is called before each look: raises if the cluster is too small, whoever uses it.

    A cluster that does not grow must be large enough for all actors that are asked for, now; one that grows must bring its first
    node in time.
    """
    patience_s, seen = cluster.seconds(cluster.PATIENCE, 0), time.monotonic()
    if not patience_s:
        cluster.require_capacity(resources, device)

    def check() -> None:
        nonlocal seen
        if not patience_s or cluster.places(device, resources.threads):
            seen = time.monotonic()
        elif time.monotonic() - seen > patience_s:
            cluster.require_capacity(resources, device)

    return check
