"""A worker beside Ray. Takes what makes a plain worker, gives an actor that runs it; tells what a failed call means."""

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import ray
import torch
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)
from ray.util.metrics import Counter
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from workers.actors.job import Environment
from workers.actors.shard import ShardReport, log_fields
from workers.errors import DeconvoyError, MemoryTaken, OutOfMemory, RunStopped
from workers.host import log, memory
from workers.host.log import Log
from workers.host.retrying import reason

OURS = 0.5  # share of a machine's used memory above which a run's actors there are to blame themselves
LOST = (RayActorError, WorkerCrashedError, NodeDiedError, ObjectLostError)


class Worker(Protocol):
    """What an actor runs: one item at a time, nothing kept between items."""

    @property
    def done(self) -> int:
        """How far the item under way is."""

    def check(self) -> Environment:
        """Prove that this node can do the work, and say what software it runs."""

    def run(self, item: Any) -> Any:  # noqa: ANN401 - each worker has its own items and reports
        """Do one item."""


MakeWorker = Callable[[], Worker]


class Actor:
    """A worker beside Ray, built in `prepare` and not in the constructor, so that its errors travel like any other."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._node = ""
        self._log = Log()
        self._images = Counter("deconvoy_images", "Images that were used.")
        self._rejects = Counter("deconvoy_rejects", "Images that could not be used.", tag_keys=("reason",))
        self._seconds = Counter("deconvoy_actor_seconds", "Time of actors.", tag_keys=("kind",))

    def prepare(self, make: MakeWorker, carried: Mapping[str, object], form: str) -> tuple[Environment, str]:
        """Build the worker and check it; gives what it runs on and the id of its node.

        Args:
            make: builds the worker.
            carried: what every line of its log carries.
            form: of the log.
        """
        log.set_up(form)
        self._worker = None  # frees the last pass's network before the next one is built
        self._worker = make()
        found = self._worker.check()
        node = ray.get_runtime_context().get_node_id()
        self._node = found.node
        self._log = Log({**carried, "node": found.node, "node_id": node})
        self._log.say(f"{type(self._worker).__name__} is ready", device=found.device)
        return found, node

    def run(self, item: Any) -> Any:  # noqa: ANN401 - each worker has its own items and reports
        """Do one item."""
        assert self._worker is not None  # noqa: S101 - the pool gives no work to an actor that is not ready
        began, here = time.monotonic(), self._log.to(**log_fields(item))
        try:
            report = self._worker.run(item)
        except Exception as error:
            here.say(f"{type(error).__name__}: {error}", log.ERROR)
            if _is_out_of_memory(error):
                raise OutOfMemory(f"out of memory on {self._node}: {memory.now()}{_on_gpu()}") from error
            raise
        told = f"shard {next(iter(log_fields(item).values()))} is done"
        here.to(**counts(report)).say(told, seconds=round(time.monotonic() - began, 3))
        if isinstance(report, ShardReport):
            self._count(report)
        return report

    def _count(self, report: ShardReport) -> None:
        """Add a finished item to the numbers that Ray gives to Prometheus."""
        if report.images:
            self._images.inc(report.images)
        for why, count in report.rejects.items():
            self._rejects.inc(count, tags={"reason": why})
        waits = {"decode": report.wait_s, "store": report.store_s}
        for kind, seconds in (waits | {"compute": report.seconds - sum(waits.values())}).items():
            if seconds > 0:
                self._seconds.inc(seconds, tags={"kind": kind})

    @ray.method(concurrency_group="progress")  # type: ignore[untyped-decorator]
    def done(self) -> int:
        """How far the item under way is; answered while it runs."""
        return self._worker.done if self._worker else 0


def counts(report: object) -> dict[str, object]:
    """What a log's line about finished work carries: images, and rejects by reason."""
    return {name: getattr(report, name) for name in ("images", "rejects") if hasattr(report, name)}


def hire(place: Any = None, **options: Any) -> Any:  # noqa: ANN401 - Ray's options, Ray's handle
    """Begin an actor; Ray puts it where there is room.

    Args:
        place: placement group whose one bundle it takes; None: anywhere.
        options: of Ray.
    """
    if place is not None:
        options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(place, placement_group_bundle_index=0)
    return ray.remote(concurrency_groups={"progress": 1})(Actor).options(**options).remote()


def answer(poll: Any) -> tuple[bool, int | None]:  # noqa: ANN401 - Ray's future
    """Whether an actor has answered how far it is, and how far; a dead one answers with nothing."""
    if not ray.wait([poll], timeout=0)[0]:
        return False, None
    try:
        return True, int(ray.get(poll))
    except RayError:
        return True, None


def value(future: Any, beside: int = 1) -> Any:  # noqa: ANN401 - whatever the actor's method returns
    """The result of a future; a worker's own error comes as it was raised.

    Args:
        future: of an actor.
        beside: how many actors of the run are on its node, itself among them.

    Raises:
        DeconvoyError: the worker raised it.
        OutOfMemory: Ray ended the actor because its machine was short of memory.
        RunStopped: Ray itself failed.
    """
    try:
        return ray.get(future)
    except LOST:
        raise
    except RayTaskError as error:
        if isinstance(error.cause, DeconvoyError):
            raise error.cause from error
        if _is_out_of_memory(error.cause):  # while it was getting ready
            raise OutOfMemory(f"out of memory: {reason(error.cause)}") from error
        raise
    except OutOfMemoryError as error:
        raise short_of_memory(str(error), beside) from error
    except RayError as error:
        raise RunStopped(f"Ray failed: {reason(error)}; the same command resumes the run") from error


def short_of_memory(text: str, beside: int) -> OutOfMemory:
    """Ray's pages about an actor that it ended because a machine was short of memory, in one line.

    Args:
        text: what Ray says.
        beside: how many actors of the run are on that machine; they are taken to be of one size.

    Returns:
        MemoryTaken where the actors together held less than half of what was used.
    """
    node = re.search(r"was ([\d.]+)GB used / ([\d.]+)GB", text)
    ours = re.search(r"actual memory used=([\d.]+)GB", text)
    if not node or not ours:
        return OutOfMemory(f"out of memory: {text.splitlines()[0]}")
    actor, used, total = float(ours[1]), float(node[1]), float(node[2])
    line = f"out of memory, Ray ended an actor: it used {actor:.1f} GB, {total - used:.1f} of {total:.1f} GB were free"
    if actor * beside >= OURS * used:
        return OutOfMemory(line)
    return MemoryTaken(f"{line}; other processes hold the rest")


def _on_gpu() -> str:
    """Memory of this process's GPU, if it has one."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return ""
    free, total = torch.cuda.mem_get_info()
    return f"; on the GPU {free / 1e9:.1f} of {total / 1e9:.1f} GB were free"


def _is_out_of_memory(error: object) -> bool:
    """Whether memory was short: Python's, the GPU's, or (a plain RuntimeError in torch) the CPU allocator's."""
    on_cpu = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return on_cpu or isinstance(error, MemoryError | torch.OutOfMemoryError)


def is_alive(node: str) -> bool:
    """Whether the machine still is there: an actor that went down with it does not count against its item."""
    return any(each["NodeID"] == node and each["Alive"] for each in ray.nodes())
