"""The page about a label. Takes an atlas and a scan's label, gives the channels whose top images share it."""

from dataclasses import dataclass
from typing import Literal

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.pages.parts import SAYS, of_run
from service.atlas.pages.values import Page, RunCard
from service.query import labels
from service.query.catalog import PublishedRun
from service.query.labels import Labelled


@dataclass(frozen=True)
class LabelledCard(Labelled):
    """A channel whose top images share a label."""

    href: str
    picture: str


class LabelPage(Page):
    """The channels of all layers whose top images share a label."""

    kind: Literal["label"] = "label"
    run: RunCard
    label: str
    says: tuple[str, ...]
    channels: tuple[LabelledCard, ...]


def label(atlas: Atlas, run_id: str, name: str) -> LabelPage:
    """The channels of all layers whose top images share a label."""
    published = atlas.run(run_id)
    channels = tuple(
        _labelled(published, channel) for channel in labels.labelled(published, atlas.overview(published), name)
    )
    return LabelPage(
        title=name,
        description=f"The channels that have images labelled {name} among their top images.",
        cover=channels[0].picture if channels else None,
        run=of_run(published),
        label=name,
        says=(SAYS["patch"],),
        channels=channels,
    )


def _labelled(published: PublishedRun, channel: Labelled) -> LabelledCard:
    picture = links.wall(published, published.layer(channel.layer), channel.channel)
    return LabelledCard(**vars(channel), href=links.channel(published, channel.layer, channel.channel), picture=picture)
