"""A Ray to run actors on. Takes a device and threads, joins the Ray around us or starts one here; says how many actors fit.

It imports torch only where a device of this machine is asked for: a submitted run that waits for its place stays small.
"""

import math
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, ModuleType

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from jobs.ray import joining, line
from workers.errors import UsageError
from workers.spec.parts import ResourcesSpec

# Seconds that a cluster which grows by itself may take to bring nodes, set by its operator; 0 where none come.
PATIENCE = "DECONVOY_WAIT_FOR_NODES_S"


@contextmanager
def session() -> Iterator[None]:
    """Whatever Ray is begun inside ends with it; SIGTERM is a KeyboardInterrupt, so that actors end then too."""
    ours = not ray.is_initialized()
    with _terminable():
        try:
            yield
        finally:
            if ours:
                ray.shutdown()


def place() -> PlacementGroup | None:
    """The placement group that holds the run's first actor, in its bundle 0; None where nothing was waited for."""
    held = line.held()
    return held.group if held and held.kind != line.ON_HEAD else None


def bundle(device: str, threads: int) -> dict[str, float]:
    """Ray's resources of one actor."""
    return {"CPU": float(threads)} | ({"GPU": 1.0} if device == "cuda" else {})


def resolve_device(asked: str) -> str:
    """The device a run will use: cpu or cuda.

    Raises:
        UsageError: cuda is asked for and there is none, nor will one come.
    """
    held = line.held()
    if held and held.kind != line.ON_HEAD:
        return held.kind
    if asked == "cpu":
        return "cpu"
    has_gpu = _has_gpu()
    if asked == "cuda" and not has_gpu and not (seconds(PATIENCE, 0) and join()):
        where = "the Ray cluster has no GPU" if join() else f"torch {_torch().__version__} sees none here"
        raise UsageError(f"device 'cuda' is asked for, but {where}; give --device cpu")
    return "cuda" if has_gpu or asked == "cuda" else "cpu"


def places(device: str, threads: int) -> int:
    """How many actors fit on all nodes when nothing else runs: one per GPU, or one per `threads` CPUs."""
    if not join():
        return _fitting({"CPU": cpus(), "GPU": _gpus() if device == "cuda" else 0}, device, threads)
    return sum(_fitting(node["Resources"], device, threads) for node in ray.nodes() if node["Alive"])


def staffing(resources: ResourcesSpec, device: str) -> int:
    """How many actors to begin with: as many as are asked for and as there is room for now, but at least one.

    Raises:
        UsageError: the cluster could not hold as many as are asked for, or none at all.
    """
    require_capacity(resources, device)
    return max(1, room(resources, device))


def require_capacity(resources: ResourcesSpec, device: str) -> None:
    """Refuse a run that the cluster could not hold even if it ran nothing else.

    Raises:
        UsageError: it could not hold as many actors as are asked for, or none at all.
    """
    fitting, threads = places(device, resources.threads), resources.threads
    wanted = 1 if resources.actors == "auto" or resources.fewer else resources.actors
    if fitting < wanted:
        needs = f"{threads} CPU{'s' if threads > 1 else ''}" + (" and a GPU" if device == "cuda" else "")
        place = "the cluster" if join() else "this machine"
        fewer = "use --fewer (fewer = true under [resources]) to run with those, or " if fitting else ""
        raise UsageError(
            f"actors = {resources.actors}, with {needs} each: {place} fits {fitting}; {fewer}ask for fewer threads"
        )


def grow(resources: ResourcesSpec, device: str, say: Callable[[str], None]) -> None:
    """Have a cluster that grows by itself bring the nodes that are asked for, and wait; whether they came `staffing` sees.

    A placement group is what Ray's autoscaler looks at, and unlike a request of resources it ends with this process.
    """
    wanted = 1 if resources.actors == "auto" else resources.actors
    patience_s = seconds(PATIENCE, 0)
    if not patience_s or not join() or places(device, resources.threads) >= wanted:
        return
    say(f"waiting for nodes for {wanted} actor{'s' if wanted > 1 else ''}")
    group = placement_group([bundle(device, resources.threads)] * (wanted - (place() is not None)))
    try:
        group.wait(patience_s)
    finally:
        remove_placement_group(group)


def room(resources: ResourcesSpec, device: str) -> int:
    """How many actors this run can have now, at most as many as it asks for: its own, and those that fit beside them.

    Free room belongs to the runs that wait in line, if there are any.

    Raises:
        UsageError: RAY_ADDRESS does not name a cluster that can be joined from here.
        RayError: the cluster does not answer.
    """
    fitting = _ours() + _free(device, resources.threads) if join() else places(device, resources.threads)
    return fitting if resources.actors == "auto" else min(resources.actors, fitting)


def seconds(name: str, default: int) -> float:
    """A number of seconds from the environment.

    Raises:
        UsageError: it is not one.
    """
    value = os.environ.get(name, str(default))
    if not (value.isascii() and value.isdecimal()):
        raise UsageError(f"{name}={value} is not a whole number of seconds")
    return float(value)


def _ours() -> int:
    """How many actors this driver runs; its place counts as one even while its actor is replaced.

    Raises:
        RayError: the cluster does not answer.
    """
    job = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
    alive = ray._private.state.actors(job_id=job, actor_state_name="ALIVE")
    return max(len(alive), int(place() is not None))


def _free(device: str, threads: int) -> int:
    """How many actors fit into the room that is free now; none while runs wait in line for it.

    Raises:
        RayError: the cluster does not answer.
    """
    if line.is_waited_for(device):
        return 0
    return sum(_fitting(free, device, threads) for free in ray._private.state.available_resources_per_node().values())


def join() -> bool:
    """Join the Ray cluster that RAY_ADDRESS names, if it names one; gives whether we are in a Ray.

    Raises:
        UsageError: it does not name a cluster that can be joined from here.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    if ray.is_initialized() or not address or address == "local":
        return bool(ray.is_initialized())
    if "://" in address:
        what = "a Ray Client" if address.startswith("ray://") else "a Ray dashboard"
        raise UsageError(
            f"RAY_ADDRESS={address} is the address of {what}, which only jobs are submitted to: use `deconvoy submit "
            "--address http://head:8265`, or unset RAY_ADDRESS to work on this machine"
        )
    joining.join(address)
    return True


def is_shared() -> bool:
    """Whether other runs may use the Ray around us: RAY_ADDRESS names it.

    Raises:
        UsageError: it does not name a cluster that can be joined from here.
    """
    return os.environ.get("RAY_ADDRESS", "") not in ("", "local") and join()


def start(device: str) -> None:
    """Join the cluster around us, or start Ray on this machine.

    Raises:
        RunStopped: Ray does not start.
    """
    if join():
        return
    joining.begin(cpus(), _gpus() if device == "cuda" else 0)


def cpus() -> int:
    """CPUs that this process may use: its affinity, and the container's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        allowed = min(allowed, math.ceil(int(quota) / int(period)))
    return max(allowed, 1)


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


@contextmanager
def _terminable() -> Iterator[None]:
    if not _in_main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's signature
    raise KeyboardInterrupt


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
