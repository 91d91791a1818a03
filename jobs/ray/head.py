"""A Ray on this machine for submitted jobs. Takes a number of CPUs, prints its dashboard's address, ends with standard input.

It uses `ray start`, because `ray.init` has no option for the port of the job agent, so that two of them on one machine would
conflict. It also uses its own folder: in the default folder, Ray records the latest cluster of the machine, and all jobs connect
to that one.
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
}  # variables that name another cluster
PATIENCE_S = 60.0
STORE_BYTES = 128 << 20


def head(cpus: int) -> int:
    """Start Ray, print its dashboard's address and its token, and stop it when standard input ends.

    Raises:
        ClusterError: Ray does not start.
        UsageError: no folder has a name short enough for its sockets.
    """
    parent = sockets.short_parent(len("ray-01234567") - len("ray"))
    with tempfile.TemporaryDirectory(prefix="ray-", dir=parent, ignore_cleanup_errors=True) as folder:
        _serve(cpus, folder)
    return 0


def _serve(cpus: int, folder: str) -> None:
    token, dashboard, agent = secrets.token_hex(32), _free_port(), _free_port()
    # The `ray` of this interpreter: one on the PATH may be of another version.
    words = [
        str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--port=0", "--dashboard-host=127.0.0.1",
        f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}", "--include-dashboard=true",
        f"--num-cpus={cpus}", f"--object-store-memory={STORE_BYTES}", "--disable-usage-stats",
        f"--temp-dir={folder}",
    ]  # fmt: skip
    inherited = {name: value for name, value in os.environ.items() if name not in OTHER_CLUSTER}
    environment = inherited | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    ray = subprocess.Popen(  # noqa: S603 - no user input
        words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        address = f"http://127.0.0.1:{dashboard}"
        _wait(address, ray)
        print(address, token, flush=True)  # noqa: T201 - read by the parent process
        sys.stdin.read()
    finally:
        ray.terminate()
        ray.wait()


def _wait(address: str, ray: subprocess.Popen[bytes]) -> None:
    """Wait until the dashboard answers, even with an HTTP error such as 401.

    Raises:
        ClusterError: the dashboard does not answer in time, or Ray exits.
    """
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and ray.poll() is None:
        try:
            with urlopen(f"{address}/api/version", timeout=5):  # noqa: S310 - on this machine  # nosec B310
                return
        except HTTPError:
            return
        except (URLError, OSError):
            time.sleep(0.2)
    raise ClusterError("Ray does not start on this machine; run `ray start --head` to see why")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
