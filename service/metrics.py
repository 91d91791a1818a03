"""How the service is doing, for Prometheus. Takes requests as they are answered and the runs of a root, gives numbers."""

import time
from collections import Counter as Counts
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.submissions import RunState

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")  # a client may send any word
StatesOf = Callable[[], Mapping[str, int]]


class Metrics:
    """The numbers of one application.

    Args:
        states: how many runs are in each state; asked at each scrape.
    """

    def __init__(self, states: StatesOf) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "deconvoy_requests", "Requests answered.", ["method", "route", "status"], registry=self._registry
        )
        self._seconds = Histogram("deconvoy_request_seconds", "Time to the answer.", ["route"], registry=self._registry)
        self._registry.register(_Runs(states))

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered; routes are patterns, so that names of users make no series."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """All of them as Prometheus reads them."""
        return generate_latest(self._registry)


class _Runs(Collector):
    """Runs by their state."""

    def __init__(self, states: StatesOf) -> None:
        self._states = states

    def describe(self) -> Iterator[Metric]:
        """What there will be: nothing is asked when the application is made."""
        yield GaugeMetricFamily("deconvoy_runs", "Runs of the root by state.", labels=["state"])

    def collect(self) -> Iterator[Metric]:
        """How many runs are in each state."""
        found, family = self._states(), next(self.describe())
        for state in RunState:
            family.add_metric([str(state)], found.get(str(state), 0))  # type: ignore[attr-defined]
        yield family


class Measured:
    """An application whose answers are counted and timed."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request be answered, and note it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                seconds = time.perf_counter() - started
                self._metrics.answered(method_of(scope), route_of(scope), message["status"], seconds)
            await send(message)

        await self._app(scope, receive, noted)


def method_of(scope: Scope) -> str:
    """The method of a request, if it is one."""
    return str(scope["method"]) if scope["method"] in METHODS else "other"


def route_of(scope: Scope) -> str:
    """The pattern of the route that has answered a request."""
    return str(getattr(scope.get("route"), "path", "other"))


def counted(states: Iterator[RunState]) -> Mapping[str, int]:
    """How many there are of each state."""
    return Counts(map(str, states))
