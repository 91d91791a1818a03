"""Metrics of the service, for Prometheus. Takes requests as they are answered and the runs of a root, gives numbers."""

import time
from collections import Counter as Counts
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.control.statuses import LIVE, RunState, Status
from service.control.timetable import Fire

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")  # a client may send any word
RunsOf = Callable[[], Sequence[Status]]
FiresOf = Callable[[], Mapping[str, Fire]]


class Metrics:
    """The metrics of one application.

    Args:
        runs: gives the statuses of the runs; called at each scrape.
        fires: gives the last fire of each schedule that has fired; called at each scrape.
    """

    def __init__(self, runs: RunsOf, fires: FiresOf = dict) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "deconvoy_requests", "Requests answered.", ["method", "route", "status"], registry=self._registry
        )
        self._seconds = Histogram("deconvoy_request_seconds", "Response time.", ["route"], registry=self._registry)
        self._registry.register(_Runs(runs))
        self._registry.register(_Schedules(runs, fires))

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request. Routes are patterns, so names chosen by users create no series."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class _Runs(Collector):
    """Runs by state, and the progress of live runs: the series of a run end with it."""

    def __init__(self, runs: RunsOf) -> None:
        self._runs = runs

    def describe(self) -> Iterator[Metric]:
        """The metrics without values: nothing is read when the application is created."""
        yield GaugeMetricFamily("deconvoy_runs", "Runs of the root by state.", labels=["state"])
        yield GaugeMetricFamily(
            "deconvoy_run_done_ratio", "Share of a live run's phase that is done.", labels=["run", "phase"]
        )
        yield GaugeMetricFamily(
            "deconvoy_run_left_seconds", "Time left in a live run's phase.", labels=["run", "phase"]
        )

    def collect(self) -> Iterator[Metric]:
        """The number of runs in each state, and the progress of live runs."""
        runs, (states, done, left) = self._runs(), self.describe()
        counts = Counts(run.state for run in runs)
        for state in RunState:
            states.add_metric([str(state)], counts[state])  # type: ignore[attr-defined]
        for run in runs:
            progress = run.progress
            if run.state not in LIVE or progress is None:
                continue
            if progress.total:
                done.add_metric([run.run, progress.phase], progress.done / progress.total)  # type: ignore[attr-defined]
            if progress.left_s is not None:
                left.add_metric([run.run, progress.phase], progress.left_s)  # type: ignore[attr-defined]
        yield from (states, done, left)


class _Schedules(Collector):
    """When schedules last fired, and whether that firing was refused, or its run has failed."""

    def __init__(self, runs: RunsOf, fires: FiresOf) -> None:
        self._runs, self._fires = runs, fires

    def describe(self) -> Iterator[Metric]:
        """The metrics without values."""
        yield GaugeMetricFamily(
            "deconvoy_schedule_fired_seconds", "Unix time of the last firing, in seconds.", labels=["schedule"]
        )
        yield GaugeMetricFamily(
            "deconvoy_schedule_refused", "Whether the last firing was refused.", labels=["schedule"]
        )
        yield GaugeMetricFamily(
            "deconvoy_schedule_failed", "Whether the run of the last firing has failed or is lost.", labels=["schedule"]
        )

    def collect(self) -> Iterator[Metric]:
        """The last firing of each schedule."""
        fired, refused, failed = self.describe()
        bad = {run.run for run in self._runs() if run.state in (RunState.FAILED, RunState.LOST)}
        for name, fire in self._fires().items():
            fired.add_metric([name], datetime.fromisoformat(fire.at).timestamp())  # type: ignore[attr-defined]
            refused.add_metric([name], bool(fire.refused))  # type: ignore[attr-defined]
            failed.add_metric([name], fire.run in bad)  # type: ignore[attr-defined]
        yield from (fired, refused, failed)


class Measured:
    """An application whose answers are counted and timed."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                seconds = time.perf_counter() - started
                self._metrics.answered(method_of(scope), route_of(scope), message["status"], seconds)
            await send(message)

        await self._app(scope, receive, send_counted)


def method_of(scope: Scope) -> str:
    """The method of a request; `other` for an unknown one."""
    return str(scope["method"]) if scope["method"] in METHODS else "other"


def route_of(scope: Scope) -> str:
    """The pattern of the route that answered a request."""
    return str(getattr(scope.get("route"), "path", "other"))
