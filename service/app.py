"""The atlas over HTTP. Takes requests, asks `pages` and `pictures`, answers with pages, their JSON twins, and pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates

from service import pages
from service.atlas import Atlas
from service.pages import Page
from service.pictures import Kind, Picture, Pictures
from workers.errors import DamagedRun, DeconvoyError
from workers.store.root import Root

WEB = Path(__file__).parent / "web"
FOR_EVER = "public, max-age=31536000, immutable"
POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
Words = Annotated[str, Query(max_length=2000)]


def create(root: Root) -> FastAPI:
    """The atlas of a root."""
    app = FastAPI(title="Deconvoy", docs_url=None, redoc_url=None, openapi_url=None)
    atlas, templates = Atlas(root), Jinja2Templates(WEB / "templates")
    pictures = Pictures(atlas)
    app.mount("/static", StaticFiles(directory=WEB / "static"), name="static")
    _add_pages(app, atlas, templates)
    _add_pictures(app, atlas, pictures)

    @app.middleware("http")
    async def guard(request: Request, call: Callable[[Request], Any]) -> Any:  # noqa: ANN401 - starlette's response
        response = await call(request)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    @app.exception_handler(DeconvoyError)
    def wrong(request: Request, error: DeconvoyError) -> Response:
        status = 500 if isinstance(error, DamagedRun) else 404
        page = {"kind": "error", "title": "Not found" if status == 404 else "Damaged", "error": str(error)}
        return _answered(request, templates, page, status)

    return app


def _answered(request: Request, templates: Jinja2Templates, page: Page, status: int = 200) -> Response:
    """A page, or its data where the path ends in .json."""
    path = request.url.path
    if path.endswith(".json"):
        return JSONResponse(page, status)
    twin = "/index.json" if path == "/" else f"{path}.json"
    there = f"{twin}?{request.url.query}" if request.url.query else twin
    return templates.TemplateResponse(request, f"{page['kind']}.html", {"page": page, "twin": there}, status)


def _add_pages(app: FastAPI, atlas: Atlas, templates: Jinja2Templates) -> None:
    def route(path: str, ask: Callable[..., Page]) -> None:
        """A page and its twin: `ask` takes the path's and the query's parameters."""
        twin = "/index.json" if path == "/" else f"{path}.json"
        for each in (twin, path):  # the twin first: a layer's name may hold a dot
            app.add_api_route(each, _endpoint(ask, templates), methods=["GET"], response_model=None)

    route("/", lambda _: pages.runs(atlas))
    route("/search", lambda q: pages.search(atlas, q.get("q", "")))
    route("/compare", lambda q: pages.compare(atlas, q.get("a", ""), q.get("b", ""), q.get("layer")))
    route("/runs/{run}/image", lambda q: pages.image(atlas, q["run"], q.get("id", "")))
    route("/runs/{run}/layers/{layer}/channels/{channel}", lambda q: _channel(atlas, q))
    route("/runs/{run}/layers/{layer}", lambda q: _layer(atlas, q))
    route("/runs/{run}", lambda q: pages.run(atlas, q["run"]))


def _endpoint(ask: Callable[[dict[str, str]], Page], templates: Jinja2Templates) -> Callable[[Request], Response]:
    def endpoint(request: Request) -> Response:
        return _answered(request, templates, ask({**request.query_params, **request.path_params}))

    return endpoint


def _layer(atlas: Atlas, asked: dict[str, str]) -> Page:
    sort, show = asked.get("sort", "channel"), asked.get("show", "patch")
    return pages.layer(atlas, asked["run"], asked["layer"], sort, show, asked.get("label") or None)


def _channel(atlas: Atlas, asked: dict[str, str]) -> Page:
    number = int(asked["channel"]) if asked["channel"].isdecimal() else -1
    return pages.channel(atlas, asked["run"], asked["layer"], number)


def _add_pictures(app: FastAPI, atlas: Atlas, pictures: Pictures) -> None:
    channels = "/runs/{run}/layers/{layer}/channels/{channel}"

    @app.get(channels + "/wall/{kind}")
    def wall(run: str, layer: str, channel: int, kind: Kind) -> Response:
        return _sent(pictures.wall(atlas.run(run), layer, channel, kind))

    @app.get(channels + "/{rank}/{kind}")
    def cell(run: str, layer: str, channel: int, rank: int, kind: Kind) -> Response:
        return _sent(pictures.cell(atlas.run(run), layer, channel, rank, kind))

    @app.get("/runs/{run}/previews/{image_index}")
    def preview(run: str, image_index: int) -> Response:
        return _sent(pictures.preview(atlas.run(run), image_index))

    @app.get("/runs/{run}/pictures/{table}/{column}/{number}")
    def of_table(run: str, table: str, column: str, number: int) -> Response:
        return _sent(pictures.of_table(atlas.run(run), table, column, number))


def _sent(picture: Picture) -> Response:
    return Response(picture.data, media_type=picture.media, headers={"Cache-Control": FOR_EVER})
