"""A channel in other runs of its network's architecture. Takes an atlas, a scan and a channel, gives links to the others."""

from collections.abc import Iterator

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.pages.parts import of_run
from service.atlas.pages.values import RunCard, Value
from service.query.catalog import PublishedRun
from workers.kinds import Kind
from workers.store.facts import LayerFacts


class OtherRun(Value):
    """The channel of this number in a scan or a training run of the same architecture; `picture` is its wall there.

    `has_same_weights`: whether both networks are the same, weights included.
    """

    run: RunCard
    has_same_weights: bool
    href: str
    picture: str


def others(atlas: Atlas, published: PublishedRun, about: LayerFacts, number: int) -> Iterator[OtherRun]:
    """The channel of this number in other scans and training runs of the architecture, newest first."""
    for other in atlas.runs():
        same = [layer for layer in other.layers if layer.name == about.name and layer.channels == about.channels]
        if other.run == published.run or not same or other.network != published.network:
            continue
        if other.job in (Kind.SCAN, Kind.EVOLVE):
            is_scan, name = other.job == Kind.SCAN, about.name
            href = links.channel(other, name, number) if is_scan else links.strips(other, name, number, "channel")
            picture, is_same = links.wall(other, same[0], number), other.fingerprint == published.fingerprint
            yield OtherRun(run=of_run(other), has_same_weights=is_same, href=href, picture=picture)
