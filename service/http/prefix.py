"""The path below which a proxy serves the service. Takes it as given or from a proxy's header, gives a wrapped application.

The application itself knows no prefix: routes, keys and logs see the paths that they see without one. Only links in pages and
redirects get it.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import unquote, urlsplit, urlunsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workers.errors import UsageError

HEADER = "x-forwarded-prefix"
SCOPE_KEY = "deconvoy.prefix"
# The first parts of the service's own paths, without .json.
OWN = set("api compare embed healthz index limits metrics readyz runs schedules search static submitted".split())  # noqa: SIM905 - one line
_VALID = re.compile(r"(/[A-Za-z0-9._~@:%+-]+)*")
LINK = re.compile(r'( (?:href|src|action|data-events|data-logs)=")(/(?!/)[^"]*)"')  # to this service, in a page


def parse(text: str) -> str:
    """A prefix without a slash at its end; empty for none.

    Raises:
        UsageError: it is not the path of a URL.
    """
    prefix = text.rstrip("/")
    decoded = unquote(prefix)
    is_path = decoded.count("/") == prefix.count("/") and not {".", ".."} & set(decoded.split("/"))
    if not _VALID.fullmatch(prefix) or not is_path or "\\" in decoded:
        raise UsageError(f"--root-path {text!r} is not a path such as /deconvoy")
    if prefix and prefix.split("/")[1].partition(".")[0] in OWN:
        raise UsageError(f"--root-path {text!r} begins like a path of the atlas itself; use another, such as /deconvoy")
    return prefix


def of(scope: Scope) -> str:
    """The prefix of a request; empty for none."""
    return str(scope.get(SCOPE_KEY, ""))


def add_to_links(html: str, prefix: str) -> str:
    """A page whose links to this service begin with a prefix."""
    return LINK.sub(rf'\g<1>{prefix}\g<2>"', html) if prefix else html


class Prefixed:
    """Serves an application below a prefix.

    Args:
        app: the application.
        prefix: the prefix, which the proxy may remove from paths or not; if it is empty, X-Forwarded-Prefix gives that of links.
        trusted: networks of the proxies whose X-Forwarded-Prefix counts. They must remove it from the paths: a header never
            changes which path is asked for.
    """

    def __init__(self, app: ASGIApp, prefix: str = "", trusted: Sequence[str] = ()) -> None:
        self._app, self._prefix = app, prefix
        self._trusted = [ip_network(network) for network in trusted]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or not (self._prefix or self._trusted):
            await self._app(scope, receive, send)
            return
        prefix = self._of(scope)

        async def send_prefixed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if "location" in headers:
                    headers["location"] = _moved(headers["location"], prefix, Headers(scope=scope).get("host", ""))
                if not self._prefix:
                    headers.add_vary_header(HEADER)
            await send(message)

        path = _inner(scope["path"], unquote(self._prefix))
        await self._app({**scope, "path": path, SCOPE_KEY: prefix}, receive, send_prefixed)

    def _of(self, scope: Scope) -> str:
        """The prefix of a request. A header that is not valid, or from elsewhere, is ignored."""
        if self._prefix or not self._trusted or not _is_in(scope, self._trusted):
            return self._prefix
        try:
            return parse(Headers(scope=scope).get(HEADER, ""))
        except UsageError:
            return ""


def _inner(path: str, prefix: str) -> str:
    """The path without the prefix, if it has it."""
    return path[len(prefix) :] or "/" if prefix and (path == prefix or path.startswith(f"{prefix}/")) else path


def _moved(location: str, prefix: str, host: str) -> str:
    """Where a redirect leads below the prefix, if it leads to this service."""
    url = urlsplit(location)
    if url.netloc not in ("", host) or not url.path.startswith("/"):
        return location
    return urlunsplit(url._replace(path=prefix + url.path))


def _is_in(scope: Scope, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Whether a request comes from one of these networks."""
    client = scope.get("client")
    try:
        address = ip_address(client[0]) if client else None
    except ValueError:
        return False
    return address is not None and any(address in network for network in networks)
