"""A Ray on this machine for jobs of others. Takes a number of CPUs, says where its dashboard is, ends with standard input.

`ray.init` cannot be told the port of its job agent, so that two of them on a machine hinder each other: this is `ray start`.
It has a folder of its own too: in the usual one Ray writes down which cluster is the machine's last, and jobs of all go there.
"""

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from jobs.ray import sockets
from workers.errors import ClusterError

OTHER_CLUSTER = {
    "RAY_ADDRESS",
    "RAY_API_SERVER_ADDRESS",
    "RAY_AUTH_TOKEN_PATH",
}  # the environment's own; not for this Ray
PATIENCE_S = 60.0
STORE_BYTES = 128 << 20


def head(cpus: int) -> int:
    """Start Ray, print the address of its dashboard and its token, and end it when standard input ends.

    Raises:
        ClusterError: Ray does not start.
        UsageError: there is no folder for its sockets.
    """
    parent = sockets.short_parent(len("ray-01234567") - len("ray"))
    with tempfile.TemporaryDirectory(prefix="ray-", dir=parent, ignore_cleanup_errors=True) as folder:
        _serve(cpus, folder)
    return 0


def _serve(cpus: int, folder: str) -> None:
    token, dashboard, agent = secrets.token_hex(32), _free_port(), _free_port()
    # Beside our own interpreter: another `ray` on the path may be of another version.
    words = [
        str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--port=0", "--dashboard-host=127.0.0.1",
        f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}", "--include-dashboard=true",
        f"--num-cpus={cpus}", f"--object-store-memory={STORE_BYTES}", "--disable-usage-stats",
        f"--temp-dir={folder}",
    ]  # fmt: skip
    kept = {name: value for name, value in os.environ.items() if name not in OTHER_CLUSTER}
    environment = kept | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    ray = subprocess.Popen(  # noqa: S603 - our own words
        words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        address = f"http://127.0.0.1:{dashboard}"
        _wait(address, ray)
        print(address, token, flush=True)  # noqa: T201 - who started us reads it
        sys.stdin.read()
    finally:
        ray.terminate()
        ray.wait()


def _wait(address: str, ray: subprocess.Popen[bytes]) -> None:
    """Wait until the dashboard answers, even with 401.

    Raises:
        ClusterError: it does not in time, or Ray ends.
    """
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and ray.poll() is None:
        try:
            with urlopen(f"{address}/api/version", timeout=5):  # noqa: S310 - of this machine
                return
        except HTTPError:
            return
        except (URLError, OSError):
            time.sleep(0.2)
    raise ClusterError("Ray does not start on this machine: `ray start --head` says why")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
