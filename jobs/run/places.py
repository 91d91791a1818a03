"""A run's place on its cluster. Takes a spec, waits for a turn and for nodes, gives a pool of actors."""

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial

from jobs.ray import cluster
from jobs.ray.pool import Pool
from jobs.ray.turn import own_turn
from jobs.watch import Watcher
from workers.spec.parts import NetworkSpec


def wait_for_actors(spec: NetworkSpec, run: str, watch: Watcher, stack: ExitStack) -> int:
    """The number of actors to start with, after waiting for a turn and for an autoscaling cluster to grow."""
    device = spec.resources.device
    if watch.is_dry:
        return cluster.expected_actors(spec.resources, device)
    stack.enter_context(own_turn(spec.resources, run, watch.say))
    cluster.grow(spec.resources, device, watch.say)
    return cluster.initial_actors(spec.resources, device)


def start_pool(actors: int, spec: NetworkSpec, watch: Watcher, run_fields: Mapping[str, object]) -> Pool:
    """A pool of actors on the current Ray cluster, or on a Ray that is started here."""
    device, threads = spec.resources.device, spec.resources.threads
    if not watch.is_dry:
        cluster.start(device)
        watch.say(_describe_actors(actors, device))
    available = partial(cluster.available_actors, spec.resources, device)
    return Pool(actors, device, threads, watch, run_fields, available, place=cluster.place())


def _describe_actors(actors: int, device: str) -> str:
    text = f"{actors} {'GPU' if device == 'cuda' else 'CPU'} actor{'s' if actors > 1 else ''}"
    return text if device == "cuda" else f"{text}: no GPU is used"
