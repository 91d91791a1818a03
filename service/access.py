"""What stands before the service's answers. Takes requests, lets those pass whose key, origin, rate and size are right.

Where the root has no key everybody who reaches the service may do everything. So without a key nobody is answered, unless the
service listens on this machine only and has never seen a key; and then only by this machine's names, so that no site whose name
leads here can speak to it through a browser. A browser also sends what pages of other sites ask for, with the password that it
keeps for us: what changes something is taken from our own pages and from programs alone.
"""

import base64
import binascii
import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from cachetools import LRUCache
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import keys
from service.hosts import is_here
from service.keys import Keys

LARGEST_BODY = 1 << 20
TOO_LARGE = f"a body has at most {LARGEST_BODY:,} bytes"
PER_MINUTE = 60_000  # a wall alone is a hundred pictures
LOOK_EVERY_S = 1.0  # is looked whether there are keys
MOST_KEYS = 1000  # are kept in mind
Denied = Callable[[int, str], Response]


@dataclass(frozen=True)
class Rules:
    """What the service lets through.

    Attributes:
        per_minute: requests of one key, or of one address that sends none, or none that was right before.
        keyless: whether no key is needed as long as the root has none: for where nobody but this machine reaches the service.
    """

    per_minute: int = PER_MINUTE
    keyless: bool = False


class Gate:
    """An application behind rules: answers 401, 403, 413, 421 and 429 by itself.

    Args:
        app: what answers otherwise.
        known: the keys.
        rules: what is let through.
        denied: makes an answer out of a status and a reason.
    """

    def __init__(self, app: ASGIApp, known: Keys, rules: Rules, denied: Denied) -> None:
        self._app, self._keys, self._rules, self._denied = app, known, rules, denied
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._right = LRUCache[bytes, bool](MOST_KEYS)  # hashes of what was sent and was a key
        self._guarded, self._looked = not rules.keyless, -math.inf

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or let it be answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = HTTPConnection(scope)
        refusal = self._refusal(asked, scope["method"])
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._let_through(scope, receive, send)

    async def _let_through(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application answer, unless the body grows too large without having said so."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            return message if seen <= LARGEST_BODY else {"type": "http.disconnect"}

        async def unless_too_large(message: Message) -> None:
            if seen <= LARGEST_BODY:
                await send(message)

        await self._app(scope, counted, unless_too_large)
        if seen > LARGEST_BODY:
            await self._denied(413, TOO_LARGE)(scope, receive, send)

    def _refusal(self, asked: HTTPConnection, method: str) -> Response | None:
        path = asked.scope["path"]  # what is routed; a URL's is put together with what the client calls its host
        if path in OPEN:
            return None
        early = self._too_large(asked) or self._guesses_too_often(asked) or self._elsewhere(asked, method)
        return early or self._unknown(asked, needed(path, method))

    def _too_large(self, asked: HTTPConnection) -> Response | None:
        told = asked.headers.get("content-length", "0")
        if not told.isdecimal() or int(told) > LARGEST_BODY:
            return self._denied(413, TOO_LARGE)
        return None

    def _elsewhere(self, asked: HTTPConnection, method: str) -> Response | None:
        if method in LOOKS or _is_own(asked.headers):
            return None
        return self._denied(403, "a page of another site asks for this")

    def _is_guarded(self) -> bool:
        """Whether a key is needed: from the first key on, and for good, though keys be removed or their folder be gone."""
        if not self._guarded and time.monotonic() - self._looked > LOOK_EVERY_S:
            self._guarded, self._looked = bool(self._keys), time.monotonic()
        return self._guarded

    def _unknown(self, asked: HTTPConnection, wanted: keys.Scope) -> Response | None:
        if self._is_guarded():
            return self._keyed(asked, self._key(asked), wanted)
        if not is_here(_called(asked)):
            return self._denied(421, "without keys only this machine is answered, by its own names")
        return None

    def _keyed(self, asked: HTTPConnection, key: keys.Key | None, wanted: keys.Scope) -> Response | None:
        if key is None:
            return _challenging(self._denied(401, "a key is needed"))
        asked.scope["key"] = key.name  # for the log
        if not key.scope.lets(wanted):
            return self._too_often(f"key {key.id}") or self._denied(403, "this key does not let you do this")
        return self._too_often(f"key {key.id}")

    def _key(self, asked: HTTPConnection) -> keys.Key | None:
        """The key that is sent, looked up anew: it may have been removed. That it was right is kept in mind."""
        secret = _secret(asked)
        key = self._keys.named(secret)
        if key is None:
            self._right.pop(_mark(secret), None)
        else:
            self._right[_mark(secret)] = True
        return key

    def _guesses_too_often(self, asked: HTTPConnection) -> Response | None:
        """Who sends no key, or none that was right before, is counted by address, so that guesses do not reach the store."""
        if _mark(_secret(asked)) in self._right:
            return None
        return self._too_often(asked.client.host if asked.client else "")

    def _too_often(self, who: str) -> Response | None:
        if not self._limiter.hit(RateLimitItemPerMinute(self._rules.per_minute), who):
            refused = self._denied(429, f"at most {self._rules.per_minute} requests in a minute")
            refused.headers["Retry-After"] = "60"
            return refused
        return None


OPEN = ("/healthz", "/readyz")
LOOKS = ("GET", "HEAD")


def needed(path: str, method: str) -> keys.Scope:
    """The scope that a request needs: to look, to make runs, or to change schedules and keys."""
    if method in LOOKS:
        return keys.Scope.READ
    return keys.Scope.ADMIN if path.startswith("/api/v1/schedules") else keys.Scope.SUBMIT


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


def _mark(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _challenging(response: Response) -> Response:
    response.headers["WWW-Authenticate"] = 'Basic realm="Deconvoy: any name, a key as the password", charset="UTF-8"'
    return response
