"""Security headers. Takes an application, gives one that adds them to every answer.

Only the cards of channels may be shown in frames of other sites, and only of those that the operator names.
"""

import re
from collections.abc import Sequence
from http import HTTPStatus

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workers.errors import UsageError

POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors "
)
FRAMES = "/embed/"  # begins the paths of cards
_SITE = re.compile(r"\*|https?://(\*\.)?[a-z0-9.-]+(:\d{1,5})?", re.IGNORECASE)
GUARDS = {
    "Content-Security-Policy": POLICY + "'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def require_sites(sites: Sequence[str]) -> tuple[str, ...]:
    """Sites that may show cards.

    Raises:
        UsageError: one is not the origin of a site.
    """
    for site in sites:
        if not _SITE.fullmatch(site):
            raise UsageError(f"--embed {site!r} is not a site: give one such as https://blog.example, or * for all")
    return tuple(sites)


class Guarded:
    """Adds GUARDS to every answer of an application.

    Args:
        app: the application.
        sites: the sites that may show cards in frames.
    """

    def __init__(self, app: ASGIApp, sites: Sequence[str] = ()) -> None:
        self._app, self._card_policy = app, POLICY + (" ".join(sites) or "'none'")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(GUARDS)
                if scope["path"].startswith(FRAMES) and message["status"] == HTTPStatus.OK:
                    headers["Content-Security-Policy"] = self._card_policy
            await send(message)

        await self._app(scope, receive, send_guarded)
