"""Channels whose patches look similar to an image-text model. Takes a channel or a text, gives cards of the nearest channels."""

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.pages.values import Value
from service.query.catalog import PublishedRun
from service.query.concepts import Near, encoder_of
from workers.errors import DamagedRun
from workers.host import log
from workers.host.log import Log

SIMILAR_SHOWN = 12


class NearCard(Value):
    """A channel near another one, or near a text: the cosine of the angle between them, and how alike its own patches are."""

    layer: str
    channel: int
    similarity: float
    agreement: float
    href: str
    picture: str | None


class SimilarChannels(Value):
    """The channels of all layers whose patches look most similar to those of one, and the page that compares them."""

    encoder: str
    href: str
    channels: tuple[NearCard, ...]


def similar_of(atlas: Atlas, scan: PublishedRun, layer: str, channel: int) -> SimilarChannels | None:
    """The channels that are similar to one of a scan; None if it was not embedded, or is dead."""
    run = atlas.embedded(scan, layer)
    if run is None:
        return None
    try:
        concepts = atlas.concepts(run)
    except DamagedRun as error:  # the pages of the scan do not depend on it
        Log().say(f"run {run.run} is left out of the pages of its scan: {error}", log.WARNING)
        return None
    position = concepts.position(layer, channel)
    if position is None:
        return None
    own = int(concepts.number[position])
    near = concepts.nearest(concepts.directions[position], SIMILAR_SHOWN, without=own)
    return SimilarChannels(encoder=encoder_of(run), href=links.row(run, own), channels=cards_of(atlas, run, near))


def near_cards(
    atlas: Atlas, run: PublishedRun, layer: str, channel: int, count: int, *, inside: bool
) -> tuple[NearCard, ...]:
    """The channels nearest to one, in its own layer or in the others; none if it is dead.

    Args:
        atlas: the atlas.
        run: a run of `concepts`.
        layer: the channel's layer.
        channel: its number.
        count: how many.
        inside: whether they are in its own layer.
    """
    concepts = atlas.concepts(run)
    position = concepts.position(layer, channel)
    if position is None:
        return ()
    direction, own = concepts.directions[position], int(concepts.number[position])
    if inside:
        return cards_of(atlas, run, concepts.nearest(direction, count, layer, own))
    every = concepts.nearest(direction, count + len(concepts.of_layer(layer)), without=own)
    return cards_of(atlas, run, tuple(near for near in every if near.layer != layer)[:count])


def cards_of(atlas: Atlas, run: PublishedRun, nearest: tuple[Near, ...]) -> tuple[NearCard, ...]:
    """The cards of channels. They lead to the scan, or, if it was removed, to the rows of this run."""
    scan = atlas.embedded_scan(run)
    return tuple(_card(run, scan, near) for near in nearest)


def _card(run: PublishedRun, scan: PublishedRun | None, near: Near) -> NearCard:
    layer = next((layer for layer in scan.layers if layer.name == near.layer), None) if scan else None
    href = links.channel(scan, near.layer, near.channel) if scan and layer else links.row(run, near.number)
    return NearCard(
        layer=near.layer,
        channel=near.channel,
        similarity=near.similarity,
        agreement=near.agreement,
        href=href,
        picture=links.wall(scan, layer, near.channel) if scan and layer else None,
    )
