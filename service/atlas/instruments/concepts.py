"""Pages of embedded channels. Takes runs and rows of their table, gives the values that pages show."""

from collections.abc import Iterator
from typing import Annotated, Literal

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.instruments.instrument import Instrument
from service.atlas.instruments.page import FindingPage, FoundPage, page_fields, row_fields
from service.atlas.pages.nearby import NearCard, near_cards
from service.atlas.pages.parts import SAYS, of_run
from service.atlas.pages.rows import Of, Row, row_of
from service.atlas.pages.values import Link, RunCard, Value
from service.query.catalog import PublishedRun
from service.query.concepts import encoder_of, tile_share
from service.query.findings import Finding
from workers.store.tables.concepts import CONCEPTS

NOTE = SAYS["concepts"]
NEAR_SHOWN = 12


class MapTile(Value):
    """A channel on a map: the left and top edge of its tile, as shares of the map's side."""

    channel: int
    left: float
    top: float
    agreement: float
    href: str


class ConceptsPage(FoundPage):
    """The map of the layer `shown`; `tile` is the side of a channel's tile, as a share of the map's."""

    kind: Literal["concepts"] = "concepts"
    encoder: str
    scan: RunCard | None
    shown: str
    layers: tuple[Link, ...]
    picture: str
    tile: float
    tiles: tuple[MapTile, ...]


class ConceptPage(FindingPage):
    """A channel, and the channels whose patches are most similar to the image-text model."""

    kind: Literal["concept"] = "concept"
    found: Annotated[Row, Of(CONCEPTS, whole=True)]
    encoder: str
    href: str | None
    picture: str | None
    in_layer: tuple[NearCard, ...]
    in_others: tuple[NearCard, ...]


def run_page(atlas: Atlas, run: PublishedRun, start: int) -> ConceptsPage:
    """The page of a layer; `start` is its number among those of the run."""
    [layer], about = page_fields(run, NOTE, run.layers, start, 1)
    scan = atlas.embedded_scan(run)
    return ConceptsPage(
        **about,
        encoder=encoder_of(run),
        scan=of_run(scan) if scan else None,
        shown=layer.name,
        layers=tuple(Link(run=each.name, href=links.run(run, n)) for n, each in enumerate(run.layers)),
        picture=links.map_of(run, layer.name, scan),
        tile=tile_share(len(atlas.concepts(run).of_layer(layer.name))),
        tiles=tuple(_tiles(atlas, run, layer.name)),
    )


def _tiles(atlas: Atlas, run: PublishedRun, layer: str) -> Iterator[MapTile]:
    """The tiles of a layer's map, in the order in which they are drawn: those on top last."""
    concepts = atlas.concepts(run)
    positions = concepts.of_layer(layer)
    space = 1 - tile_share(len(positions))
    for position in sorted(positions.tolist(), key=lambda at: float(concepts.agreement[at])):
        left, top = (space * float(place) for place in concepts.places[position])
        yield MapTile(
            channel=int(concepts.channel[position]),
            left=left,
            top=top,
            agreement=float(concepts.agreement[position]),
            href=links.row(run, int(concepts.number[position])),
        )


def row_page(atlas: Atlas, row: Finding) -> ConceptPage:
    """The page of one channel."""
    name, number, scan = row.values["layer"], row.values["channel"], atlas.embedded_scan(row.run)
    cards = [near_cards(atlas, row.run, name, number, NEAR_SHOWN, inside=inside) for inside in (True, False)]
    layer = next((layer for layer in scan.layers if layer.name == name), None) if scan else None
    return ConceptPage(
        **row_fields(row, NOTE, f"channel {number} of {name}"),
        found=row_of(row),
        encoder=encoder_of(row.run),
        href=links.channel(scan, name, number) if scan else None,
        picture=links.wall(scan, layer, number) if scan and layer else None,
        in_layer=cards[0],
        in_others=cards[1],
    )


INSTRUMENT = Instrument(
    note=NOTE,
    run_page=run_page,
    row_page=row_page,
    run_pages=(ConceptsPage,),
    row_pages=(ConceptPage,),
    report_figure=True,
)
