"""Progress of runs as server-sent events. Takes the statuses of runs, adds a route; an open stream holds no thread."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request
from fastapi.responses import Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from service.control.statuses import LIVE, Status
from service.control.watching import Watched
from service.http.scopes import READ
from workers.errors import QueryError, RunError, Unavailable
from workers.store.json_format import JsonFormat

EVERY_S = 1.0
MOST = 500  # open streams
_FORMAT = JsonFormat(Status, indent=None, sort_keys=False)
RunId = Annotated[str, Path(pattern=r"^[a-z][a-z0-9._-]{0,99}$", description="run id")]


@contextmanager
def missing_run_as_404() -> Iterator[None]:
    """Answer 404 instead of 409 if a run does not exist."""
    try:
        yield
    except RunError as error:
        raise QueryError(str(error)) from error


def add_to(router: APIRouter, watched: Watched) -> None:
    """Add the route of a run's events."""
    streams = Streams(watched)
    last_event = Header(max_length=200, description="the last event received; browsers send it when they reconnect")
    ended: dict[int | str, dict[str, Any]] = {
        204: {"description": "the run has ended and the client has its last event: do not reconnect"}
    }

    @router.get(
        "/runs/{run}/events",
        operation_id="events",
        response_class=EventSourceResponse,
        responses=ended,
        dependencies=[READ],
    )
    async def events(run: RunId, request: Request, last_event_id: Annotated[str | None, last_event] = None) -> Response:
        """The status of a run as server-sent events, until it ends."""
        with missing_run_as_404():
            status = await watched.answer(run)
        if status.state not in LIVE and last_event_id == _mark(status):
            return Response(status_code=204)
        streams.check()
        return EventSourceResponse(streams.of(run, request))


class Streams:
    """The open event streams."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._open = 0

    def check(self) -> None:
        """Refuse a stream beyond the limit.

        Raises:
            Unavailable: too many are open.
        """
        if self._open >= MOST:
            raise Unavailable(f"{MOST} event streams are open already; poll the run's status, or try again later")

    async def of(self, run: str, request: Request) -> AsyncIterator[ServerSentEvent]:
        """A run's status as events: one at the start, and one for each change."""
        self._open += 1
        try:
            async for status in self._changes(run, request):
                yield ServerSentEvent(_FORMAT.encode(status).decode(), event="status", id=_mark(status))
        finally:
            self._open -= 1

    async def _changes(self, run: str, request: Request) -> AsyncIterator[Status]:
        last = None
        while not await request.is_disconnected():
            with suppress(Unavailable):  # the store is slow: the last event still holds
                status = await self._watched.answer(run)
                if status != last:
                    yield status
                if status.state not in LIVE:
                    return
                last = status
            await asyncio.sleep(EVERY_S)


def _mark(status: Status) -> str:
    """The id of an event: the attempt and the state that it reports."""
    return f"{status.attempt}.{status.state}"
