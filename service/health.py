"""Whether the service works, for programs. Takes a root and numbers, answers `/healthz`, `/readyz` and `/metrics`."""

from threading import Condition

from cachetools import TTLCache, cached
from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.metrics import Metrics
from workers.errors import RootError
from workers.store.root import Root

READY_S = 1.0  # whoever asks in between is told the same: no key is needed to ask


def add_to(app: FastAPI, root: Root, metrics: Metrics) -> None:
    """Add the addresses that programs ask."""

    @app.get("/metrics", include_in_schema=False)
    def numbers() -> Response:
        """How the service is doing, for Prometheus."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/healthz", include_in_schema=False)
    def healthz() -> Response:
        """The process answers."""
        return Response("ok", media_type="text/plain")

    @app.get("/readyz", include_in_schema=False)
    def readyz() -> Response:
        """The root can be read."""
        if not readable():
            return Response("the root cannot be read", 503, media_type="text/plain")
        return Response("ok", media_type="text/plain")

    @cached(TTLCache(1, READY_S), condition=Condition())
    def readable() -> bool:
        try:
            root.check_readable()
        except RootError:
            return False
        return True
