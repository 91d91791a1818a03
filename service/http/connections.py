"""Connections of the service. Takes an application and trusted proxies, gives uvicorn's configuration."""

import asyncio
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.prefix import Prefixed, parse
from workers.errors import UsageError

HEADER_S = 10.0  # from the start of a connection, or the first byte of a later request, to the end of the header
HEADER_BYTES = 1 << 16
IDLE_S = 5  # between two requests on one connection
ENDING_S = 10  # for open requests when the service stops


class LimitedProtocol(HttpToolsProtocol):
    """One HTTP connection. It closes if a header arrives too late or is too long; uvicorn's own protocol waits for ever."""

    _overdue: asyncio.TimerHandle | None = None
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer of the first header."""
        super().connection_made(transport)
        self._expect_header()

    def data_received(self, data: bytes) -> None:
        """Read a part of a request; an incomplete header does not restart its timer."""
        self._header_bytes += len(data)
        super().data_received(data)
        if self.timeout_keep_alive_task is None and (self.cycle is None or self.cycle.response_complete):
            self._expect_header()
        if self._overdue is not None and self._header_bytes > HEADER_BYTES:
            self.send_400_response(f"a request header may be at most {HEADER_BYTES} bytes")

    def on_headers_complete(self) -> None:
        """Stop the timer."""
        self._forget_header()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._forget_header()
        super().connection_lost(exc)

    def _expect_header(self) -> None:
        if self._overdue is None and not self.transport.is_closing():
            self._header_bytes = 0
            self._overdue = self.loop.call_later(HEADER_S, self.transport.close)

    def _forget_header(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None


def config(app: ASGIApp, trusted: Sequence[str] = (), root_path: str = "") -> Config:
    """Uvicorn's configuration.

    Args:
        app: the application.
        trusted: networks of proxies whose X-Forwarded-For, -Proto and -Prefix headers count. Those of other clients, and the
            variable FORWARDED_ALLOW_IPS, are ignored.
        root_path: path below which a proxy serves the application.

    Raises:
        UsageError: a network is not one, or the path is not one.
    """
    networks = [_network(word) for word in trusted]
    behind_proxy: Any = app
    if networks:
        behind_proxy = ProxyHeadersMiddleware(behind_proxy, networks)  # changes the client's address
    return Config(
        Prefixed(behind_proxy, parse(root_path), networks),
        log_level="warning",
        log_config=None,
        http=LimitedProtocol,
        ws="none",
        proxy_headers=False,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=ENDING_S,
    )


def _network(word: str) -> str:
    try:
        return str(ip_network(word))
    except ValueError as error:
        wanted = "give an address or a network, such as 10.0.0.0/8"
        raise UsageError(f"--trusted-proxy {word!r} is not a network: {error}; {wanted}") from error
