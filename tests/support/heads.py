"""A real Ray head with token authentication, as an operator starts one. Takes CPUs, gives its address; can be killed."""

import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
PATIENCE_S = 60


class Head:
    """`ray start --head` in a temporary folder of its own.

    Args:
        folder: short, for Ray puts sockets there.
        cpus: that it says it has.
    """

    def __init__(self, folder: Path, cpus: int) -> None:
        port, dashboard, agent = (free_port() for _ in range(3))
        self.address = f"http://127.0.0.1:{dashboard}"
        words = [
            str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", f"--port={port}", f"--num-cpus={cpus}",
            "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}",
            f"--temp-dir={folder}", "--object-store-memory=134217728", "--disable-usage-stats",
        ]  # fmt: skip
        self._ray = subprocess.Popen(
            words, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        until = time.monotonic() + PATIENCE_S
        while not self._answers():
            assert time.monotonic() < until and self._ray.poll() is None, "Ray does not start"
            time.sleep(0.2)

    def kill(self) -> None:
        """Kill -9 everything of it."""
        everything = [psutil.Process(self._ray.pid), *psutil.Process(self._ray.pid).children(recursive=True)]
        for process in everything:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self._ray.wait()

    def actors(self) -> list[str]:
        """What the processes of its actors are called."""
        running = psutil.Process(self._ray.pid).children(recursive=True)
        return [name for name in (" ".join(_words(process)) for process in running) if "Actor" in name]

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", int(self.address.rpartition(":")[2])), timeout=1).close()
        except OSError:
            return False
        return True


def environment() -> dict[str, str]:
    """Where the commands of this environment are, and the cluster's token is known."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return kept | TOKEN | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _words(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
