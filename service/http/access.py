"""The service's gate. Takes requests, passes those whose key, origin, rate and size are right.

A root without keys would let everybody who reaches the service do everything. So without a key nobody is answered, unless the
service listens on this machine only and has never seen a key; and then only by this machine's names, so that no site whose name
leads here can speak to it through a browser. A browser also sends what pages of other sites ask for, with the password that it
keeps for us: what changes something is taken from our own pages and from programs alone.
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
from service.http.scopes import ADMITTED, LOOKS
from workers.errors import Unavailable

LARGEST_BODY = 1 << 20
TOO_LARGE = f"a body has at most {LARGEST_BODY:,} bytes"
PER_MINUTE = 60_000  # a wall alone is a hundred pictures
BODY_S = 30.0  # for the whole of a body to arrive
Denied = Callable[[int, str], Response]
Needed = Callable[[Scope], keys.Scope | None]


@dataclass(frozen=True)
class Rules:
    """What the service lets through.

    Attributes:
        per_minute: requests of one key, and of one address that sends no right key.
        keyless: whether no key is needed as long as the root has none: for where nobody but this machine reaches the service.
    """

    per_minute: int = PER_MINUTE
    keyless: bool = False


class Gate:
    """An application behind rules: answers 401, 403, 408, 413, 421, 429 and 503 by itself.

    Args:
        app: what answers otherwise.
        known: the keys.
        rules: what is let through.
        denied: makes an answer out of a status and a reason.
        needed: gives the scope that a request needs; None if it needs no key.
    """

    def __init__(self, app: ASGIApp, known: Keys, rules: Rules, denied: Denied, needed: Needed) -> None:
        self._app, self._keys, self._rules, self._denied = app, Keyring(known), rules, denied
        self._needed = needed
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._guarded = not rules.keyless

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or let it be answered."""
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
        """Let the application answer, unless the body grows too large without having said so, or does not come."""
        body = _Body(receive)

        async def unless_refused(message: Message) -> None:
            if body.refusal is None:
                await send(message)

        await self._app(scope, body.receive, unless_refused)
        if body.refusal is not None:
            await self._denied(*body.refusal)(scope, receive, send)

    async def _refusal(self, asked: HTTPConnection, wanted: keys.Scope) -> Response | None:
        early = self._too_large(asked) or self._elsewhere(asked)
        return early or await self._unknown(asked, wanted)

    def _too_large(self, asked: HTTPConnection) -> Response | None:
        length = asked.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > LARGEST_BODY:
            return self._denied(413, TOO_LARGE)
        return None

    def _elsewhere(self, asked: HTTPConnection) -> Response | None:
        if asked.scope["method"] in LOOKS or _is_own(asked.headers):
            return None
        return self._denied(403, "a page of another site asks for this")

    async def _is_guarded(self) -> bool:
        """Whether a key is needed: from the first key on, and for good, though keys be removed or their folder be gone."""
        if not self._guarded:
            self._guarded = not await self._keys.is_empty()
        return self._guarded

    async def _unknown(self, asked: HTTPConnection, wanted: keys.Scope) -> Response | None:
        """Who sends a right key is counted by that key alone: whoever guesses from the same address does not lock it out."""
        if await self._is_guarded():
            key = await self._keys.named(_secret(asked))
            return self._keyed(asked, key, wanted)
        if not is_here(_called(asked)):
            return self._denied(421, "without keys only this machine is answered, by its own names")
        return self._too_often(_address(asked))

    def _keyed(self, asked: HTTPConnection, key: keys.Key | None, wanted: keys.Scope) -> Response | None:
        if key is None:
            return self._too_often(_address(asked)) or _challenging(self._denied(401, "a key is needed"))
        asked.scope["key"] = key.name  # for the log
        if not key.scope.lets(wanted):
            return self._too_often(f"key {key.id}") or self._denied(403, "this key does not let you do this")
        return self._too_often(f"key {key.id}")

    def _too_often(self, who: str) -> Response | None:
        if not self._limiter.hit(RateLimitItemPerMinute(self._rules.per_minute), who):
            refused = self._denied(429, f"at most {self._rules.per_minute} requests in a minute")
            refused.headers["Retry-After"] = "60"
            return refused
        return None


class _Body:
    """The body of one request, which ends where it is too large or too slow; `refusal` then says which."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._bytes, self._until, self._is_whole = 0, math.inf, False
        self.refusal: tuple[int, str] | None = None

    async def receive(self) -> Message:
        """The next part of the body; later on, whether the client has gone."""
        if self._is_whole:
            return await self._receive()
        try:
            return await self._part()
        except TimeoutError:
            return self._end(408, f"a body has to arrive within {BODY_S:g} s")

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
    """Whether a request comes from a page of ours, or from none: programs do not say where they come from, browsers always do.

    A browser that calls us securely says whether the site is the same, whatever names stand between it and us; else its page's
    origin must be the host that it asks for.
    """
    site, origin = headers.get("sec-fetch-site", "none"), headers.get("origin")
    if site == "none":
        return origin is None or origin.lower().endswith(f"://{headers.get('host', '').lower()}")
    return site == "same-origin"


def _called(asked: HTTPConnection) -> str:
    """The host by which the service is called; empty if it is none."""
    try:
        return urlsplit(f"//{asked.headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _secret(asked: HTTPConnection) -> str:
    """The key of a request: a bearer token, or the password that a browser asks its user for."""
    kind, _, value = asked.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _address(asked: HTTPConnection) -> str:
    """Whose wrong keys are counted together: an address, of IPv6 the network of 2^64 that one customer is given."""
    host = asked.client.host if asked.client else ""
    try:
        address = ip_address(host)
    except ValueError:  # what a proxy says may be anything
        return host
    return str(address if address.version == 4 else ip_network((address, 64), strict=False))


def _challenging(response: Response) -> Response:
    response.headers["WWW-Authenticate"] = 'Basic realm="Deconvoy: any name, a key as the password", charset="UTF-8"'
    return response
