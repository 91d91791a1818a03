"""The card of a channel, for frames on other sites. Takes an atlas and a channel, gives the values that the card shows."""

from typing import Literal

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.links import SHOWN
from service.atlas.pages.parts import has_projections, of_cell, of_run, says_of, texts_of
from service.atlas.pages.values import CellCard, Page


class EmbedPage(Page):
    """A channel in a frame: `images` of its `active` top images have the `label`, the most common one.

    `cells` are the images that activate the channel; a dead channel has none.
    """

    kind: Literal["embed"] = "embed"
    name: str
    layer: str
    channel: int
    label: str | None
    images: int
    active: int
    note: str | None
    kinds: tuple[str, ...]
    says: tuple[str, ...]
    cells: tuple[CellCard, ...]
    href: str


def card(atlas: Atlas, run_id: str, name: str, number: int) -> EmbedPage:
    """The card of a channel of a scan.

    Raises:
        QueryError: the run has no such channel.
    """
    published = atlas.run(run_id)
    tables = atlas.layer(published, name)
    cells = tuple(of_cell(published, tables.layer, row) for row in tables.rows(number) if row.score > 0)
    kinds = ("patch", "projection") if has_projections(published, tables.layer) else ("patch",)
    label, images = next(iter(tables.labels(number)), (None, 0))
    return EmbedPage(
        title=f"channel {number} of {name}",
        name=of_run(published).name,
        layer=name,
        channel=number,
        label=label,
        images=images,
        active=len(cells),
        note=texts_of(atlas, published, name).get(number),
        kinds=kinds,
        says=says_of(atlas, published, tables.layer, *kinds),
        cells=cells[:SHOWN],
        href=links.channel(published, name, number),
    )
