"""Pages about the layers and channels of scans. Takes an atlas and a request, gives the values of pages and JSON twins."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.links import KINDS, SHOWN, VIEWS
from service.atlas.pages import histogram
from service.atlas.pages.histogram import Bar, Bin
from service.atlas.pages.nearby import SimilarChannels, similar_of
from service.atlas.pages.other_runs import OtherRun, others
from service.atlas.pages.parts import (
    checks_of,
    has_projections,
    of_cell,
    of_channel,
    of_layer,
    of_run,
    of_state,
    says_of,
    texts_of,
)
from service.atlas.pages.values import CellCard, ChannelCard, LayerCard, LayerState, Link, Page, RunCard, Value
from service.query.catalog import PublishedRun
from service.query.layers import SORTS, Border, Channel, Choice, LayerTables, Neighbour
from workers.errors import QueryError, nearest
from workers.store.facts import LayerFacts

SIZES = ("S", "M", "L")
OTHERS_SHOWN = 12  # other runs in which a channel is shown
CLASSES_SHOWN = 9  # predicted classes of a channel's top images


@dataclass(frozen=True)
class Look:
    """How pictures are shown.

    Attributes:
        show: patches or projections.
        view: whether they fill their tiles, or show exactly the receptive field.
        size: of the tiles of a wall.
    """

    show: str = "patch"
    view: str = "filled"
    size: str = "M"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("picture", self.show, KINDS),
            ("view", self.view, VIEWS),
            ("size", self.size, SIZES),
        ):
            if value not in known:
                raise QueryError(f"there is no {name} {value!r}; {nearest(value, known)}")


class LayerPage(Page):
    """The wall of a layer's channels."""

    kind: Literal["layer"] = "layer"
    run: RunCard
    layer: LayerState
    choice: Choice
    look: Look
    has_projections: bool
    sorts: tuple[str, ...]
    sizes: tuple[str, ...]
    labels: tuple[str, ...]
    border: Border | None
    is_crowded: bool
    says: tuple[str, ...]
    previous: str | None
    next: str | None
    channels: tuple[ChannelCard, ...]


class LabelCount(Value):
    """A label, and the number of a channel's top images that have it."""

    label: str
    images: int
    href: str


@dataclass(frozen=True)
class NeighbourCard(Neighbour):
    """A channel that shares top images with another."""

    href: str
    picture: str


class PredictedClass(Value):
    """A class, and the number of a channel's top images for which it is the most probable one; the link searches for it."""

    name: str
    images: int
    href: str


class SynthesisCard(Value):
    """The synthetic image of a channel, from another run: its page, its picture, and the channel's largest activation in it."""

    run: str
    href: str
    picture: str
    score: float


class ChannelPage(Page):
    """A channel; `rows` are all of its top images, `cells` those with pictures, `active` the number of those that activate it."""

    kind: Literal["channel"] = "channel"
    run: RunCard
    layer: LayerCard
    channel: int
    statistics: Channel
    note: str | None
    note_action: str | None
    embed: str | None
    look: Look
    has_projections: bool
    other_view: str
    cells: tuple[CellCard, ...]
    rows: tuple[CellCard, ...]
    active: int
    histogram: tuple[Bin, ...]
    bars: tuple[Bar, ...]
    lowest: float
    tallest: int
    from_x: int
    labels: tuple[LabelCount, ...]
    predicted: tuple[PredictedClass, ...]
    synthesis: SynthesisCard | None
    neighbours: tuple[NeighbourCard, ...]
    similar: SimilarChannels | None
    others: tuple[OtherRun, ...]
    previous: str
    next: str
    says: tuple[str, ...]
    checks: tuple[Link, ...]


def layer(atlas: Atlas, run_id: str, name: str, choice: Choice, look: Look) -> LayerPage:
    """The wall of a layer's channels.

    Raises:
        QueryError: the run has no such layer.
    """
    published = atlas.run(run_id)
    tables = atlas.layer(published, name)
    run, about = of_run(published), tables.layer
    before, after = _neighbours(published, about)
    notes = texts_of(atlas, published, name)
    cards = (
        of_channel(published, about, channel, look.show, look.view, notes.get(channel.channel))
        for channel in tables.chosen(choice)
    )
    return LayerPage(
        title=f"{name} of {run.name}",
        description=f"What the {about.channels:,} channels of layer {name} look for in {run.images:,} images.",
        cover=links.mosaic(published),
        run=run,
        layer=of_state(atlas, published, about),
        choice=choice,
        look=look,
        has_projections=has_projections(published, about),
        sorts=SORTS,
        sizes=SIZES,
        labels=atlas.labels(published),
        border=tables.border,
        is_crowded=tables.border is not None and tables.border.is_crowded,
        says=says_of(atlas, published, about, look.show),
        previous=before,
        next=after,
        channels=tuple(cards),
    )


def _neighbours(published: PublishedRun, about: LayerFacts) -> tuple[str | None, str | None]:
    """The pages of the layers below and above."""
    names = [layer.name for layer in published.layers]
    at = names.index(about.name)
    before = links.layer(published, names[at - 1]) if at else None
    return before, links.layer(published, names[at + 1]) if at + 1 < len(names) else None


def channel(atlas: Atlas, run_id: str, name: str, number: int, look: Look, *, can_note: bool = False) -> ChannelPage:
    """One channel: Figure 2 of the paper, its scores, labels and neighbours.

    Args:
        atlas: the atlas.
        run_id: id of a scan.
        name: name of the layer.
        number: number of the channel.
        look: how pictures are shown.
        can_note: whether the service accepts notes.
    """
    published = atlas.run(run_id)
    tables = atlas.layer(published, name)
    about, run = tables.layer, of_run(published)
    cells = tuple(of_cell(published, about, row, look.view) for row in tables.rows(number))
    is_projected = has_projections(published, about)
    return ChannelPage(
        title=f"channel {number} of {name}",
        description=f"The images of {run.corpus_name} that activate channel {number} of layer {name} most.",
        cover=links.wall(published, about, number),
        run=run,
        layer=of_layer(published, about),
        channel=number,
        statistics=tables.channels[number],
        note=texts_of(atlas, published, name).get(number),
        note_action=links.api_run(published.run, "notes") if can_note else None,
        embed=links.embed(published, name, number) if atlas.has_cards else None,
        look=look,
        has_projections=is_projected,
        cells=cells[:SHOWN],
        rows=cells,
        active=sum(cell.score > 0 for cell in cells),
        **_score_fields(tables.histogram(number)),
        **_contents(atlas, published, tables, number),
        **_from_other_runs(atlas, published, name, number),
        neighbours=tuple(_neighbour(published, tables, neighbour) for neighbour in tables.neighbours(number)),
        others=tuple(others(atlas, published, about, number))[:OTHERS_SHOWN],
        **_pages_beside(published, about, number, look.view),
        says=says_of(atlas, published, about, "patch", *(["projection"] if is_projected else [])),
        checks=tuple(_check(check, name) for check in checks_of(atlas, published, name)),
    )


def _pages_beside(published: PublishedRun, about: LayerFacts, number: int, view: str) -> dict[str, Any]:
    """The pages of the channels before and after, and of this one in the other view."""
    before, after = (
        links.channel(published, about.name, (number + step) % about.channels, view=view) for step in (-1, 1)
    )
    other = links.channel(published, about.name, number, view="filled" if view == "exact" else "exact")
    return {"previous": before, "next": after, "other_view": other}


def _score_fields(scores: Sequence[tuple[float, float, int]]) -> dict[str, Any]:
    bins = tuple(Bin(low=low, high=high, images=count) for low, high, count in scores)
    return {"histogram": bins, **vars(histogram.figure(scores))}


def _check(check: PublishedRun, layer: str) -> Link:
    return Link(run=check.run, href=f"{links.run(check)}#{layer}")


def _contents(atlas: Atlas, published: PublishedRun, tables: LayerTables, number: int) -> dict[str, Any]:
    """What is in a channel's top images: their labels, and the classes that the network predicts."""
    predictions = atlas.predictions(published)
    counts = predictions.of(tables.layer.index, number)[:CLASSES_SHOWN] if predictions else ()
    return {
        "labels": tuple(_label(published, label, images) for label, images in tables.labels(number)),
        "predicted": tuple(PredictedClass(name=name, images=seen, href=links.search(name)) for name, seen in counts),
    }


def _from_other_runs(atlas: Atlas, published: PublishedRun, layer: str, number: int) -> dict[str, Any]:
    """What runs of other kinds know about a channel: its synthetic image, and channels with similar patches."""
    made, card = atlas.synthesis(published, layer, number), None
    if made is not None:
        run, image = made
        href, picture = links.row(run, image.number), links.picture(run, image.number, "synthesis")
        card = SynthesisCard(run=run.run, href=href, picture=picture, score=image.score)
    return {"synthesis": card, "similar": similar_of(atlas, published, layer, number)}


def _label(published: PublishedRun, label: str, images: int) -> LabelCount:
    return LabelCount(label=label, images=images, href=links.label(published, label))


def _neighbour(published: PublishedRun, tables: LayerTables, neighbour: Neighbour) -> NeighbourCard:
    href = links.channel(published, tables.layer.name, neighbour.channel)
    return NeighbourCard(**vars(neighbour), href=href, picture=links.wall(published, tables.layer, neighbour.channel))
