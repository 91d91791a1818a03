"""The log of requests. Takes requests as they are answered, writes a line for each with its id, route, status, time and key.

A line never contains a secret: of the path it has only the route's pattern and the run, of the headers only a proxy's request id,
of the key only its name, and nothing of the query.
"""

import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.metrics import method_of, route_of
from workers.host import log
from workers.host.log import Log

ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


class Logged:
    """An application whose answers are logged; each carries the id of its line.

    Successful reads are logged at debug level, because one page of the atlas loads a hundred pictures.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and write its line."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        number, status, began = _id(scope), 500, time.perf_counter()

        async def send_logged(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = number
            await send(message)

        error = None
        try:
            await self._app(scope, receive, send_logged)
        except Exception as raised:
            error = raised
            raise
        finally:
            _write(scope, number, status, time.perf_counter() - began, error)


def _write(scope: Scope, number: str, status: int, seconds: float, error: Exception | None) -> None:
    method, route = method_of(scope), route_of(scope)
    is_read = method in ("GET", "HEAD") and status < 400
    level = log.ERROR if status >= 500 else log.DEBUG if is_read else log.INFO
    fields = {"request": number, "method": method, "route": route, "status": status, "seconds": round(seconds, 4)}
    known = {"key": scope.get("key", ""), "run": scope.get("path_params", {}).get("run", "")}
    more = {name: value for name, value in known.items() if value}
    Log(fields).say(f"{method} {route} {status} {seconds:.3f} s", level, error=error, **more)


def _id(scope: Scope) -> str:
    """The request id set by a proxy, if it is valid; otherwise a new one."""
    proxied = Headers(scope=scope).get("x-request-id", "")
    return proxied if ID.match(proxied) else secrets.token_hex(8)
