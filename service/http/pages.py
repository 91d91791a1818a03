"""The atlas's pages over HTTP. Takes paths and queries, asks `service.atlas.pages`, answers with pages and their JSON twins."""

import math
from collections.abc import Callable, Mapping

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.templating import Jinja2Templates

from service.atlas.atlas import Atlas
from service.atlas.instruments import registry
from service.atlas.pages import evolution, images, scans, schema, submitted
from service.atlas.pages.evolution import StripsPage
from service.atlas.pages.plain import LimitsPage
from service.atlas.pages.scans import ChannelPage, LayerPage
from service.atlas.pages.values import Page
from service.control.watching import Watched
from service.http.routes import in_pool
from service.http.scopes import READ
from service.pools import Pool
from service.query.layers import Choice
from workers.errors import QueryError

LONGEST_NUMBER = 10
SEARCH_THREADS = 2  # a search reads tables of every run
SEARCH_S = 30.0  # that a search waits for the store

Asked = Mapping[str, str]


def add_to(app: FastAPI, atlas: Atlas, templates: Jinja2Templates, runs: Watched | None, *, originals: bool) -> None:
    """Add the atlas's pages; `runs` knows of those that were submitted."""
    searches = Pool("the search", SEARCH_THREADS, SEARCH_S)

    def route(path: str, ask: Callable[[Asked], Page], pool: Pool | None = None) -> None:
        """A page and its twin: `ask` takes the path's and the query's parameters."""
        endpoint = _endpoint(ask, templates) if pool is None else in_pool(pool, _endpoint(ask, templates))
        for each in (schema.twin(path), path):  # the twin first: a layer's name may hold a dot
            app.add_api_route(
                each,
                endpoint,
                methods=["GET", "HEAD"],
                response_model=None,
                include_in_schema=False,
                dependencies=[READ],
            )

    route("/", lambda _: scans.runs(atlas, submitted.under_way(runs) if runs else ()))
    if runs is not None:
        route("/submitted/{run}", lambda q: submitted.status(runs, q["run"]))
    route("/limits", lambda _: LimitsPage(title="What the pictures do not say"))
    again = atlas.remembering
    route("/search", again(lambda q: images.search(atlas, q.get("q", ""))), searches)
    route("/compare", lambda q: scans.compare(atlas, q.get("a", ""), q.get("b", ""), q), searches)
    route("/runs/{run}/image", again(lambda q: images.image(atlas, q["run"], q.get("id", ""), originals=originals)))
    route("/runs/{run}/label", again(lambda q: scans.label(atlas, q["run"], q.get("name", ""))))
    route("/runs/{run}/rows/{number}", again(lambda q: registry.row_page(atlas, q["run"], _whole(q, "number"))))
    route("/runs/{run}/layers/{layer}/channels/{channel}", lambda q: _channel(atlas, q))
    route("/runs/{run}/layers/{layer}", lambda q: _layer(atlas, q))
    route("/runs/{run}", again(lambda q: scans.run(atlas, q["run"], _whole(q, "start"))))


def _endpoint(ask: Callable[[Asked], Page], templates: Jinja2Templates) -> Callable[[Request], Response]:
    def endpoint(request: Request) -> Response:
        return answer(request, templates, ask({**request.query_params, **request.path_params}))

    return endpoint


def _layer(atlas: Atlas, asked: Asked) -> LayerPage | StripsPage:
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


def _channel(atlas: Atlas, asked: Asked) -> ChannelPage:
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


def answer(request: Request, templates: Jinja2Templates, page: Page, status: int = 200) -> Response:
    """A page, or its data where the path ends in .json."""
    path = request.url.path
    if path.endswith(".json"):
        return JSONResponse(page.model_dump(mode="json"), status)
    twin = schema.twin(path) + (f"?{request.url.query}" if request.url.query else "")
    return templates.TemplateResponse(request, f"{page.kind}.html", {"page": page, "twin": twin}, status)
