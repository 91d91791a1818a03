"""The atlas over HTTP. Takes requests, asks `pages` and `pictures`, answers with pages, their JSON twins, and pictures."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated

from fastapi import FastAPI, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.atlas import links, render
from service.atlas.atlas import Atlas
from service.atlas.links import Kind
from service.atlas.pages import evolution, findings, images, scans, submitted
from service.atlas.pages.parts import Page
from service.atlas.pictures import Picture, Pictures
from service.control.schedules import Schedules
from service.control.statuses import RunState, Status
from service.control.submissions import Submissions
from service.control.watching import Watched
from service.http import api, health, problems
from service.http.access import Gate, Rules
from service.http.keys import Keys
from service.http.metrics import Measured, Metrics
from service.http.places import Allowed
from service.http.request_log import Logged
from service.http.routes import in_pool, route_in
from service.pools import Pool
from service.query.layers import Choice
from workers.errors import DeconvoyError, QueryError
from workers.store.root import Root

FOR_EVER = "public, max-age=31536000, immutable"
POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
OPENAPI = "/api/v1/openapi.json"
LONGEST_NUMBER = 10
PAGE_THREADS = 8  # pages are made of Python: forty threads that wait for one lock make the last wait longest
PAGE_THREADS_AFAR = 32  # where a thread waits for a store most of the time, those that wait lock nobody out
PAGE_S = 30.0  # that a page waits for the store
SEARCH_THREADS = 2  # a search reads tables of every run
Index = Annotated[int, Path(ge=0, lt=1 << 62)]

GUARDS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

Asked = Mapping[str, str]


class Guarded:
    """Adds GUARDS to whatever an application answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(GUARDS)
            await send(message)

        await self._app(scope, receive, guarded)


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
        openapi_url=OPENAPI,
    )
    threads = PAGE_THREADS if root.is_local else PAGE_THREADS_AFAR
    app.router.route_class = route_in(Pool("the atlas", threads, PAGE_S))
    atlas, templates = Atlas(root), Jinja2Templates(env=render.templates)
    pictures = Pictures(atlas)
    app.mount("/static", StaticFiles(directory=render.STATIC), name="static")
    watched = control.watching if control else None
    if control is not None and watched is not None:
        api.add_to(app, control.submissions, watched, control.schedules, control.allowed)
    metrics = Metrics(lambda: _runs(atlas, watched), control.schedules.expected_fires if control else dict)
    health.add_to(app, root, metrics)
    _add_pages(app, atlas, templates, watched, originals=originals)
    _add_pictures(app, atlas, pictures)
    if originals:
        _add_originals(app, atlas, pictures)
    _add_errors(app, templates)
    _add_last_resort(app)
    app.add_middleware(Gate, known=Keys(root), rules=rules or Rules(), denied=problems.problem)
    app.add_middleware(Measured, metrics=metrics)
    app.add_middleware(Guarded)
    app.add_middleware(Logged)
    return app


def _runs(atlas: Atlas, watched: Watched | None) -> Sequence[Status]:
    """How the runs are."""
    if watched is None:
        return [Status(run.run, RunState.PUBLISHED) for run in atlas.runs()]
    return watched.statuses()


def _add_last_resort(app: FastAPI) -> None:
    @app.exception_handler(Exception)
    def broken(request: Request, error: Exception) -> Response:  # answered outside of Guarded
        del error
        told = "Something is wrong here; the server's log says what."
        if request.url.path.startswith("/api/"):
            return problems.problem(500, told, GUARDS)
        return Response(told, 500, GUARDS, "text/plain")


def _add_errors(app: FastAPI, templates: Jinja2Templates) -> None:
    @app.exception_handler(HTTPException)
    def elsewhere(request: Request, error: HTTPException) -> Response:
        if request.url.path.startswith("/api/"):
            return problems.problem(error.status_code, error.detail, error.headers)
        page = {"kind": "error", "title": error.detail, "error": f"there is nothing at {request.url.path}"}
        return _answered(request, templates, page, error.status_code)

    @app.exception_handler(RequestValidationError)
    def not_a_number(request: Request, error: RequestValidationError) -> Response:
        if request.url.path.startswith("/api/"):
            return problems.mistakes(error)
        return _answered(request, templates, {"kind": "error", "title": "Not found", "error": "no such picture"}, 404)

    @app.exception_handler(DeconvoyError)
    def wrong(request: Request, error: DeconvoyError) -> Response:
        if request.url.path.startswith("/api/"):
            return problems.problem_of(error)
        found = problems.status_of(error)
        status = found if found >= 500 else 404
        titles = {404: "Not found", 500: "Damaged", 503: "Unavailable"}
        page = {"kind": "error", "title": titles[status], "error": str(error)}
        return _answered(request, templates, page, status)


def _answered(request: Request, templates: Jinja2Templates, page: Page, status: int = 200) -> Response:
    """A page, or its data where the path ends in .json."""
    path = request.url.path
    if path.endswith(".json"):
        return JSONResponse(page, status)
    twin = "/index.json" if path == "/" else f"{path}.json"
    there = f"{twin}?{request.url.query}" if request.url.query else twin
    return templates.TemplateResponse(request, f"{page['kind']}.html", {"page": page, "twin": there}, status)


def _add_pages(
    app: FastAPI, atlas: Atlas, templates: Jinja2Templates, runs: Watched | None, *, originals: bool
) -> None:
    searches = Pool("the search", SEARCH_THREADS, PAGE_S)

    def route(path: str, ask: Callable[[Asked], Page], pool: Pool | None = None) -> None:
        """A page and its twin: `ask` takes the path's and the query's parameters."""
        endpoint = _endpoint(ask, templates) if pool is None else in_pool(pool, _endpoint(ask, templates))
        twin = "/index.json" if path == "/" else f"{path}.json"
        for each in (twin, path):  # the twin first: a layer's name may hold a dot
            app.add_api_route(each, endpoint, methods=["GET", "HEAD"], response_model=None, include_in_schema=False)

    route("/", lambda _: scans.runs(atlas, submitted.under_way(runs) if runs else ()))
    if runs is not None:
        route("/submitted/{run}", lambda q: submitted.status(runs, q["run"]))
    route("/limits", lambda _: {"kind": "limits", "title": "What the pictures do not say"})
    again = atlas.remembering
    route("/search", again(lambda q: images.search(atlas, q.get("q", ""))), searches)
    route("/compare", lambda q: scans.compare(atlas, q.get("a", ""), q.get("b", ""), q), searches)
    route("/runs/{run}/image", again(lambda q: images.image(atlas, q["run"], q.get("id", ""), originals=originals)))
    route("/runs/{run}/label", again(lambda q: scans.label(atlas, q["run"], q.get("name", ""))))
    route("/runs/{run}/rows/{number}", again(lambda q: findings.of_row(atlas, q["run"], _whole(q, "number"))))
    route("/runs/{run}/layers/{layer}/channels/{channel}", lambda q: _channel(atlas, q))
    route("/runs/{run}/layers/{layer}", lambda q: _layer(atlas, q))
    route("/runs/{run}", again(lambda q: scans.run(atlas, q["run"], _whole(q, "start"))))


def _endpoint(ask: Callable[[Asked], Page], templates: Jinja2Templates) -> Callable[[Request], Response]:
    def endpoint(request: Request) -> Response:
        return _answered(request, templates, ask({**request.query_params, **request.path_params}))

    return endpoint


def _layer(atlas: Atlas, asked: Asked) -> Page:
    if atlas.run(asked["run"]).job == "evolve":
        return evolution.layer(atlas, asked["run"], asked["layer"], _whole(asked, "start"))
    dead = {"": None, "dead": True, "living": False}
    only = asked.get("only", "")
    if only not in dead:
        raise QueryError(f"channels are dead or living, not {only!r}")
    choice = Choice(
        asked.get("sort", "channel"),
        _number(asked, "at_least"),
        _number(asked, "at_most"),
        asked.get("label") or None,
        dead[only],
    )
    return scans.layer(atlas, asked["run"], asked["layer"], choice, asked.get("show", "patch"))


def _channel(atlas: Atlas, asked: Asked) -> Page:
    return scans.channel(atlas, asked["run"], asked["layer"], _whole(asked, "channel"))


def _whole(asked: Asked, name: str) -> int:
    """A number from 0 on; 0 where none is given."""
    said = asked.get(name) or "0"
    if not (said.isascii() and said.isdecimal() and len(said) < LONGEST_NUMBER):
        raise QueryError(f"{name} {said!r} is no number from 0 on")
    return int(said)


def _number(asked: Asked, name: str) -> float | None:
    said = asked.get(name)
    if not said:
        return None
    try:
        number = float(said)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise QueryError(f"{name.replace('_', ' ')} {said!r} is no number")
    return number


def _add_pictures(app: FastAPI, atlas: Atlas, pictures: Pictures) -> None:
    channels = "/runs/{run}/layers/{layer}/channels/{channel}"

    @app.get(channels + "/wall/{kind}", include_in_schema=False)
    def wall(run: str, layer: str, channel: int, kind: Kind) -> Response:
        return _sent(pictures.wall(atlas.run(run), layer, channel, kind))

    @app.get(channels + "/{rank}/{kind}", include_in_schema=False)
    def cell(run: str, layer: str, channel: int, rank: int, kind: Kind) -> Response:
        return _sent(pictures.cell(atlas.run(run), layer, channel, rank, kind))

    @app.get("/runs/{run}/previews/{image_index}", include_in_schema=False)
    def preview(run: str, image_index: Index) -> Response:
        return _sent(pictures.preview(atlas.run(run), image_index))

    @app.get("/runs/{run}/rows/{number}/{column}", include_in_schema=False)
    def of_row(run: str, number: Index, column: str) -> Response:
        return _sent(pictures.of_row(atlas.run(run), number, column))


def _add_originals(app: FastAPI, atlas: Atlas, pictures: Pictures) -> None:
    @app.get("/runs/{run}/originals/{image_index}", include_in_schema=False)
    def original(run: str, image_index: Index) -> Response:
        found = atlas.run(run)
        try:
            picture = pictures.original(found, image_index)
        except QueryError:  # it has changed, or no browser shows it: the copy that the run keeps is of what was scanned
            return RedirectResponse(links.preview(found, image_index), headers={"Cache-Control": "no-store"})
        return Response(picture.data, media_type=picture.media, headers={"Cache-Control": "private, no-cache"})


def _sent(picture: Picture) -> Response:
    return Response(picture.data, media_type=picture.media, headers={"Cache-Control": FOR_EVER})
