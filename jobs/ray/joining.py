"""Connecting to Ray. Takes an address to join, or CPUs and GPUs to start Ray with; failures are errors of one line."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import ray

from jobs.ray import sockets
from workers.errors import RunStopped, UsageError

# Only shard descriptions pass through the object store; Ray's default is a third of the memory.
STORE_BYTES = 128 << 20
ANSWER_S = 10.0  # time that a cluster may take to answer
_connecting: list[str] = []  # the address that ray.init connects to now
AGENT = "ray.dashboard.optional_deps"
QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # otherwise Ray warns of a future change
    "RAY_USAGE_STATS_ENABLED": "0",  # no usage reports on our users
}


def join(address: str) -> None:
    """Join the cluster that RAY_ADDRESS names.

    Raises:
        UsageError: no cluster answers at the address, or it rejects the token.
    """
    try:
        if address != "auto":
            require_answer(address, ANSWER_S)
            _connecting.append(address)
        _init(address="auto")
    except UsageError:
        raise
    except Exception as error:  # Ray raises plain exceptions too
        raise UsageError(
            f"the Ray cluster at RAY_ADDRESS={address} cannot be joined: {_first_line(error)}; check that RAY_AUTH_TOKEN, "
            "or the file that RAY_AUTH_TOKEN_PATH names, holds the token of that cluster"
        ) from error
    finally:
        _connecting.clear()


def start(cpus: int, gpus: int) -> None:
    """Start Ray on this machine; it ends with this process.

    Raises:
        RunStopped: Ray does not start.
        UsageError: no folder has a name short enough for its sockets.
    """
    options = {"num_cpus": cpus, "num_gpus": gpus, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    parent = sockets.short_parent()
    try:
        with _without_agent():
            _init(address="local", _temp_dir=parent and os.path.join(parent, "ray"), **options)
    except Exception as error:  # Ray raises a plain Exception if the machine is slow
        raise RunStopped(
            f"Ray does not start on this machine: {_first_line(error)}; try again, or run `ray start --head` to see why"
        ) from error
    _tighten(Path(os.path.expanduser("~/.ray/auth_token")))


def _init(**options: object) -> None:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    # Otherwise Ray prints raylet reports to standard output, whatever the logging level, and --json must print one value there.
    ray._private.worker._worker_logs_enabled = False
    with _own_sigterm():
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Restore the SIGTERM handler that ray.init replaces. Until then, Ray's handler exits with the signal's number.

    Raises:
        KeyboardInterrupt: SIGTERM arrived in the block.
    """
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as stop:
        if stop.code == signal.SIGTERM:
            raise KeyboardInterrupt from stop
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def head_address() -> str | None:
    """Where the head of the cluster is; None if this process is neither connected to Ray nor connecting."""
    if ray.is_initialized():
        return str(ray.get_runtime_context().gcs_address)
    return next(iter(_connecting), None)  # ray.init waits forever for a head that is lost meanwhile


def require_answer(address: str, within_s: float) -> None:
    """Request a cluster's id. ray.init waits forever if the server is not Ray, and prints twenty lines about a wrong token.

    Raises:
        UsageError: nothing answers in Ray's protocol.
        TimeoutError: it accepts requests, but does not answer them.
        ConnectionError: the cluster rejects the token.
    """
    import grpc
    from ray._private.gcs_utils import create_gcs_channel
    from ray.core.generated.gcs_service_pb2 import GetClusterIdRequest
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

    with create_gcs_channel(address) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=within_s)
        except grpc.FutureTimeoutError:
            message = f"no Ray cluster answers at RAY_ADDRESS={address}; unset it to work on this machine"
            raise UsageError(message) from None
        try:
            NodeInfoGcsServiceStub(channel).GetClusterId(GetClusterIdRequest(), timeout=within_s)
        except grpc.RpcError as error:
            is_refusal = error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
            raise (ConnectionError if is_refusal else TimeoutError)(error.details()) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].partition(". ")[0] if lines else type(error).__name__


@contextmanager
def _without_agent() -> Iterator[None]:
    """Disable the dashboard agent, which is unused and takes 4 s to start."""
    before = sys.modules.get(AGENT)
    sys.modules[AGENT] = None  # type: ignore[assignment]  # importing it raises ImportError, as in a minimal installation of Ray
    try:
        yield
    finally:
        del sys.modules[AGENT]
        if before is not None:
            sys.modules[AGENT] = before


def _tighten(token: Path) -> None:
    """Make Ray's access token private: Ray creates the file readable for everyone."""
    with suppress(FileNotFoundError, PermissionError):
        token.chmod(0o600)
