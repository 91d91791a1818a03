"""Progress of runs as server-sent events. Takes what watches the runs, adds the route; no stream holds a thread."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request
from fastapi.responses import Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from service.control.statuses import LIVE, Status
from service.control.watching import Watched
from service.http.scopes import READ
from workers.errors import QueryError, RunError, Unavailable

EVERY_S = 1.0
MOST = 500  # streams at once
RunId = Annotated[str, Path(pattern=r"^[a-z][a-z0-9._-]{0,99}$", description="run id")]


@contextmanager
def missing() -> Iterator[None]:
    """Answer 404 for a missing run, not 409."""
    try:
        yield
    except RunError as error:
        raise QueryError(str(error)) from error


def add_to(router: APIRouter, watched: Watched) -> None:
    """Add the route of a run's events."""
    streams = Streams(watched)
    seen = Header(max_length=200, description="the last event received: a browser sends it when it reconnects")
    ended: dict[int | str, dict[str, Any]] = {
        204: {"description": "the run has ended, and the client knows: do not reconnect"}
    }

    @router.get(
        "/runs/{run}/events",
        operation_id="events",
        response_class=EventSourceResponse,
        responses=ended,
        dependencies=[READ],
    )
    async def events(run: RunId, request: Request, last_event_id: Annotated[str | None, seen] = None) -> Response:
        """The status of a run as server-sent events, until it ends."""
        with missing():
            status = await watched.answer(run)
        if status.state not in LIVE and last_event_id == _mark(status):
            return Response(status_code=204)
        streams.check()
        return EventSourceResponse(streams.of(run, request))


class Streams:
    """The open streams of events."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._open = 0

    def check(self) -> None:
        """Refuse a stream beyond the limit.

        Raises:
            Unavailable: too many are open.
        """
        if self._open >= MOST:
            raise Unavailable(f"{MOST} streams of events are open already; ask for the run's status, or try later")

    async def of(self, run: str, request: Request) -> AsyncIterator[ServerSentEvent]:
        """A run's status whenever it has changed."""
        self._open += 1
        try:
            async for status in self._changes(run, request):
                yield ServerSentEvent(json.dumps(asdict(status)), event="status", id=_mark(status))
        finally:
            self._open -= 1

    async def _changes(self, run: str, request: Request) -> AsyncIterator[Status]:
        before = None
        while not await request.is_disconnected():
            with suppress(Unavailable):  # the store is slow: keep the last event
                status = await self._watched.answer(run)
                if status != before:
                    yield status
                if status.state not in LIVE:
                    return
                before = status
            await asyncio.sleep(EVERY_S)


def _mark(status: Status) -> str:
    """The id of an event: the attempt and the state that it reports."""
    return f"{status.attempt}.{status.state}"
