"""The web service. Takes a root and its rules, gives an application with routes behind the gate, or refuses to start."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from jobs.texts import Texts
from service.atlas import render
from service.atlas.atlas import Atlas
from service.control.schedules import Schedules
from service.control.statuses import RunState, Status
from service.control.submissions import Submissions
from service.control.watching import Watched
from service.http import api, failures, health, keys, notes, pages, pictures, problems, scopes
from service.http.access import Gate, Rules
from service.http.guards import Guarded
from service.http.keys import Keys
from service.http.metrics import Measured, Metrics
from service.http.places import Allowed
from service.http.request_log import Logged
from service.http.routes import route_in
from service.http.scopes import READ, DeclaredMount
from service.pools import CallPool
from workers.store.root import Root

OPENAPI = "/api/v1/openapi.json"
PAGE_THREADS = 8  # rendering holds Python's lock: with more threads the slowest page takes longer
PAGE_THREADS_REMOTE = 32  # a thread that waits for a remote store does not hold the lock
SMALLEST_COMPRESSED, COMPRESSION = 1000, 5  # bytes; pictures are compressed already
PAGE_S = 30.0  # timeout of a page


@dataclass(frozen=True)
class Control:
    """What the control plane works on: submissions, schedules, the places that specs may name, and the cache of statuses."""

    submissions: Submissions
    schedules: Schedules
    allowed: Allowed
    watched: Watched | None = None

    @property
    def watching(self) -> Watched:
        """The reader of statuses; without a cache, each question reads the root."""
        return self.watched or Watched(self.submissions, life_s=-1.0)


def create(
    root: Root,
    *,
    originals: bool = False,
    control: Control | None = None,
    rules: Rules | None = None,
    embed: Sequence[str] = (),
) -> FastAPI:
    """The application for a root: its atlas and its control plane.

    Args:
        root: the root.
        originals: whether the corpora's own files may be served, as long as they have not changed since the scan.
        control: the control plane; None for an atlas alone.
        rules: what the gate lets through.
        embed: sites that may show cards of channels in frames; without any, there are no cards.
    """
    app = _empty(root)
    watched = control.watching if control else None
    if control is not None and watched is not None:
        api.add_to(app, control.submissions, watched, control.schedules, control.allowed)
    atlas = Atlas(root, has_cards=bool(embed), texts=Texts(root.absolute().url))
    if control is not None:
        notes.add_to(app, atlas)
    metrics = Metrics(lambda: _statuses(atlas, watched), control.schedules.expected_fires if control else dict)
    _add_description(app)
    health.add_to(app, root, metrics)
    _add_atlas(app, atlas, watched, control.schedules if control else None, originals=originals)
    scopes.check(app.routes)
    needed = partial(scopes.needed_scope, app.routes)
    app.add_middleware(Gate, known=Keys(root), rules=rules or Rules(), denied=problems.problem, needed=needed)
    app.add_middleware(Measured, metrics=metrics)
    app.add_middleware(Guarded, sites=embed)
    app.add_middleware(GZipMiddleware, minimum_size=SMALLEST_COMPRESSED, compresslevel=COMPRESSION)
    app.add_middleware(Logged)
    return app


def unguarded(root: Root, only: frozenset[str], *, has_cards: bool = False) -> ASGIApp:
    """The pages and pictures of some runs, without keys, limits and paths: for callers in this process that share them."""
    app = _empty(root)
    _add_atlas(app, Atlas(root, only, hides_paths=True, has_cards=has_cards), None, None, originals=False)

    async def admitted(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, scopes.ADMITTED: [keys.Scope.READ]}, receive, send)

    return admitted


def _empty(root: Root) -> FastAPI:
    """An application whose routes run in threads of their own."""
    app = FastAPI(
        title="Deconvoy",
        version=version("deconvoy"),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # FastAPI's own route declares no scope
    )
    threads = PAGE_THREADS if root.is_local else PAGE_THREADS_REMOTE
    app.router.route_class = route_in(CallPool("the atlas", threads, PAGE_S))
    return app


def _add_description(app: FastAPI) -> None:
    @app.api_route(OPENAPI, methods=["GET", "HEAD"], include_in_schema=False, dependencies=[READ])
    async def description() -> JSONResponse:
        """The description of the API."""
        return JSONResponse(app.openapi())


def _add_atlas(
    app: FastAPI, atlas: Atlas, watched: Watched | None, schedules: Schedules | None, *, originals: bool
) -> None:
    """Add pages, pictures, styles and error pages."""
    static = StaticFiles(directory=render.STATIC)
    app.router.routes.append(DeclaredMount("/static", static, "static", dependencies=[READ]))
    pages.add_to(app, atlas, watched, schedules, originals=originals)
    pictures.add_to(app, atlas, originals=originals)
    failures.add_to(app)


def _statuses(atlas: Atlas, watched: Watched | None) -> Sequence[Status]:
    """The statuses of all runs; without a control plane, of the published ones."""
    if watched is None:
        return [Status(run.run, RunState.PUBLISHED) for run in atlas.runs()]
    return watched.statuses()
