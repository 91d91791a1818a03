"""Pages about scans. Takes an atlas and what was asked, gives the values that pages show and JSON twins send."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.instruments import registry
from service.atlas.links import KINDS, SHOWN
from service.atlas.pages import histogram
from service.atlas.pages.histogram import Bar, Bin
from service.atlas.pages.parts import SAYS, checks_of, of_cell, of_channel, of_layer, of_run, of_state
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
    """All published runs, those that cannot be read with the reason, and those that are submitted and not published."""

    kind: Literal["runs"] = "runs"
    runs: tuple[RunCard, ...]
    damaged: dict[str, str]
    under_way: tuple[StatusCard, ...]


class RunPage(Page):
    """A scan: its layers from the image up."""

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
    """A label, and how many of a channel's top images have it."""

    label: str
    images: int
    href: str


@dataclass(frozen=True)
class NeighbourCard(Neighbour):
    """A channel that shares top images."""

    href: str
    picture: str


class ChannelPage(Page):
    """A channel; `cells` are its images with pictures, `rows` all of them."""

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
    """A layer that both runs have, and where it is compared."""

    name: str
    href: str


@dataclass(frozen=True)
class PairCard(Pair):
    """The same channel of two scans."""

    sides: tuple[ChannelCard, ...]


class ComparePage(Page):
    """Two scans side by side in one layer."""

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
    """All published runs, the newest first, and those that were submitted and are not published."""
    found = tuple(of_run(run) for run in atlas.runs())
    return RunsPage(title="Runs", runs=found, damaged=dict(atlas.damaged()), under_way=tuple(under_way))


def run(atlas: Atlas, run_id: str, start: int = 0) -> Page:
    """One run: its layers, or what an instrument found."""
    found = atlas.run(run_id)
    if found.job != "scan":
        return registry.run_page(found, start)
    layers = tuple(of_state(atlas, found, each) for each in found.layers)
    rejects = dict(found.rejects_by_reason)
    return RunPage(title=found.run, run=of_run(found), rejects_by_reason=rejects, layers=layers)


def layer(atlas: Atlas, run_id: str, name: str, choice: Choice, show: str) -> LayerPage:
    """The wall of a layer's channels.

    Raises:
        QueryError: there is no such layer or kind of picture.
    """
    if show not in KINDS:
        raise QueryError(f"nothing is shown as {show!r}; {nearest(show, KINDS)}")
    found = atlas.run(run_id)
    tables = atlas.layer(found, name)
    return LayerPage(
        title=f"{name} of {found.run}",
        run=of_run(found),
        layer=of_state(atlas, found, tables.layer),
        choice=choice,
        show=show,
        sorts=SORTS,
        labels=atlas.labels(found),
        says=(SAYS[show],),
        channels=tuple(of_channel(found, tables.layer, each, show) for each in tables.chosen(choice)),
    )


def channel(atlas: Atlas, run_id: str, name: str, number: int) -> ChannelPage:
    """One channel: Figure 2 of the paper, its scores, labels and neighbours."""
    found = atlas.run(run_id)
    tables = atlas.layer(found, name)
    about, scores = tables.layer, tables.histogram(number)
    cells = tuple(of_cell(found, about, row) for row in tables.rows(number))
    return ChannelPage(
        title=f"channel {number} of {name}",
        run=of_run(found),
        layer=of_layer(found, about),
        channel=number,
        statistics=tables.channels[number],
        cells=cells[:SHOWN],
        rows=cells,
        histogram=tuple(Bin(low=low, high=high, images=count) for low, high, count in scores),
        **vars(histogram.figure(scores)),
        labels=tuple(_label(found, *each) for each in tables.labels(number)),
        neighbours=tuple(_neighbour(found, tables, each) for each in tables.neighbours(number)),
        previous=links.channel(found, name, (number - 1) % about.channels),
        next=links.channel(found, name, (number + 1) % about.channels),
        says=(SAYS["patch"], SAYS["projection"]),
        checks=tuple(Link(run=each.run, href=f"{links.run(each)}#{name}") for each in checks_of(atlas, found, name)),
    )


def _label(found: PublishedRun, label: str, images: int) -> LabelCount:
    return LabelCount(label=label, images=images, href=links.label(found, label))


def _neighbour(found: PublishedRun, tables: LayerTables, each: Neighbour) -> NeighbourCard:
    href = links.channel(found, tables.layer.name, each.channel)
    return NeighbourCard(**vars(each), href=href, picture=links.wall(found, tables.layer, each.channel))


def label(atlas: Atlas, run_id: str, name: str) -> LabelPage:
    """The channels of all layers whose top images share a label."""
    found = atlas.run(run_id)
    channels = tuple(_labelled(found, each) for each in labels.labelled(found, name))
    return LabelPage(title=name, run=of_run(found), label=name, says=(SAYS["patch"],), channels=channels)


def _labelled(found: PublishedRun, each: Labelled) -> LabelledCard:
    picture = links.wall(found, found.layer(each.layer), each.channel)
    return LabelledCard(**vars(each), href=links.channel(found, each.layer, each.channel), picture=picture)


def compare(atlas: Atlas, first: str, second: str, asked: Mapping[str, str]) -> ComparePage:
    """Two scans side by side: channels of a layer that both have, and how many top images they share.

    Args:
        atlas: the atlas.
        first: run id.
        second: run id.
        asked: `layer`, `show` and `sort` ("channel" or "overlap", least first).
    """
    compared = comparing.comparison(atlas.run(first), atlas.run(second))
    common = compared.layers
    wanted, show, sort = asked.get("layer") or common[-1], asked.get("show", "patch"), asked.get("sort", "channel")
    if show not in KINDS or sort not in COMPARED_BY:
        raise QueryError(f"two runs cannot be shown by {show!r}, sorted by {sort!r}")
    tables = [atlas.layer(run, wanted) for run in compared.runs]
    return ComparePage(
        title=f"{first} beside {second}",
        runs=tuple(of_run(run) for run in compared.runs),
        name=wanted,
        layers=tuple(LayerLink(name=each, href=links.compare(first, second, each)) for each in common),
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
            sides=tuple(of_channel(run, each.layer, each.channels[pair.channel], show) for run, each in sides),
        )
        for pair in pairs
    )
