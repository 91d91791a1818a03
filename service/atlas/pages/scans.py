"""Pages about scans. Takes an atlas and a request, gives the values that pages show and JSON twins send."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.instruments import registry
from service.atlas.links import KINDS, SHOWN
from service.atlas.pages import histogram
from service.atlas.pages.histogram import Bar, Bin
from service.atlas.pages.parts import SAYS, checks_of, meanings, of_cell, of_channel, of_layer, of_run, of_state
from service.atlas.pages.submitted import StatusCard
from service.atlas.pages.values import CellCard, ChannelCard, LayerCard, LayerState, Link, Page, RunCard, Value
from service.query import comparing, labels
from service.query.catalog import PublishedRun
from service.query.comparing import Comparison, LayerPair, Pair
from service.query.labels import Labelled
from service.query.layers import SORTS, Channel, Choice, LayerTables, Neighbour
from workers.errors import QueryError, nearest

COMPARED_BY = ("channel", "overlap")


class RunsPage(Page):
    """All published runs, the reasons why others cannot be read, and the submitted runs that are not published."""

    kind: Literal["runs"] = "runs"
    runs: tuple[RunCard, ...]
    damaged: dict[str, str]
    under_way: tuple[StatusCard, ...]


class RunPage(Page):
    """A scan: its layers, from the image up."""

    kind: Literal["run"] = "run"
    run: RunCard
    rejects_by_reason: dict[str, int]
    layers: tuple[LayerState, ...]


class LayerPage(Page):
    """The wall of a layer's channels."""

    kind: Literal["layer"] = "layer"
    run: RunCard
    layer: LayerState
    choice: Choice
    show: str
    sorts: tuple[str, ...]
    labels: tuple[str, ...]
    says: tuple[str, ...]
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


class ChannelPage(Page):
    """A channel; `rows` are all of its top images, `cells` those with pictures."""

    kind: Literal["channel"] = "channel"
    run: RunCard
    layer: LayerCard
    channel: int
    statistics: Channel
    cells: tuple[CellCard, ...]
    rows: tuple[CellCard, ...]
    histogram: tuple[Bin, ...]
    bars: tuple[Bar, ...]
    lowest: float
    tallest: int
    from_x: int
    labels: tuple[LabelCount, ...]
    neighbours: tuple[NeighbourCard, ...]
    previous: str
    next: str
    says: tuple[str, ...]
    checks: tuple[Link, ...]


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


class LayerLink(Value):
    """A layer that both runs have, and the page that compares it."""

    name: str
    href: str


@dataclass(frozen=True)
class PairCard(Pair):
    """One channel in both scans."""

    sides: tuple[ChannelCard, ...]


class ComparePage(Page):
    """One layer of two scans, side by side."""

    kind: Literal["compare"] = "compare"
    runs: tuple[RunCard, ...]
    name: str
    layers: tuple[LayerLink, ...]
    show: str
    sort: str
    sorts: tuple[str, ...]
    says: tuple[str, ...]
    in_common: int
    whole: LayerPair
    channels: tuple[PairCard, ...]


def runs(atlas: Atlas, under_way: Sequence[StatusCard]) -> RunsPage:
    """All published runs, the newest first, and the submitted runs that are not published."""
    published = tuple(of_run(run) for run in atlas.runs())
    return RunsPage(title="Runs", runs=published, damaged=dict(atlas.damaged()), under_way=tuple(under_way))


def run(atlas: Atlas, run_id: str, start: int = 0) -> Page:
    """One run: the layers of a scan, or the rows of an instrument."""
    published = atlas.run(run_id)
    if published.job != "scan":
        return registry.run_page(published, start)
    layers = tuple(of_state(atlas, published, layer) for layer in published.layers)
    rejects = dict(published.rejects_by_reason)
    return RunPage(title=published.run, run=of_run(published), rejects_by_reason=rejects, layers=layers)


def layer(atlas: Atlas, run_id: str, name: str, choice: Choice, show: str) -> LayerPage:
    """The wall of a layer's channels.

    Raises:
        QueryError: the run has no such layer, or there is no such kind of picture.
    """
    if show not in KINDS:
        raise QueryError(f"there is no picture {show!r}; {nearest(show, KINDS)}")
    published = atlas.run(run_id)
    tables = atlas.layer(published, name)
    return LayerPage(
        title=f"{name} of {published.run}",
        run=of_run(published),
        layer=of_state(atlas, published, tables.layer),
        choice=choice,
        show=show,
        sorts=SORTS,
        labels=atlas.labels(published),
        says=(SAYS[show], *meanings(tables.layer)),
        channels=tuple(of_channel(published, tables.layer, statistics, show) for statistics in tables.chosen(choice)),
    )


def channel(atlas: Atlas, run_id: str, name: str, number: int) -> ChannelPage:
    """One channel: Figure 2 of the paper, its scores, labels and neighbours."""
    published = atlas.run(run_id)
    tables = atlas.layer(published, name)
    about, scores = tables.layer, tables.histogram(number)
    cells = tuple(of_cell(published, about, row) for row in tables.rows(number))
    return ChannelPage(
        title=f"channel {number} of {name}",
        run=of_run(published),
        layer=of_layer(published, about),
        channel=number,
        statistics=tables.channels[number],
        cells=cells[:SHOWN],
        rows=cells,
        histogram=tuple(Bin(low=low, high=high, images=count) for low, high, count in scores),
        **vars(histogram.figure(scores)),
        labels=tuple(_label(published, label, images) for label, images in tables.labels(number)),
        neighbours=tuple(_neighbour(published, tables, neighbour) for neighbour in tables.neighbours(number)),
        previous=links.channel(published, name, (number - 1) % about.channels),
        next=links.channel(published, name, (number + 1) % about.channels),
        says=(SAYS["patch"], SAYS["projection"], *meanings(about)),
        checks=tuple(
            Link(run=check.run, href=f"{links.run(check)}#{name}") for check in checks_of(atlas, published, name)
        ),
    )


def _label(published: PublishedRun, label: str, images: int) -> LabelCount:
    return LabelCount(label=label, images=images, href=links.label(published, label))


def _neighbour(published: PublishedRun, tables: LayerTables, neighbour: Neighbour) -> NeighbourCard:
    href = links.channel(published, tables.layer.name, neighbour.channel)
    return NeighbourCard(**vars(neighbour), href=href, picture=links.wall(published, tables.layer, neighbour.channel))


def label(atlas: Atlas, run_id: str, name: str) -> LabelPage:
    """The channels of all layers whose top images share a label."""
    published = atlas.run(run_id)
    channels = tuple(_labelled(published, channel) for channel in labels.labelled(published, name))
    return LabelPage(title=name, run=of_run(published), label=name, says=(SAYS["patch"],), channels=channels)


def _labelled(published: PublishedRun, channel: Labelled) -> LabelledCard:
    picture = links.wall(published, published.layer(channel.layer), channel.channel)
    return LabelledCard(**vars(channel), href=links.channel(published, channel.layer, channel.channel), picture=picture)


def compare(atlas: Atlas, first: str, second: str, query: Mapping[str, str]) -> ComparePage:
    """Two scans side by side: the channels of a layer that both have, and the share of top images in common.

    Args:
        atlas: the atlas.
        first: run id.
        second: run id.
        query: `layer`, `show` and `sort` ("channel", or "overlap" for the smallest overlap first).
    """
    compared = comparing.comparison(atlas.run(first), atlas.run(second))
    common = compared.layers
    wanted, show, sort = query.get("layer") or common[-1], query.get("show", "patch"), query.get("sort", "channel")
    if show not in KINDS or sort not in COMPARED_BY:
        raise QueryError(f"cannot show {show!r}, sorted by {sort!r}; show is one of {KINDS}, sort one of {COMPARED_BY}")
    tables = [atlas.layer(run, wanted) for run in compared.runs]
    return ComparePage(
        title=f"{first} and {second}",
        runs=tuple(of_run(run) for run in compared.runs),
        name=wanted,
        layers=tuple(LayerLink(name=layer, href=links.compare(first, second, layer)) for layer in common),
        show=show,
        sort=sort,
        sorts=COMPARED_BY,
        says=(SAYS[show],),
        in_common=compared.in_common,
        whole=compared.layer(tables),
        channels=_pairs(compared, tables, show, sort),
    )


def _pairs(compared: Comparison, tables: Sequence[LayerTables], show: str, sort: str) -> tuple[PairCard, ...]:
    sides = tuple(zip(compared.runs, tables, strict=True))
    pairs = list(compared.pairs(tables))
    if sort == "overlap":
        pairs.sort(key=lambda pair: (pair.overlap is None, pair.overlap))
    return tuple(
        PairCard(
            **vars(pair),
            sides=tuple(of_channel(run, layer.layer, layer.channels[pair.channel], show) for run, layer in sides),
        )
        for pair in pairs
    )
