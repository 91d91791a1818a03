"""The Ray cluster to use, and its token. Takes an address or the environment, gives a dashboard's URL and headers.

Ray's own client prefers `RAY_API_SERVER_ADDRESS` and `RAY_ADDRESS` to the address that it is given, and would send them the
token. Here the environment counts only where no address is given, and that is reported.
"""

import os
from pathlib import Path
from urllib.parse import urlsplit

import typer

from workers.errors import ClusterError

VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")  # the order in which Ray reads them
EXAMPLE = "http://head:8265"


def from_environment() -> str:
    """The dashboard that Ray's own environment names, for a command without --address; reports which one it is.

    Raises:
        ClusterError: none is named, or what is named is not a dashboard.
    """
    for name in VARIABLES:
        value = os.environ.get(name, "")
        if value:
            address = _dashboard(name, value)
            typer.echo(f"using the Ray cluster at {address}, from {name}", err=True)
            return address
    raise ClusterError(f"no cluster is named: give --address, such as {EXAMPLE}, or set DECONVOY_ADDRESS")


def checked(address: str) -> str:
    """An address that may be written down.

    Raises:
        ClusterError: it is not the URL of a dashboard, or holds a secret.
    """
    if "@" in address:
        raise ClusterError("an address must not contain a user or password: set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH")
    if not _is_url(address):
        raise ClusterError(f"address {address!r} is not the URL of a Ray dashboard, such as {EXAMPLE}")
    return address


def authorization(token: str | None = None) -> dict[str, str]:
    """The header that carries a cluster's token; without one given, the token of the environment or of Ray on this machine.

    Raises:
        PermissionError: the token cannot be read.
    """
    value = _token() if token is None else token
    if not (value.isascii() and value.isprintable()):
        raise PermissionError("the Ray token contains invalid characters")
    return {"Authorization": f"Bearer {value}"} if value else {}


def _dashboard(name: str, value: str) -> str:
    """What a variable of Ray's names, if it is a dashboard."""
    if "@" in value or urlsplit(value).scheme in ("http", "https"):
        return checked(value)
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
    except ValueError:  # its port is not a number
        return False


def _token() -> str:
    """The token that Ray itself would use; empty if there is none, or its use is switched off."""
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return ""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return os.environ["RAY_AUTH_TOKEN"].strip()
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named or os.path.expanduser("~/.ray/auth_token"))
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        if named:
            raise PermissionError(f"RAY_AUTH_TOKEN_PATH is set, but {named} cannot be read") from error
        return ""
