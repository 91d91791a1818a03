"""The command `deconvoy scan` in processes of its own. Takes a spec and a cluster, gives how one ended and what it printed.

The processes are forked from one that has imported everything already, which saves seconds of CPU time each.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from tests.chaos.cluster import is_alive, kill, send
from tests.chaos.mutations import MUTATIONS
from tests.chaos.replaying import RECORD, install

MUTATION = "DECONVOY_TEST_MUTATION"  # environment variable: a fault in the code
_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(["tests.chaos.drivers", "tests.chaos.warm", "ray"])


class Driver:
    """One process that runs the command.

    Args:
        spec: the TOML file of the spec.
        output: file for what it prints.
        environment: more environment variables.
    """

    def __init__(self, spec: Path, output: Path, environment: Mapping[str, str]) -> None:
        self._output = output
        output.touch()
        self._child = _FORKING.Process(target=_run, args=(str(spec), str(output), dict(environment)))
        self._child.start()
        assert self._child.pid is not None
        self.process = psutil.Process(self._child.pid)
        self.was_killed = False

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""
        return self._child.exitcode

    @property
    def lines(self) -> list[str]:
        """What it has printed."""
        return self._output.read_text().splitlines()

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return is_alive(self.process)

    def kill(self) -> None:
        """kill -9."""
        self.was_killed = True
        kill(self.process)

    def stop(self) -> None:
        """Ask it to end, as a cluster or an operator would."""
        send(self.process, signal.SIGTERM)

    def close(self) -> None:
        """End it, and forget it."""
        kill(self.process)
        self._child.join()


def _run(spec: str, output: str, environment: Mapping[str, str]) -> None:
    """In the forked process: become the command."""
    os.setsid()
    out = os.open(output, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(out, stream)
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["deconvoy", "scan", "--spec", spec]
    _hold_gpus()
    if MUTATION in environment:
        fault, _ = MUTATIONS[environment[MUTATION]]
        fault()
    if RECORD in environment:
        install(environment[RECORD])
    from service.cli.main import main

    main()


def _hold_gpus() -> None:
    """Every actor of this process also holds one of Ray's logical GPUs. It computes on the CPU."""
    from jobs.ray import cluster
    from jobs.ray.pool import Pool

    made, bundle = Pool.__init__, cluster.bundle

    def on_gpus(pool: Any, *given: Any, **more: Any) -> None:
        made(pool, *given, **more)
        pool._options["num_gpus"] = 1

    setattr(Pool, "__init__", on_gpus)  # noqa: B010 - its type differs
    setattr(cluster, "bundle", lambda _, threads: bundle("cuda", threads))  # noqa: B010
