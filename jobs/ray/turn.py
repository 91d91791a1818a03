"""A run's turn on its cluster. Takes its resources, waits for a place for its first actor, and holds that place.

Drivers reserve no CPU, so any number of them can wait. A run starts its work only with a place for one actor, so runs cannot
block each other by each waiting for room that the others hold.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from jobs.ray import cluster, line
from jobs.ray.line import PlaceRequest
from workers.spec.parts import ResourcesSpec

LIMIT, LIMIT_S = "DECONVOY_WAIT_FOR_PLACE_S", 86_400  # seconds that a run may wait
HEAD_SHARE = 0.25  # share of the head node for a run without actors: at most four at once


@contextmanager
def turn(resources: ResourcesSpec | None, run: str, submitted: str, say: Callable[[str], None]) -> Iterator[None]:
    """On a cluster, wait in line for a place for one actor and hold it during the block; elsewhere do nothing.

    Args:
        resources: the run's resources; None for a run without actors, which works in its driver, on the head node.
        run: run id.
        submitted: when the run was submitted, UTC, ISO 8601. Runs start in this order.
        say: receives a message whenever the reason for waiting changes.

    Raises:
        UsageError: the cluster is too small for the requested resources.
        NoPlace: no place became free within `DECONVOY_WAIT_FOR_PLACE_S`.
    """
    if not cluster.join():
        yield
        return
    device = cluster.resolve_device(resources.device) if resources else line.ON_HEAD
    check = _capacity_check(resources, device) if resources else lambda: None
    with line.place(_place_request(resources, device, run, submitted), say, check):
        yield


@contextmanager
def own_turn(resources: ResourcesSpec, run: str, say: Callable[[str], None]) -> Iterator[None]:
    """Like `turn`, for a run that was not submitted: it joins the line of the cluster that RAY_ADDRESS names when it starts.

    Does nothing without such a cluster, or if this process already holds a place.
    """
    if line.held_place() is not None or not cluster.is_shared():
        yield
        return
    with turn(resources, run, datetime.now(UTC).isoformat(timespec="milliseconds"), say):
        yield


def _place_request(resources: ResourcesSpec | None, device: str, run: str, submitted: str) -> PlaceRequest:
    limit_s = cluster.seconds(LIMIT, LIMIT_S)
    if resources is None:
        return PlaceRequest(run, submitted, device, {line.HEAD: HEAD_SHARE}, "its turn on the head node", limit_s)
    cpus = "a CPU" if resources.threads == 1 else f"{resources.threads} CPUs"
    what, grows = "a GPU" if device == "cuda" else cpus, cluster.seconds(cluster.PATIENCE, 0) > 0
    return PlaceRequest(run, submitted, device, cluster.bundle(device, resources.threads), what, limit_s, grows)


def _capacity_check(resources: ResourcesSpec, device: str) -> Callable[[], None]:
    """A check that raises if the cluster is too small even when nothing else runs there.

    A cluster of fixed size must have room for all requested actors now. An autoscaling cluster must have room for one actor
    within its time limit.
    """
    patience_s, last_room = cluster.seconds(cluster.PATIENCE, 0), time.monotonic()
    if not patience_s:
        cluster.require_capacity(resources, device)

    def check() -> None:
        nonlocal last_room
        if not patience_s or cluster.capacity(device, resources.threads):
            last_room = time.monotonic()
        elif time.monotonic() - last_room > patience_s:
            cluster.require_capacity(resources, device)

    return check
