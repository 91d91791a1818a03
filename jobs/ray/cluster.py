"""The Ray cluster of a run. Takes a device and threads, joins a cluster or starts Ray here; gives the number of actors that fit.

It imports torch only to look for a GPU on this machine, so that a submitted run that waits for its place uses little memory.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from types import ModuleType

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from jobs.ray import joining, line
from jobs.ray.head_watch import watch_head
from jobs.watch import Watcher
from workers.errors import UsageError
from workers.host import ending, processors
from workers.spec.parts import ResourcesSpec

# Environment variable of an autoscaling cluster: seconds that it may take to add nodes; 0 if it adds none.
PATIENCE = "DECONVOY_WAIT_FOR_NODES_S"


@contextmanager
def session(watch: Watcher) -> Iterator[None]:
    """Shut down Ray at the end, if it was started inside. SIGTERM raises KeyboardInterrupt, so that actors end then too.

    `watch` reports a cluster whose head does not respond; see `head_watch`.
    """
    is_own = not ray.is_initialized()
    with ending.terminable(), watch_head(watch) if is_own else nullcontext():
        try:
            yield
        finally:
            if is_own:
                # Ray ends the process without a message if anything uses it after a shutdown that was interrupted.
                ending.whole(ray.shutdown)


def place() -> PlacementGroup | None:
    """The placement group whose bundle 0 holds the run's first actor; None if the run did not wait for a place."""
    held = line.held_place()
    return held.group if held and held.kind != line.ON_HEAD else None


def bundle(device: str, threads: int) -> dict[str, float]:
    """Ray's resources for one actor."""
    return {"CPU": float(threads)} | ({"GPU": 1.0} if device == "cuda" else {})


def resolve_device(requested: str) -> str:
    """The device a run will use: cpu or cuda.

    Raises:
        UsageError: cuda is requested, but there is no GPU and none can be added.
    """
    held = line.held_place()
    if held and held.kind != line.ON_HEAD:
        return held.kind
    if requested == "cpu":
        return "cpu"
    has_gpu = _has_gpu()
    if requested == "cuda" and not has_gpu and not (seconds(PATIENCE, 0) and join()):
        problem = (
            "the Ray cluster has no GPU" if join() else f"torch {_torch().__version__} finds no GPU on this machine"
        )
        raise UsageError(f"device 'cuda' is requested, but {problem}; give --device cpu")
    return "cuda" if has_gpu or requested == "cuda" else "cpu"


def capacity(device: str, threads: int) -> int:
    """How many actors fit on all nodes if nothing else runs: one per GPU, or one per `threads` CPUs."""
    if not join():
        return _fitting({"CPU": processors.cpus(), "GPU": _gpus() if device == "cuda" else 0}, device, threads)
    return sum(_fitting(node["Resources"], device, threads) for node in ray.nodes() if node["Alive"])


def initial_actors(resources: ResourcesSpec, device: str) -> int:
    """How many actors to start with: as many as are requested and fit now, but at least one.

    Raises:
        UsageError: see `require_capacity`.
    """
    require_capacity(resources, device)
    return max(1, available_actors(resources, device))


def expected_actors(resources: ResourcesSpec, device: str) -> int:
    """How many actors a run would start with. An autoscaling cluster counts as large enough: it may have no node now.

    Raises:
        UsageError: see `require_capacity`.
    """
    if seconds(PATIENCE, 0) and join():
        return max(1, available_actors(resources, device)) if resources.actors == "auto" else resources.actors
    return initial_actors(resources, device)


def require_capacity(resources: ResourcesSpec, device: str) -> None:
    """Refuse a run that does not fit on the cluster even if nothing else runs there.

    Raises:
        UsageError: fewer actors fit than are requested, or none.
    """
    fitting, threads = capacity(device, resources.threads), resources.threads
    wanted = 1 if resources.actors == "auto" or resources.fewer else resources.actors
    if fitting < wanted:
        needs = f"{threads} CPU{'s' if threads > 1 else ''}" + (" and a GPU" if device == "cuda" else "")
        place = "the cluster" if join() else "this machine"
        fewer = (
            "use --fewer (fewer = true under [resources]) to run with those, or request fewer actors" if fitting else ""
        )
        smaller = "request fewer threads" if threads > 1 else ""
        advice = ", or ".join(filter(None, (fewer, smaller))) or f"add {'GPUs' if device == 'cuda' else 'CPUs'}"
        raise UsageError(f"actors = {resources.actors}, with {needs} each: {place} has room for {fitting}; {advice}")


def grow(resources: ResourcesSpec, device: str, say: Callable[[str], None]) -> None:
    """Let an autoscaling cluster add the nodes that are requested, and wait for them; `initial_actors` sees what was added.

    Ray's autoscaler acts on placement groups. Unlike a request for resources, a placement group ends with this process.
    """
    wanted = 1 if resources.actors == "auto" else resources.actors
    patience_s = seconds(PATIENCE, 0)
    if not patience_s or not join() or capacity(device, resources.threads) >= wanted:
        return
    say(f"waiting for nodes for {wanted} actor{'s' if wanted > 1 else ''}")
    group = placement_group([bundle(device, resources.threads)] * (wanted - (place() is not None)))
    try:
        group.wait(patience_s)
    finally:
        remove_placement_group(group)


def available_actors(resources: ResourcesSpec, device: str) -> int:
    """How many actors this run can have now, at most as many as it requests: its own, and those that fit into free room.

    If other runs wait in line, the free room is theirs.

    Raises:
        UsageError: RAY_ADDRESS does not name a cluster that can be joined from here.
        RayError: the cluster does not answer.
    """
    fitting = _own_actors() + _free(device, resources.threads) if join() else capacity(device, resources.threads)
    return fitting if resources.actors == "auto" else min(resources.actors, fitting)


def seconds(name: str, default: int) -> float:
    """A number of seconds from the environment.

    Raises:
        UsageError: the value is not a whole number.
    """
    value = os.environ.get(name, str(default))
    if not (value.isascii() and value.isdecimal()):
        raise UsageError(f"{name}={value} is not a whole number of seconds")
    return float(value)


def _own_actors() -> int:
    """How many actors this driver runs or starts. Its place counts as one even while the actor there is replaced.

    An actor that starts holds its room already, and may import torch for a minute. One that waits for room has no process.

    Raises:
        RayError: the cluster does not answer.
    """
    job = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
    actors = ray._private.state.actors(job_id=job).values()
    own = [actor for actor in actors if actor["State"] in ("ALIVE", "PENDING_CREATION") and actor["Pid"]]
    return max(len(own), int(place() is not None))


def _free(device: str, threads: int) -> int:
    """How many actors fit into the room that is free now; none while runs wait in line.

    Raises:
        RayError: the cluster does not answer.
    """
    if line.has_waiting_runs(device):
        return 0
    return sum(_fitting(free, device, threads) for free in ray._private.state.available_resources_per_node().values())


def join() -> bool:
    """Join the Ray cluster that RAY_ADDRESS names, if any; returns whether this process is connected to Ray.

    Raises:
        UsageError: it does not name a cluster that can be joined from here.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    if ray.is_initialized() or not address or address == "local":
        return bool(ray.is_initialized())
    if "://" in address:
        is_client = address.startswith("ray://")
        kind = (
            "Ray Client address, which is not supported"
            if is_client
            else "Ray dashboard, which only accepts submitted jobs"
        )
        raise UsageError(
            f"RAY_ADDRESS={address} is a {kind}: use `deconvoy submit --address http://head:8265`, or unset RAY_ADDRESS to "
            "work on this machine"
        )
    joining.join(address)
    return True


def is_shared() -> bool:
    """Whether other runs may use the same Ray cluster, which is the case if RAY_ADDRESS names it.

    Raises:
        UsageError: it does not name a cluster that can be joined from here.
    """
    return os.environ.get("RAY_ADDRESS", "") not in ("", "local") and join()


def start(device: str) -> None:
    """Join the cluster that RAY_ADDRESS names, or start Ray on this machine.

    Raises:
        RunStopped: Ray does not start.
    """
    if join():
        return
    joining.start(processors.cpus(), _gpus() if device == "cuda" else 0)


def measure_start(device: str) -> float:
    """Seconds to start a Ray on this machine and to end it, as a run does; 0 if there is a cluster already.

    Raises:
        RunStopped: Ray does not start.
    """
    if join():
        return 0.0
    began = time.monotonic()
    try:
        start(device)
    finally:
        ending.whole(ray.shutdown)
    return time.monotonic() - began


def _has_gpu() -> bool:
    if join():
        return any(node["Resources"].get("GPU", 0) >= 1 for node in ray.nodes() if node["Alive"])
    return bool(_torch().cuda.is_available())


def _gpus() -> int:
    return int(_torch().cuda.device_count())


def _torch() -> ModuleType:
    import torch

    return torch


def _fitting(resources: Mapping[str, float], device: str, threads: int) -> int:
    fitting = int(resources.get("CPU", 0)) // threads
    return min(fitting, int(resources.get("GPU", 0))) if device == "cuda" else fitting
