"""The page that compares two scans. Takes an atlas and a request, gives the values that the page shows and its twin sends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.links import KINDS
from service.atlas.pages.parts import SAYS, of_channel, of_run
from service.atlas.pages.values import ChannelCard, Page, RunCard, Value
from service.query import comparing
from service.query.comparing import Comparison, LayerPair, Pair
from service.query.layers import LayerTables
from workers.errors import QueryError

COMPARED_BY = ("channel", "overlap")


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
