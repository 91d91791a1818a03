"""The atlas's pages over HTTP. Takes paths and queries, gives the pages of `service.atlas.pages` as HTML or as JSON twins."""

import math
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

from service.atlas import links, render
from service.atlas.atlas import Atlas
from service.atlas.instruments import registry
from service.atlas.pages import (
    card,
    comparison,
    evolution,
    home,
    images,
    labelled,
    run,
    scans,
    scheduled,
    schema,
    search,
    submitted,
)
from service.atlas.pages.by_meaning import add_meanings
from service.atlas.pages.evolution import StripsPage
from service.atlas.pages.plain import LimitsPage
from service.atlas.pages.scans import ChannelPage, LayerPage, Look
from service.atlas.pages.submitted import StatusCard
from service.atlas.pages.values import Page
from service.control.schedules import Schedules
from service.control.watching import Watched
from service.http import prefix
from service.http.routes import in_pool
from service.http.scopes import READ
from service.pools import CallPool
from service.query.layers import Choice
from workers.errors import QueryError, RunError

LONGEST_NUMBER = 10
SEARCH_THREADS = 2  # a search reads tables of every run
SEARCH_S = 30.0  # timeout of a search

Parameters = Mapping[str, str]  # of the query and the path


def add_to(
    app: FastAPI, atlas: Atlas, runs: Watched | None, schedules: Schedules | None = None, *, originals: bool
) -> None:
    """Add the atlas's pages; `runs` gives the statuses of submitted runs, `schedules` the schedules."""
    searches = CallPool("the search", SEARCH_THREADS, SEARCH_S)

    def route(path: str, make: Callable[[Parameters], Page], pool: CallPool | None = None) -> None:
        """Add a page and its twin; `make` makes the page from its parameters."""
        endpoint = _endpoint(make) if pool is None else in_pool(pool, _endpoint(make))
        for address in (schema.twin(path), path):  # the twin first: a layer's name may contain a dot
            app.add_api_route(
                address,
                endpoint,
                methods=["GET", "HEAD"],
                response_model=None,
                include_in_schema=False,
                dependencies=[READ],
            )

    route("/", lambda _: home.runs(atlas, _under_way(runs), has_schedules=schedules is not None))
    if schedules is not None:
        route(links.SCHEDULES, lambda _: scheduled.schedules(schedules))
    route("/limits", lambda _: LimitsPage(title="What the pictures do not say"))
    found = atlas.cached(lambda q: search.search(atlas, q.get("q", "")))
    route("/search", lambda q: add_meanings(atlas, search.noted(atlas, found({"q": q.get("q", "")}))), searches)
    route(
        "/compare", lambda q: comparison.compare(atlas, q.get("a", ""), q.get("b", ""), q, _whole(q, "start")), searches
    )
    for path, make in _cards(atlas).items():
        route(path, make)
    for path, make in _pages_of_a_run(atlas, originals=originals, can_note=runs is not None).items():
        route(f"/runs/{{run}}{path}", make)
    route("/runs/{run}", _run_or_status(atlas, runs))
    _redirect_earlier_address(app)


def _cards(atlas: Atlas) -> Mapping[str, Callable[[Parameters], Page]]:
    """The cards of channels, if there are any."""
    path = "/embed/runs/{run}/layers/{layer}/channels/{channel}"
    return {path: lambda q: card.card(atlas, q["run"], q["layer"], _whole(q, "channel"))} if atlas.has_cards else {}


def _redirect_earlier_address(app: FastAPI) -> None:
    """Redirect from the address that submitted runs had in earlier versions."""

    @app.get("/submitted/{run}", include_in_schema=False, dependencies=[READ])
    def submitted_run(run: str) -> Response:
        return RedirectResponse(links.run_of_id(quote(run, safe="")), 308)


def _under_way(runs: Watched | None) -> Sequence[StatusCard]:
    return submitted.under_way(runs) if runs else ()


def _pages_of_a_run(atlas: Atlas, *, originals: bool, can_note: bool) -> Mapping[str, Callable[[Parameters], Page]]:
    """The pages below a run's own; paths are tried in this order."""
    cached = atlas.cached
    return {
        "/image": cached(lambda q: images.image(atlas, q["run"], q.get("id", ""), originals=originals)),
        "/label": cached(lambda q: labelled.label(atlas, q["run"], q.get("name", ""))),
        "/labels": cached(lambda q: run.labels(atlas, q["run"], _whole(q, "start"))),
        "/images": cached(lambda q: run.images(atlas, q["run"], _whole(q, "start"))),
        "/rejects": cached(lambda q: run.rejects(atlas, q["run"], _whole(q, "start"))),
        "/rows/{number}": cached(lambda q: registry.row_page(atlas, q["run"], _whole(q, "number"))),
        "/layers/{layer}/channels/{channel}": lambda q: _channel(atlas, q, can_note=can_note),
        "/layers/{layer}": lambda q: _layer(atlas, q),
    }


def _run_or_status(atlas: Atlas, runs: Watched | None) -> Callable[[Parameters], Page]:
    """The page of a published run, or the status of a submitted one."""
    published = atlas.cached(lambda q: run.run(atlas, q["run"], _whole(q, "start")))

    def make(parameters: Parameters) -> Page:
        try:
            return published(parameters)
        except RunError:
            if runs is None or not runs.has(parameters["run"]):
                raise
            return submitted.status(runs, parameters["run"])

    return make


def _endpoint(make: Callable[[Parameters], Page]) -> Callable[[Request], Response]:
    def endpoint(request: Request) -> Response:
        return answer(request, make({**request.query_params, **request.path_params}))

    return endpoint


def _layer(atlas: Atlas, parameters: Parameters) -> LayerPage | StripsPage:
    if atlas.run(parameters["run"]).job == "evolve":
        start, sort = _whole(parameters, "start"), parameters.get("sort", "")
        return evolution.layer(atlas, parameters["run"], parameters["layer"], start, sort)
    dead = {"": None, "dead": True, "living": False}
    only = parameters.get("only", "")
    if only not in dead:
        raise QueryError(f"parameter only={only!r} is not valid; give dead or living")
    choice = Choice(
        parameters.get("sort", "selectivity"),
        _number(parameters, "at_least"),
        _number(parameters, "at_most"),
        parameters.get("label") or None,
        dead[only],
        _numbers(parameters, "channels"),
    )
    return scans.layer(atlas, parameters["run"], parameters["layer"], choice, _look(parameters))


def _channel(atlas: Atlas, parameters: Parameters, *, can_note: bool) -> ChannelPage:
    number, look = _whole(parameters, "channel"), _look(parameters)
    return scans.channel(atlas, parameters["run"], parameters["layer"], number, look, can_note=can_note)


def _look(parameters: Parameters) -> Look:
    default = Look()
    return Look(
        parameters.get("show") or default.show,
        parameters.get("view") or default.view,
        parameters.get("size") or default.size,
    )


def _numbers(parameters: Parameters, name: str) -> tuple[int, ...] | None:
    """Whole numbers, separated by commas or spaces; None if there are none."""
    words = parameters.get(name, "").replace(",", " ").split()
    return tuple(_whole({name: word}, name) for word in words) or None


def _whole(parameters: Parameters, name: str) -> int:
    """A whole number from 0; 0 if the parameter is missing."""
    text = parameters.get(name) or "0"
    if not (text.isascii() and text.isdecimal() and len(text) < LONGEST_NUMBER):
        raise QueryError(f"{name} {text!r} is not a whole number (0 or more)")
    return int(text)


def _number(parameters: Parameters, name: str) -> float | None:
    text = parameters.get(name)
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise QueryError(f"{name.replace('_', ' ')} {text!r} is not a number")
    return number


def answer(request: Request, page: Page, status: int = 200) -> Response:
    """A page as HTML, or as JSON if the path ends in .json."""
    path = request.url.path
    if path.endswith(".json"):
        return JSONResponse(page.model_dump(mode="json"), status)
    twin = schema.twin(path) + (f"?{request.url.query}" if request.url.query else "")
    prefix_of_site = prefix.of(request.scope)
    site = f"{request.url.scheme}://{request.url.netloc}{prefix_of_site}"
    html = render.page(f"{page.kind}.html", page=page, twin=twin, site=site)
    return HTMLResponse(prefix.add_to_links(html, prefix_of_site), status)
