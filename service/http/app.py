"""The service as an application. Takes a root and what it may do, gives routes behind the gate, or refuses to start."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates

from service.atlas import render
from service.atlas.atlas import Atlas
from service.control.schedules import Schedules
from service.control.statuses import RunState, Status
from service.control.submissions import Submissions
from service.control.watching import Watched
from service.http import api, failures, health, pages, pictures, problems, scopes
from service.http.access import Gate, Rules
from service.http.guards import Guarded
from service.http.keys import Keys
from service.http.metrics import Measured, Metrics
from service.http.places import Allowed
from service.http.request_log import Logged
from service.http.routes import route_in
from service.http.scopes import READ, DeclaredMount
from service.pools import Pool
from workers.store.root import Root

OPENAPI = "/api/v1/openapi.json"
PAGE_THREADS = 8  # pages are made of Python: forty threads that wait for one lock make the last wait longest
PAGE_THREADS_AFAR = 32  # where a thread waits for a store most of the time, those that wait lock nobody out
PAGE_S = 30.0  # that a page waits for the store


@dataclass(frozen=True)
class Control:
    """What lets runs be submitted: runs and schedules of the root, the places that others may name, and what watches the runs."""

    submissions: Submissions
    schedules: Schedules
    allowed: Allowed
    watched: Watched | None = None

    @property
    def watching(self) -> Watched:
        """What is asked how the runs are; without one of its own each question is a look."""
        return self.watched or Watched(self.submissions, life_s=-1.0)


def create(
    root: Root, *, originals: bool = False, control: Control | None = None, rules: Rules | None = None
) -> FastAPI:
    """The atlas of a root, and its control plane.

    Args:
        root: where runs are.
        originals: whether the files of the corpora may be seen, as long as they are what was scanned.
        control: lets runs be submitted; None for an atlas alone.
        rules: what is let through.
    """
    app = FastAPI(
        title="Deconvoy",
        version=version("deconvoy"),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # FastAPI's own route declares no scope
    )
    threads = PAGE_THREADS if root.is_local else PAGE_THREADS_AFAR
    app.router.route_class = route_in(Pool("the atlas", threads, PAGE_S))
    watched = control.watching if control else None
    if control is not None and watched is not None:
        api.add_to(app, control.submissions, watched, control.schedules, control.allowed)
    atlas = Atlas(root)
    metrics = Metrics(lambda: _runs(atlas, watched), control.schedules.expected_fires if control else dict)
    _add_description(app)
    health.add_to(app, root, metrics)
    _add_atlas(app, atlas, watched, originals=originals)
    scopes.check(app.routes)
    needed = partial(scopes.needed, app.routes)
    app.add_middleware(Gate, known=Keys(root), rules=rules or Rules(), denied=problems.problem, needed=needed)
    app.add_middleware(Measured, metrics=metrics)
    app.add_middleware(Guarded)
    app.add_middleware(Logged)
    return app


def _add_description(app: FastAPI) -> None:
    @app.api_route(OPENAPI, methods=["GET", "HEAD"], include_in_schema=False, dependencies=[READ])
    async def description() -> JSONResponse:
        """The description of the API."""
        return JSONResponse(app.openapi())


def _add_atlas(app: FastAPI, atlas: Atlas, watched: Watched | None, *, originals: bool) -> None:
    """Add pages, pictures and styles, and what is answered where something is missing."""
    templates, static = Jinja2Templates(env=render.templates), StaticFiles(directory=render.STATIC)
    app.router.routes.append(DeclaredMount("/static", static, "static", dependencies=[READ]))
    pages.add_to(app, atlas, templates, watched, originals=originals)
    pictures.add_to(app, atlas, originals=originals)
    failures.add_to(app, templates)


def _runs(atlas: Atlas, watched: Watched | None) -> Sequence[Status]:
    """How the runs are."""
    if watched is None:
        return [Status(run.run, RunState.PUBLISHED) for run in atlas.runs()]
    return watched.statuses()
