"""Health checks and metrics. Takes a root and metrics, answers `/healthz`, `/readyz` and `/metrics`."""

from contextlib import suppress

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.http.metrics import Metrics
from service.http.scopes import OPEN, READ
from service.pools import CallPool, Renewed
from workers.errors import RootError, Unavailable
from workers.store.root import Root

READY_S = 1.0  # age up to which an answer is reused, since these requests need no key
ANSWER_S = 2.0  # limit for the root to answer
SCRAPE_S = 8.0  # limit for counting the runs; Prometheus waits 10 s


def add_to(app: FastAPI, root: Root, metrics: Metrics) -> None:
    """Add the routes."""
    scrapes = CallPool("the root", 1, SCRAPE_S)
    readable = Renewed(lambda: _is_readable(root), CallPool("the root", 1, ANSWER_S), READY_S, READY_S)

    @app.get("/metrics", include_in_schema=False, dependencies=[READ])
    async def numbers() -> Response:
        """Metrics, for Prometheus."""
        return Response(await scrapes.answer(metrics.text), media_type=CONTENT_TYPE_LATEST)

    @app.get("/healthz", include_in_schema=False, dependencies=[OPEN])
    async def healthz() -> Response:
        """Whether the process answers; this needs no thread, store or cluster."""
        return Response("ok", media_type="text/plain")

    @app.get("/readyz", include_in_schema=False, dependencies=[OPEN])
    async def readyz() -> Response:
        """Whether the root can be read."""
        with suppress(Unavailable):
            if await readable.answer():
                return Response("ok", media_type="text/plain")
        return Response("the root cannot be read", 503, media_type="text/plain")


def _is_readable(root: Root) -> bool:
    try:
        root.check_readable()
    except RootError:
        return False
    return True
