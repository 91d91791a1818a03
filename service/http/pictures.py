"""The atlas's pictures over HTTP. Takes addresses of pictures, asks `service.atlas.pictures`, answers with bytes to keep."""

from typing import Annotated

from fastapi import FastAPI, Path
from fastapi.responses import RedirectResponse, Response

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.links import Kind
from service.atlas.pictures import Picture, Pictures
from service.http.scopes import READ
from workers.errors import QueryError

FOR_EVER = "public, max-age=31536000, immutable"
Index = Annotated[int, Path(ge=0, lt=1 << 62)]


def add_to(app: FastAPI, atlas: Atlas, *, originals: bool) -> None:
    """Add the pictures of runs; with `originals` the corpus's own files too."""
    pictures = Pictures(atlas)
    _add_of_channels(app, atlas, pictures)
    _add_of_rows(app, atlas, pictures)
    if originals:
        _add_originals(app, atlas, pictures)


def _add_of_channels(app: FastAPI, atlas: Atlas, pictures: Pictures) -> None:
    channels = "/runs/{run}/layers/{layer}/channels/{channel}"

    @app.get(channels + "/wall/{kind}", include_in_schema=False, dependencies=[READ])
    def wall(run: str, layer: str, channel: int, kind: Kind) -> Response:
        return _sent(pictures.wall(atlas.run(run), layer, channel, kind))

    @app.get(channels + "/{rank}/{kind}", include_in_schema=False, dependencies=[READ])
    def cell(run: str, layer: str, channel: int, rank: int, kind: Kind) -> Response:
        return _sent(pictures.cell(atlas.run(run), layer, channel, rank, kind))


def _add_of_rows(app: FastAPI, atlas: Atlas, pictures: Pictures) -> None:
    @app.get("/runs/{run}/previews/{image_index}", include_in_schema=False, dependencies=[READ])
    def preview(run: str, image_index: Index) -> Response:
        return _sent(pictures.preview(atlas.run(run), image_index))

    @app.get("/runs/{run}/rows/{number}/{column}", include_in_schema=False, dependencies=[READ])
    def of_row(run: str, number: Index, column: str) -> Response:
        return _sent(pictures.of_row(atlas.run(run), number, column))


def _add_originals(app: FastAPI, atlas: Atlas, pictures: Pictures) -> None:
    @app.get("/runs/{run}/originals/{image_index}", include_in_schema=False, dependencies=[READ])
    def original(run: str, image_index: Index) -> Response:
        found = atlas.run(run)
        try:
            picture = pictures.original(found, image_index)
        except QueryError:  # it has changed, or no browser shows it: the copy that the run keeps is of what was scanned
            return RedirectResponse(links.preview(found, image_index), headers={"Cache-Control": "no-store"})
        return Response(picture.data, media_type=picture.media, headers={"Cache-Control": "private, no-cache"})


def _sent(picture: Picture) -> Response:
    return Response(picture.data, media_type=picture.media, headers={"Cache-Control": FOR_EVER})
