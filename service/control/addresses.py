"""The Ray cluster to use, and its token. Takes an address or the environment, gives a dashboard's URL and headers.

Ray's own client prefers `RAY_API_SERVER_ADDRESS` and `RAY_ADDRESS` to the address that it is given, and would send the token
there. We use the environment only if no address is given, and report that.
"""

import os
from pathlib import Path
from urllib.parse import urlsplit

import typer

from workers.errors import ClusterError

VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")  # the order in which Ray reads them
EXAMPLE = "http://head:8265"


def from_environment() -> str:
    """The dashboard that Ray's environment variables name, for a command without --address; prints which one it is.

    Raises:
        ClusterError: no variable is set, or its value is not the address of a dashboard.
    """
    for name in VARIABLES:
        value = os.environ.get(name, "")
        if value:
            address = _dashboard(name, value)
            typer.echo(f"using the Ray cluster at {address}, from {name}", err=True)
            return address
    raise ClusterError(f"no cluster address: give --address, such as {EXAMPLE}, or set DECONVOY_ADDRESS")


def require_url(address: str) -> str:
    """An address of a Ray dashboard that may be recorded.

    Raises:
        ClusterError: the address is not a URL, or contains a secret.
    """
    if "@" in address:
        raise ClusterError(
            "an address must not contain a user name or password: set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH"
        )
    if not _is_url(address):
        raise ClusterError(f"address {address!r} is not the URL of a Ray dashboard, such as {EXAMPLE}")
    return address


def authorization(token: str | None = None) -> dict[str, str]:
    """The header with a cluster's token; by default the token of the environment or of Ray on this machine.

    Raises:
        PermissionError: the token cannot be read.
    """
    value = _token() if token is None else token
    if not (value.isascii() and value.isprintable()):
        raise PermissionError("the Ray token contains invalid characters")
    return {"Authorization": f"Bearer {value}"} if value else {}


def _dashboard(name: str, value: str) -> str:
    """The address of a dashboard in a variable of Ray's.

    Raises:
        ClusterError: the value is not the address of a dashboard.
    """
    if "@" in value or urlsplit(value).scheme in ("http", "https"):
        return require_url(value)
    if value.startswith("ray://"):
        raise ClusterError(
            f"{name}={value} is an address for Ray Client, which is not supported: give --address {EXAMPLE}"
        )
    host, port, number = value.rpartition(":")
    example = f"http://{host}:8265" if port and number.isdecimal() else EXAMPLE
    raise ClusterError(f"{name}={value} does not name a dashboard, where jobs are submitted: give --address {example}")


def _is_url(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is not a number
        return False


def _token() -> str:
    """The token that Ray itself would use; empty if there is none, or if tokens are disabled."""
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return ""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return os.environ["RAY_AUTH_TOKEN"].strip()
    configured = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(configured or os.path.expanduser("~/.ray/auth_token"))
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        if configured:
            raise PermissionError(f"RAY_AUTH_TOKEN_PATH is set, but {configured} cannot be read") from error
        return ""
