"""A Ray cluster of three nodes on this machine, each with a CPU and a logical GPU, whose processes can be stopped and killed."""

import json
import signal
import socket
import tempfile
from collections.abc import Iterator
from typing import Any, Self

import psutil
import pytest
from ray.cluster_utils import Cluster

NODES = 3
NODE = {"num_cpus": 1, "num_gpus": 1, "object_store_memory": 80 << 20}
HEAD = {"num_cpus": 0, "object_store_memory": 80 << 20, "include_dashboard": True}
# Percent of all calls between Ray's processes that fail before they are sent, while they are served, and after that.
FAILING_CALLS = {"*": dict.fromkeys(("req_failure_prob", "in_flight_failure_prob", "resp_failure_prob"), 1)}
RAYLET, GCS, DASHBOARD = "raylet", "gcs_server", "dashboard"


class ThreeNodes:
    """A head without CPUs, where drivers connect, and three nodes, one for each actor.

    Attributes:
        has_failing_calls: whether some calls between Ray's processes fail.
    """

    def __init__(self) -> None:
        self._cluster: Any = None
        self._folder: Any = None
        self._patch = pytest.MonkeyPatch()
        self.has_failing_calls = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._patch.undo()

    @property
    def address(self) -> str:
        """The value of RAY_ADDRESS."""
        return str(self._cluster.address)

    def heal(self, *, failing_calls: bool) -> None:
        """Start what is dead. A cluster without its head, or with other calls, is replaced as a whole."""
        if self._cluster and (not self._head_is_whole() or failing_calls != self.has_failing_calls):
            self.close()
        if not self._cluster:
            self._start(failing_calls)
        for node in [node for node in self.nodes() if not is_alive(self.raylet(node))]:
            self.remove(node)
        while len(self.nodes()) < NODES:
            self._cluster.add_node(**NODE)

    def nodes(self) -> list[Any]:
        """The nodes with a CPU, dead ones too until `heal`."""
        return sorted(self._cluster.worker_nodes, key=lambda node: node._raylet_socket_name)

    def remove(self, node: Any) -> None:
        """Kill all processes of a node."""
        for process in self._family(node):
            kill(process)
        self._cluster.remove_node(node, allow_graceful=False)

    def raylet(self, node: Any) -> psutil.Process | None:
        """The process that runs a node."""
        return _process(node, RAYLET)

    def head(self, name: str) -> psutil.Process | None:
        """A process of the head."""
        return _process(self._cluster.head_node, name)

    def kill_head(self) -> None:
        """Kill all processes of the head."""
        for process in self._family(self._cluster.head_node):
            kill(process)

    def actors(self) -> list[psutil.Process]:
        """The processes of runs' actors."""
        processes = [process for node in self.nodes() for process in self._family(node)]
        return [process for process in processes if name_of(process).startswith("ray::Actor")]

    def close(self) -> None:
        """Kill everything."""
        if not self._cluster:
            return
        for node in [*self.nodes(), self._cluster.head_node]:
            for process in self._family(node):
                kill(process)
        self._cluster.shutdown()
        self._folder.cleanup()
        self._cluster = None

    def _start(self, failing_calls: bool) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True)
        self._patch.setenv("RAY_TMPDIR", self._folder.name)
        self._patch.setenv("RAY_testing_rpc_failure", json.dumps(FAILING_CALLS) if failing_calls else "")
        self._cluster = Cluster(initialize_head=True, head_node_args=HEAD | {"dashboard_port": _free_port()})
        self.has_failing_calls = failing_calls

    def _head_is_whole(self) -> bool:
        return all(is_alive(self.head(name)) for name in (RAYLET, GCS))

    def _family(self, node: Any) -> Iterator[psutil.Process]:
        """The processes of a node and their children."""
        for name in list(node.all_processes):
            process = _process(node, name)
            if process is not None:
                yield from children(process)
                yield process


def _process(node: Any, name: str) -> psutil.Process | None:
    """A process of a node; None if it is dead."""
    started = node.all_processes.get(name) or []
    try:
        return psutil.Process(started[0].process.pid) if started and started[0].process.poll() is None else None
    except psutil.NoSuchProcess:
        return None


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def is_alive(process: psutil.Process | None) -> bool:
    """Whether a process still runs."""
    return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def is_stopped(process: psutil.Process | None) -> bool:
    """Whether a process has been stopped by a signal."""
    return process is not None and process.is_running() and process.status() == psutil.STATUS_STOPPED


def children(process: psutil.Process) -> list[psutil.Process]:
    """All descendants of a process; none if it is dead."""
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def name_of(process: psutil.Process) -> str:
    """The title of a process; empty if it is dead."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def kill(process: psutil.Process) -> None:
    """Send SIGKILL to a process that may be dead."""
    send(process, signal.SIGKILL)


def send(process: psutil.Process, number: signal.Signals) -> None:
    """Send a signal to a process that may be dead."""
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
