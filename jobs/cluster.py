"""A Ray to run actors on. Takes a device and threads, joins the Ray around us or starts one here; says how many actors fit."""

import logging
import math
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import ray
import torch
from ray.exceptions import RayError
from ray.util.placement_group import placement_group, remove_placement_group

from workers.errors import UsageError
from workers.spec import ResourcesSpec

# Only shard descriptions pass through the object store; Ray's own choice is a third of the memory.
STORE_BYTES = 128 << 20
DRIVER_CPUS = "DECONVOY_DRIVER_CPUS"  # that Ray Jobs has given to this process, on its node
PATIENCE = (
    "DECONVOY_WAIT_FOR_NODES_S"  # that a cluster which grows by itself may take to bring nodes; its operator says so
)
AGENT = "ray.dashboard.optional_deps"
# Unix allows 107 characters in a socket's path; 'ray/session_<time>_<pid>/sockets/plasma_store' takes 73 of them.
LONGEST_FOLDER = 107 - 73
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - Ray makes its own folder there, as it does by default
QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else Ray warns of a change to come
    "RAY_USAGE_STATS_ENABLED": "0",  # a library does not report its users to anyone
}


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


def resolve_device(asked: str) -> str:
    """The device a run will use: cpu or cuda.

    Raises:
        UsageError: cuda is asked for and there is none, nor will one come.
    """
    if asked == "cpu":
        return "cpu"
    found = _has_gpu()
    if asked == "cuda" and not found and not (_patience_s() and join()):
        where = "the Ray cluster has no GPU" if join() else f"torch {torch.__version__} sees none here"
        raise UsageError(f"device 'cuda' is asked for, but {where}; give --device cpu")
    return "cuda" if found or asked == "cuda" else "cpu"


def places(device: str, threads: int) -> int:
    """How many actors fit on all nodes: one per GPU, or one per `threads` CPUs."""
    if not join():
        return _fitting(cpus(), torch.cuda.device_count() if device == "cuda" else 0, device, threads)
    here, taken = ray.get_runtime_context().get_node_id(), float(os.environ.get(DRIVER_CPUS, "0"))
    nodes = [(node["NodeID"] == here, node["Resources"]) for node in ray.nodes() if node["Alive"]]
    return sum(
        _fitting(found.get("CPU", 0) - (taken if ours else 0), found.get("GPU", 0), device, threads)
        for ours, found in nodes
    )


def staffing(resources: ResourcesSpec, device: str) -> int:
    """How many actors to begin with: as many as are asked for, or as fit where that will do.

    Raises:
        UsageError: fewer fit than are asked for, or none at all.
    """
    fitting, threads = room(resources, device), resources.threads
    wanted = 1 if resources.actors == "auto" or resources.fewer else resources.actors
    if fitting < wanted:
        each = f"{threads} CPU{'s' if threads > 1 else ''}" + (" and a GPU" if device == "cuda" else "")
        raise UsageError(
            f"actors = {resources.actors}, with {each} each: there is room for {fitting}; ask for fewer (--fewer, or "
            "fewer = true under [resources], takes what there is), or for fewer threads"
        )
    return fitting


def grow(resources: ResourcesSpec, device: str, say: Callable[[str], None]) -> None:
    """Have a cluster that grows by itself bring the nodes that are asked for, and wait; whether they came `staffing` sees.

    A placement group is what Ray's autoscaler looks at, and unlike a request of resources it ends with this process.
    """
    wanted = 1 if resources.actors == "auto" else resources.actors
    if not _patience_s() or not join() or places(device, resources.threads) >= wanted:
        return
    say(f"waiting for nodes for {wanted} actor{'s' if wanted > 1 else ''}")
    bundle = {"CPU": resources.threads} | ({"GPU": 1} if device == "cuda" else {})
    group = placement_group([bundle] * wanted)
    try:
        group.wait(_patience_s())
    finally:
        remove_placement_group(group)


def room(resources: ResourcesSpec, device: str) -> int:
    """How many actors fit now, at most as many as are asked for."""
    fitting = places(device, resources.threads)
    return fitting if resources.actors == "auto" else min(resources.actors, fitting)


def join() -> bool:
    """Join the Ray cluster that the environment names, if it names one; gives whether we are in a Ray.

    Raises:
        UsageError: there is no cluster at that address, or it is a Ray Client's.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    if ray.is_initialized() or not address or address == "local":
        return bool(ray.is_initialized())
    if "://" in address:
        raise UsageError(f"RAY_ADDRESS={address} is a Ray Client's; run this inside the cluster, as a Ray job")
    try:
        _init(address="auto")
    except (ConnectionError, RayError) as error:
        raise UsageError(f"no Ray cluster at RAY_ADDRESS={address}: {error}") from error
    return True


def start(device: str) -> None:
    """Join the cluster around us, or start Ray on this machine."""
    if join():
        return
    gpus = torch.cuda.device_count() if device == "cuda" else 0
    with _without_agent():
        _init(
            address="local",
            num_cpus=cpus(),
            num_gpus=gpus,
            include_dashboard=False,
            object_store_memory=STORE_BYTES,
            _temp_dir=folder_for_sockets(),
        )
    _tighten(Path(os.path.expanduser("~/.ray/auth_token")))


def folder_for_sockets() -> str | None:
    """A folder for Ray's sockets where its own choice has too long a name for them; None where it has not.

    Raises:
        UsageError: there is no other one that can be written.
    """
    named = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or tempfile.gettempdir()
    if len(os.fsencode(os.path.abspath(named))) <= LONGEST_FOLDER:
        return None
    for folder in SHORT_FOLDERS:
        if os.access(folder, os.W_OK | os.X_OK):
            return os.path.join(folder, "ray")
    raise UsageError(
        f"the temporary folder {named!r} has too long a name for Ray's sockets: set RAY_TMPDIR to one of at most "
        f"{LONGEST_FOLDER} characters that can be written"
    )


def cpus() -> int:
    """CPUs that this process may use: its affinity, and the container's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        allowed = min(allowed, math.ceil(int(quota) / int(period)))
    return max(allowed, 1)


def _patience_s() -> float:
    """Time to wait for nodes; 0 where none come by themselves.

    Raises:
        UsageError: what the environment says is no number.
    """
    said = os.environ.get(PATIENCE, "0")
    if not said.isdecimal():
        raise UsageError(f"{PATIENCE}={said} is no number of seconds")
    return float(said)


def _has_gpu() -> bool:
    if join():
        return any(node["Resources"].get("GPU", 0) >= 1 for node in ray.nodes() if node["Alive"])
    return torch.cuda.is_available()


def _fitting(cpus: float, gpus: float, device: str, threads: int) -> int:
    fitting = int(cpus) // threads
    return min(fitting, int(gpus)) if device == "cuda" else fitting


def _init(**options: object) -> None:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    handler = signal.getsignal(signal.SIGTERM)
    # Ray prints a raylet's reports to standard output whatever the logging level is, where --json puts its one value.
    ray._private.worker._worker_logs_enabled = False
    ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    if _in_main_thread():
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def _without_agent() -> Iterator[None]:
    """Let Ray take itself for its minimal installation: the dashboard's agent, which nobody asks here, starts for 4 s."""
    before = sys.modules.get(AGENT)
    sys.modules[AGENT] = None  # type: ignore[assignment]  # importing it raises ImportError then
    try:
        yield
    finally:
        del sys.modules[AGENT]
        if before is not None:
            sys.modules[AGENT] = before


def _tighten(token: Path) -> None:
    """Ray writes its access token readable for everyone."""
    with suppress(FileNotFoundError, PermissionError):
        token.chmod(0o600)


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
