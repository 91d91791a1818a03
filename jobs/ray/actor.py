"""A worker on Ray. Takes a function that builds a plain worker, gives an actor that runs it; translates Ray's errors."""

import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import ray
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

from workers.actors.environment import Environment
from workers.actors.reports import ShardReport
from workers.actors.shard import log_fields
from workers.errors import DeconvoyError, MemoryTaken, OutOfMemory, RunStopped
from workers.host import log, memory, processors
from workers.host.log import Log
from workers.host.retrying import reason

OWN_SHARE = 0.5  # share of a machine's used memory from which the run's own actors count as the cause of the shortage
LOST = (RayActorError, WorkerCrashedError, NodeDiedError, ObjectLostError)


class PlainWorker(Protocol):
    """What an actor runs: one item at a time, without state between items."""

    @property
    def done(self) -> int:
        """How much of the current item is done."""

    def check(self) -> Environment:
        """Check that this node can do the work, and return its software and device."""

    def run(self, item: Any) -> Any:  # noqa: ANN401 - each worker has its own items and reports
        """Run one item and return its report."""


MakeWorker = Callable[[], PlainWorker]


class Actor:
    """A worker on Ray. It is built in `prepare`, not in the constructor, so that its errors reach the driver like any other."""

    def __init__(self) -> None:
        self._worker: PlainWorker | None = None
        self._is_working = False
        self._node = ""
        self._log = Log()
        self._images = Counter("deconvoy_images", "Images that were used.")
        self._rejects = Counter("deconvoy_rejects", "Images that could not be used.", tag_keys=("reason",))
        self._seconds = Counter("deconvoy_actor_seconds", "Seconds that actors spent, by kind.", tag_keys=("kind",))

    def prepare(self, make: MakeWorker, run_fields: Mapping[str, object], form: str) -> tuple[Environment, str]:
        """Build the worker and check it; returns its environment and the id of its node.

        Args:
            make: builds the worker.
            run_fields: fields of every line of its log.
            form: format of the log.
        """
        log.set_up(form)
        self._worker = None  # frees the previous pass's network before the next one is built
        if "workers.actors.engine" in sys.modules:
            sys.modules["workers.actors.engine"].forget()
        node_id = ray.get_runtime_context().get_node_id()
        processors.share_with(_gpus_of(node_id))
        self._worker = make()
        environment = self._worker.check()
        self._node = environment.node
        self._log = Log({**run_fields, "node": environment.node, "node_id": node_id})
        self._log.say(f"{type(self._worker).__name__} is ready", device=environment.device)
        return environment, node_id

    def run(self, item: Any) -> Any:  # noqa: ANN401 - each worker has its own items and reports
        """Run one item and return its report."""
        assert self._worker is not None  # noqa: S101 - the pool gives work only to actors that are ready
        about = log_fields(item)
        started, item_log = time.monotonic(), self._log.to(**about)
        self._is_working = True
        try:
            report = self._worker.run(item)
        except Exception as error:
            item_log.say(f"{type(error).__name__}: {error}", log.ERROR)
            if memory.is_exhausted(error):
                raise OutOfMemory(f"out of memory on {self._node}: {memory.now()}{_on_gpu()}") from error
            raise
        finally:
            self._is_working = False
        what, which = next(iter(about.items()))
        line = f"{what} {which} is done"
        item_log.to(**report_counts(report)).say(line, seconds=round(time.monotonic() - started, 3))
        if isinstance(report, ShardReport):
            self._count(report)
        return report

    def _count(self, report: ShardReport) -> None:
        """Add a finished item to the metrics that Ray exports to Prometheus."""
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
        """How much of the current item is done, 0 between items; Ray answers this call while the item runs."""
        return self._worker.done if self._worker and self._is_working else 0


def report_counts(report: object) -> dict[str, object]:
    """The fields of a log line about a finished item: images, and rejects by reason."""
    return {name: getattr(report, name) for name in ("images", "rejects") if hasattr(report, name)}


def hire(place: Any = None, **options: Any) -> Any:  # noqa: ANN401 - Ray's options, Ray's handle
    """Start an actor; Ray places it where there is room.

    Args:
        place: placement group whose only bundle it takes; None for any node.
        options: Ray's options.
    """
    if place is not None:
        options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(place, placement_group_bundle_index=0)
    return ray.remote(concurrency_groups={"progress": 1})(Actor).options(**options).remote()


def read_poll(poll: Any) -> tuple[bool, int | None]:  # noqa: ANN401 - Ray's future
    """Whether an actor has answered a poll of its progress, and its progress; None if the actor is dead."""
    if not ray.wait([poll], timeout=0)[0]:
        return False, None
    try:
        return True, int(ray.get(poll))
    except RayError:
        return True, None


def result_of(future: Any, actors: int = 1) -> Any:  # noqa: ANN401 - whatever the actor's method returns
    """The result of a finished future. A worker's own error is raised as it was.

    Args:
        future: the future of an actor's method.
        actors: number of the run's actors on its node, including itself.

    Raises:
        DeconvoyError: the worker raised it.
        OutOfMemory: the worker ran out of memory, or Ray killed the actor because its machine was short of memory.
        RunStopped: Ray itself failed.
    """
    try:
        return ray.get(future)
    except LOST:
        raise
    except RayTaskError as error:
        if isinstance(error.cause, DeconvoyError):
            raise error.cause from error
        if memory.is_exhausted(error.cause):  # in `prepare`
            raise OutOfMemory(f"out of memory: {reason(error.cause)}") from error
        raise
    except OutOfMemoryError as error:
        raise memory_error(str(error), actors) from error
    except RayError as error:
        raise RunStopped(f"Ray failed: {reason(error)}; the same command resumes the run") from error


def memory_error(text: str, actors: int) -> OutOfMemory:
    """An error of one line from Ray's long message about an actor that it killed because a machine was short of memory.

    Args:
        text: Ray's message.
        actors: number of the run's actors on that machine, which are assumed to be of equal size.

    Returns:
        MemoryTaken if the actors together held less than half of the used memory, else OutOfMemory.
    """
    node = re.search(r"was ([\d.]+)GB used / ([\d.]+)GB", text)
    own = re.search(r"actual memory used=([\d.]+)GB", text)
    if not node or not own:
        return OutOfMemory(f"out of memory: {text.splitlines()[0]}")
    actor, used, total = float(own[1]), float(node[1]), float(node[2])
    line = (
        f"out of memory: Ray killed an actor that used {actor:.1f} GB; {total - used:.1f} of {total:.1f} GB were free"
    )
    if actor * actors >= OWN_SHARE * used:
        return OutOfMemory(line)
    return MemoryTaken(f"{line}; other processes, such as readers (--readers), hold the rest")


def _on_gpu() -> str:
    """A note on the free memory of this process's GPU; empty if it uses none."""
    torch = sys.modules.get("torch")  # actors that run no network start sooner without it
    if torch is None or not torch.cuda.is_initialized():
        return ""
    free, total = torch.cuda.mem_get_info()
    return f"; on the GPU {free / 1e9:.1f} of {total / 1e9:.1f} GB were free"


def _gpus_of(node: str) -> int:
    """The number of GPUs of a node, each of which may have an actor."""
    return int(sum(entry["Resources"].get("GPU", 0) for entry in ray.nodes() if entry["NodeID"] == node))


def is_alive(node: str) -> bool:
    """Whether a node is still alive. An actor that died with its node does not count against its item."""
    return any(entry["NodeID"] == node and entry["Alive"] for entry in ray.nodes())
