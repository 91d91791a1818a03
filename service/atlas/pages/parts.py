"""What pages have in common. Takes runs, layers and rows, gives them as values with their links."""

from collections.abc import Iterator
from typing import Any

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.pages.values import CellCard, ChannelCard, LayerCard, LayerState, RunCard
from service.query.catalog import PublishedRun
from service.query.layers import Channel
from service.query.scans import Top
from workers.store.manifest import LayerFacts

SAYS = {
    "patch": "A patch is all of the image that a unit can see; the unit is most sensitive near the middle.",
    "projection": "A projection shows which pixels of this patch drove this unit, not why the network chose a class.",
}


def begun(start: int, count: int, size: int) -> int:
    """Where a page of a longer list begins: where it is asked to; the last page stands for all that is beyond the end."""
    return min(start, max(0, count - 1) // size * size)


def of_run(found: PublishedRun) -> RunCard:
    """A run."""
    return RunCard(
        run=found.run,
        job=found.job,
        created=found.created,
        model=found.model,
        corpus=found.corpus,
        images=found.images,
        rejects=found.rejects,
        input=(found.input_height, found.input_width),
        spec=dict(found.spec),
        channels=sum(each.channels for each in found.layers),
        layers=len(found.layers),
        href=links.run(found),
    )


def scans_beside(atlas: Atlas, found: PublishedRun) -> Iterator[PublishedRun]:
    """The scans over the same corpus, the newest first; none of itself."""
    for each in atlas.runs():
        if each.job == "scan" and each.corpus == found.corpus and each.run != found.run:
            yield each


def checks_of(atlas: Atlas, scan: PublishedRun, layer: str) -> Iterator[PublishedRun]:
    """The randomisation checks of a scan that looked at a layer, the newest first."""
    for each in atlas.runs():
        sanity = each.sections.sanity
        if sanity and sanity.from_run == scan.run and any(about.name == layer for about in each.layers):
            yield each


def of_layer(found: PublishedRun, about: LayerFacts) -> LayerCard:
    """A layer."""
    return LayerCard(**_layer(found, about))


def of_state(atlas: Atlas, found: PublishedRun, about: LayerFacts) -> LayerState:
    """A layer, and how many of its channels are dead."""
    return LayerState(**_layer(found, about), **_state(atlas, found, about))


def _state(atlas: Atlas, found: PublishedRun, about: LayerFacts) -> dict[str, Any]:
    """How many of a layer's channels are dead."""
    dead = atlas.dead(found)[about.name]
    return {"dead": dead, "dead_share": dead / about.channels}


def _layer(found: PublishedRun, about: LayerFacts) -> dict[str, Any]:
    share = min(1.0, max(about.field_height / found.input_height, about.field_width / found.input_width))
    return {**vars(about), "field_share": share, "href": links.layer(found, about.name)}


def of_channel(found: PublishedRun, about: LayerFacts, each: Channel, show: str = "patch") -> ChannelCard:
    """A channel on a wall."""
    href = links.channel(found, about.name, each.channel)
    return ChannelCard(**vars(each), href=href, picture=links.wall(found, about, each.channel, show))


def of_cell(found: PublishedRun, about: LayerFacts, row: Top) -> CellCard:
    """One of a channel's strongest images: its patch and its projection."""
    return CellCard(**cell_fields(found, about, row))


def cell_fields(found: PublishedRun, about: LayerFacts, row: Top) -> dict[str, Any]:
    """The fields of a `CellCard`."""
    return {
        "rank": row.rank,
        "score": row.score,
        "image_id": row.image_id,
        "label": row.label,
        "location": (row.y, row.x),
        "source_box": (row.source_top, row.source_left, row.source_bottom, row.source_right),
        "href": links.image(found, row.image_id),
        "patch": links.cell(found, about, row.channel, row.rank, "patch"),
        "projection": links.cell(found, about, row.channel, row.rank, "projection"),
    }
