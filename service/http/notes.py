"""Notes on channels over HTTP. Takes an atlas and texts, gives notes; `service.control.noting` writes them."""

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI, Request
from pydantic import BaseModel, Field

from service.atlas import links
from service.atlas.atlas import Atlas
from service.control import noting
from service.http.bodies import Body
from service.http.events import RunId, missing_run_as_404
from service.http.problems import PROBLEMS
from service.http.routes import route_in
from service.http.scopes import READ, SUBMIT
from service.pools import CallPool
from service.query.notes import LONGEST

THREADS = 2
LIMIT_S = 30.0  # timeout of a request


class NoteRequest(Body):
    """A note on a channel; an empty text removes it."""

    layer: str
    channel: int = Field(ge=0)
    text: str = Field(max_length=2 * LONGEST)


class NoteResponse(BaseModel):
    """A note: when it was written, UTC, and the name of the key that wrote it, if there was one."""

    layer: str
    channel: int
    text: str
    at: str
    by: str


def add_to(app: FastAPI, atlas: Atlas) -> None:
    """Add the routes that read and write notes."""
    router = APIRouter(
        prefix=links.API, responses=PROBLEMS, route_class=route_in(CallPool("the root", THREADS, LIMIT_S))
    )

    @router.get("/runs/{run}/notes", response_model=list[NoteResponse], operation_id="notes", dependencies=[READ])
    def notes(run: RunId) -> Sequence[NoteResponse]:
        """The notes on the channels of a run's network, by layer and channel."""
        with missing_run_as_404():
            published = atlas.run(run)
        return [
            NoteResponse(layer=layer, channel=channel, text=note.text, at=note.at, by=note.by)
            for (layer, channel), note in sorted(atlas.notes(published).items())
        ]

    @router.post(
        "/runs/{run}/notes", response_model=list[NoteResponse], operation_id="write_note", dependencies=[SUBMIT]
    )
    def write(run: RunId, note: NoteRequest, request: Request) -> Sequence[NoteResponse]:
        """Write a note on a channel of a run's network, in place of an earlier one. Returns all notes."""
        with missing_run_as_404():
            published = atlas.run(run)
        noting.write(published, note.layer, note.channel, note.text, str(request.scope.get("key", "")))
        atlas.notebook.forget()
        return notes(run)

    app.router.routes.extend(router.routes)
