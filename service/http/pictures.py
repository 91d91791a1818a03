"""The atlas's pictures over HTTP. Takes addresses of pictures, gives bytes that browsers cache for ever."""

from typing import Annotated

from fastapi import FastAPI, Path
from fastapi.responses import RedirectResponse, Response

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.channel_pictures import ChannelPictures
from service.atlas.encoded import Picture
from service.atlas.links import Kind
from service.atlas.pictures import Pictures
from service.http.scopes import READ
from service.query.scans import View
from workers.errors import QueryError

FOR_EVER = "public, max-age=31536000, immutable"
Index = Annotated[int, Path(ge=0, lt=1 << 62)]


def add_to(app: FastAPI, atlas: Atlas, *, originals: bool) -> None:
    """Add the pictures of runs and, with `originals`, the corpora's own files."""
    pictures = Pictures(atlas)
    _add_channel_pictures(app, atlas, pictures.channels)
    _add_row_pictures(app, atlas, pictures)
    if originals:
        _add_originals(app, atlas, pictures)


def _add_channel_pictures(app: FastAPI, atlas: Atlas, pictures: ChannelPictures) -> None:
    channels = "/runs/{run}/layers/{layer}/channels/{channel}"

    @app.get("/runs/{run}/mosaic", include_in_schema=False, dependencies=[READ])
    def mosaic(run: str, v: str = "") -> Response:
        published = atlas.run(run)
        return _respond(pictures.mosaic(published), v == published.version)

    @app.get(channels + "/wall/{kind}", include_in_schema=False, dependencies=[READ])
    @app.get(channels + "/wall/{kind}/{view}", include_in_schema=False, dependencies=[READ])
    def wall(run: str, layer: str, channel: int, kind: Kind, view: View = "filled", v: str = "") -> Response:
        published = atlas.run(run)
        return _respond(pictures.wall(published, layer, channel, kind, view), v == published.mark)

    @app.get(channels + "/{rank}/{kind}", include_in_schema=False, dependencies=[READ])
    @app.get(channels + "/{rank}/{kind}/{view}", include_in_schema=False, dependencies=[READ])
    def cell(  # noqa: PLR0913, PLR0917 - the parts of the path
        run: str, layer: str, channel: int, rank: int, kind: Kind, view: View = "filled", v: str = ""
    ) -> Response:
        published = atlas.run(run)
        return _respond(pictures.cell(published, layer, channel, rank, kind, view), v == published.mark)


def _add_row_pictures(app: FastAPI, atlas: Atlas, pictures: Pictures) -> None:
    @app.get("/runs/{run}/previews/{image_index}", include_in_schema=False, dependencies=[READ])
    def preview(run: str, image_index: Index, v: str = "") -> Response:
        published = atlas.run(run)
        return _respond(pictures.preview(published, image_index), v == published.mark)

    @app.get("/runs/{run}/maps/{layer}", include_in_schema=False, dependencies=[READ])
    def map_of(run: str, layer: str, v: str = "") -> Response:
        published = atlas.run(run)
        scan = atlas.embedded_scan(published)
        return _respond(pictures.map_of(published, layer, scan), v == links.map_mark(published, scan))

    @app.get("/runs/{run}/rows/{number}/{column}", include_in_schema=False, dependencies=[READ])
    @app.get("/runs/{run}/rows/{number}/{column}/{view}", include_in_schema=False, dependencies=[READ])
    def of_row(run: str, number: Index, column: str, view: View = "filled", v: str = "") -> Response:
        published = atlas.run(run)
        return _respond(pictures.of_row(published, number, column, view), v == published.mark)


def _add_originals(app: FastAPI, atlas: Atlas, pictures: Pictures) -> None:
    @app.get("/runs/{run}/originals/{image_index}", include_in_schema=False, dependencies=[READ])
    def original(run: str, image_index: Index) -> Response:
        published = atlas.run(run)
        try:
            picture = pictures.original(published, image_index)
        except QueryError:  # the file has changed, or browsers cannot show it; the run's preview shows what was scanned
            return RedirectResponse(links.preview(published, image_index), headers={"Cache-Control": "no-store"})
        return Response(picture.data, media_type=picture.media, headers={"Cache-Control": "private, no-cache"})


def _respond(picture: Picture, is_marked: bool) -> Response:
    """A picture. Only an address with the mark of its run never means another picture."""
    headers = {"Cache-Control": FOR_EVER if is_marked else "no-cache"}
    return Response(picture.data, media_type=picture.media, headers=headers)
