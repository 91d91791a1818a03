"""The service's gate. Takes requests, passes those whose key, origin, rate and size are right.

Without keys, anyone who can reach the service would have full access. So requests without a key are answered only if the service
listens on this machine alone and has never seen a key, and then only under this machine's names: this blocks DNS rebinding.
Browsers attach a stored password to requests that other sites make. So changes are accepted only from our own pages and from
programs.
"""

import asyncio
import base64
import binascii
import math
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.control.hosts import is_here
from service.http import keys
from service.http.keyring import Keyring
from service.http.keys import Keys
from service.http.scopes import ADMITTED, READ_METHODS
from workers.errors import Unavailable

LARGEST_BODY = 1 << 20
TOO_LARGE = f"a request body may be at most {LARGEST_BODY:,} bytes"
PER_MINUTE = 60_000  # one wall loads a hundred pictures
BODY_S = 30.0  # limit for a whole body to arrive
Denied = Callable[[int, str], Response]
Needed = Callable[[Scope], keys.Scope | None]


@dataclass(frozen=True)
class Rules:
    """What the gate lets through.

    Attributes:
        per_minute: requests per minute of one key, or of one address without a valid key.
        keyless: whether requests need no key as long as the root has none; only for a service that listens on this machine alone.
    """

    per_minute: int = PER_MINUTE
    keyless: bool = False


class Gate:
    """An application behind rules: answers refused requests with 401, 403, 408, 413, 421, 429 or 503.

    Args:
        app: answers what the gate lets through.
        known: the keys.
        rules: what the gate lets through.
        denied: makes an answer from a status and a reason.
        needed: gives the scope that a request needs; None if it needs no key.
    """

    def __init__(self, app: ASGIApp, known: Keys, rules: Rules, denied: Denied, needed: Needed) -> None:
        self._app, self._keys, self._rules, self._denied = app, Keyring(known), rules, denied
        self._needed = needed
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._guarded = not rules.keyless

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse one request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wanted = self._needed(scope)
        try:
            refusal = await self._refusal(HTTPConnection(scope), wanted) if wanted else None
        except Unavailable as error:
            refusal = self._denied(503, str(error))
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        scope[ADMITTED] = [wanted] if wanted else []
        await self._let_through(scope, receive, send)

    async def _let_through(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, unless its body turns out too large or does not arrive in time."""
        body = _Body(receive)

        async def unless_refused(message: Message) -> None:
            if body.refusal is None:
                await send(message)

        await self._app(scope, body.receive, unless_refused)
        if body.refusal is not None:
            await self._denied(*body.refusal)(scope, receive, send)

    async def _refusal(self, request: HTTPConnection, wanted: keys.Scope) -> Response | None:
        early = self._refuse_large(request) or self._refuse_other_site(request)
        return early or await self._refuse_unknown(request, wanted)

    def _refuse_large(self, request: HTTPConnection) -> Response | None:
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > LARGEST_BODY:
            return self._denied(413, TOO_LARGE)
        return None

    def _refuse_other_site(self, request: HTTPConnection) -> Response | None:
        if request.scope["method"] in READ_METHODS or _is_own(request.headers):
            return None
        return self._denied(403, "this request came from a page of another site")

    async def _is_guarded(self) -> bool:
        """Whether an API key is required: from the first key on, even after all keys or their folder were removed."""
        if not self._guarded:
            self._guarded = not await self._keys.is_empty()
        return self._guarded

    async def _refuse_unknown(self, request: HTTPConnection, wanted: keys.Scope) -> Response | None:
        """Requests with a valid key count against that key alone: wrong guesses from the same address do not lock it out."""
        if await self._is_guarded():
            key = await self._keys.find(_secret(request))
            return self._refuse_key(request, key, wanted)
        if not is_here(_requested_host(request)):
            return self._denied(
                421,
                "this root has no API keys, so only the server's own machine may use the service, as http://localhost or "
                "http://127.0.0.1; create a key with `deconvoy keys add`",
            )
        return self._refuse_frequent(_client_network(request))

    def _refuse_key(self, request: HTTPConnection, key: keys.Key | None, wanted: keys.Scope) -> Response | None:
        if key is None:
            return self._refuse_frequent(_client_network(request)) or _with_challenge(
                self._denied(401, "a valid API key is required")
            )
        request.scope["key"] = key.name  # for the log
        if not key.scope.includes(wanted):
            return self._refuse_frequent(f"key {key.id}") or self._denied(
                403, f"this request needs the scope {wanted.value!r}; key {key.name!r} has {key.scope.value!r}"
            )
        return self._refuse_frequent(f"key {key.id}")

    def _refuse_frequent(self, who: str) -> Response | None:
        if not self._limiter.hit(RateLimitItemPerMinute(self._rules.per_minute), who):
            refused = self._denied(429, f"at most {self._rules.per_minute} requests per minute are allowed")
            refused.headers["Retry-After"] = "60"
            return refused
        return None


class _Body:
    """The body of one request, which ends early if it is too large or too slow; `refusal` then gives the reason."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._bytes, self._until, self._is_whole = 0, math.inf, False
        self.refusal: tuple[int, str] | None = None

    async def receive(self) -> Message:
        """The next part of the body; after its end, whether the client has disconnected."""
        if self._is_whole:
            return await self._receive()
        try:
            return await self._part()
        except TimeoutError:
            return self._end(408, f"the request body must arrive within {BODY_S:g} s")

    async def _part(self) -> Message:
        loop = asyncio.get_running_loop()
        self._until = min(self._until, loop.time() + BODY_S)
        async with asyncio.timeout_at(self._until):
            message = await self._receive()
        self._bytes += len(message.get("body", b""))
        self._is_whole = not message.get("more_body", False)
        return message if self._bytes <= LARGEST_BODY else self._end(413, TOO_LARGE)

    def _end(self, status: int, why: str) -> Message:
        self.refusal, self._is_whole = (status, why), True
        return {"type": "http.disconnect"}


def _is_own(headers: Headers) -> bool:
    """Whether a request comes from one of our pages, or from a program: browsers always name the origin, programs do not.

    Over a secure connection a browser reports whether the site is the same, even behind a proxy with another name. Otherwise the
    origin of the page must be the requested host.
    """
    site, origin = headers.get("sec-fetch-site", "none"), headers.get("origin")
    if site == "none":
        return origin is None or origin.lower().endswith(f"://{headers.get('host', '').lower()}")
    return site == "same-origin"


def _requested_host(request: HTTPConnection) -> str:
    """The host name in the request; empty if there is no valid one."""
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _secret(request: HTTPConnection) -> str:
    """The key of a request: a bearer token, or the password of basic authentication."""
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _client_network(request: HTTPConnection) -> str:
    """The client whose wrong keys are counted together: an IPv4 address, or an IPv6 /64 network, as one customer gets it."""
    host = request.client.host if request.client else ""
    try:
        address = ip_address(host)
    except ValueError:  # a proxy may send anything
        return host
    return str(address if address.version == 4 else ip_network((address, 64), strict=False))


def _with_challenge(response: Response) -> Response:
    response.headers["WWW-Authenticate"] = 'Basic realm="Deconvoy: any name, a key as the password", charset="UTF-8"'
    return response
