"""The page that compares two scans. Takes an atlas and a request, gives the values that the page shows and its twin sends."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.links import KINDS
from service.atlas.pages.parts import choose, of_channel, of_run, paginate, says_of
from service.atlas.pages.values import ChannelCard, PageOfList, RunCard, Value
from service.query import comparing, matching
from service.query.catalog import PublishedRun
from service.query.comparing import LayerPair
from service.query.match_by import MatchBy, SortBy
from service.query.matching import LayerMatch, Match

PER_PAGE = 60


class LayerLink(Value):
    """A layer, and the page that compares it."""

    name: str
    href: str


@dataclass(frozen=True)
class PairCard(Match):
    """A channel of the first scan beside one of the second: the one of the same number, or the best match."""

    sides: tuple[ChannelCard, ...]


class ComparePage(PageOfList):
    """Some channels of one layer of two scans, side by side.

    With `match` "number", `whole` is about the layer; with "overlap", `matched` is, and each channel is beside its best match.
    """

    kind: Literal["compare"] = "compare"
    runs: tuple[RunCard, ...]
    name: str
    match: MatchBy
    matches: tuple[MatchBy, ...]
    layers: tuple[LayerLink, ...]
    common: tuple[str, ...]
    show: str
    sort: str
    sorts: tuple[str, ...]
    says: tuple[str, ...]
    in_common: int
    candidates: int
    whole: LayerPair | None
    matched: LayerMatch | None
    channels: tuple[PairCard, ...]


@dataclass(frozen=True)
class _Compared:
    """A layer of two scans: as a whole, by number or by overlap, and channel by channel."""

    pairs: Sequence[PairCard]
    whole: LayerPair | None = None
    matched: LayerMatch | None = None


def compare(atlas: Atlas, first: str, second: str, query: Mapping[str, str], start: int = 0) -> ComparePage:
    """Two scans side by side: the channels of a layer, and the share of top images in common.

    Args:
        atlas: the atlas.
        first: run id.
        second: run id.
        query: `layer`, `show`, `match` ("number", or "overlap" for the channel of any layer that shares the most top images)
            and `sort` (a `SortBy`; by default "overlap", or "channel" if the scans have no image in common).
        start: number of the first channel in this order.
    """
    runs = (atlas.run(first), atlas.run(second))
    common = comparing.common_layers(*runs)
    ways = matching.ways_to_match(*runs, common)
    match = MatchBy(choose("match", query.get("match", ""), tuple(map(str, (*ways, *MatchBy)))))
    in_common = comparing.count_common(*runs)
    show, by_default = choose("show", query.get("show", ""), KINDS), SortBy.OVERLAP if in_common else SortBy.CHANNEL
    sort = SortBy(choose("sort", query.get("sort", ""), tuple(map(str, (by_default, *SortBy)))))
    names = common if match is MatchBy.NUMBER else tuple(layer.name for layer in runs[0].layers)
    name = query.get("layer") or (names[-1] if names else "")
    compared = (_by_number if match is MatchBy.NUMBER else _by_overlap)(atlas, runs, name, show)
    chosen = {"a": first, "b": second, "layer": name, "match": str(match), "show": show, "sort": str(sort)}
    return ComparePage(
        title=f"{first} and {second}",
        runs=tuple(map(of_run, runs)),
        name=name,
        match=match,
        matches=tuple(sorted(ways)),
        layers=tuple(LayerLink(name=layer, href=links.compare(first, second, layer, match)) for layer in names),
        common=common,
        show=show,
        sort=sort,
        sorts=tuple(SortBy),
        says=says_of(atlas, runs[0], runs[0].layer(name), show),
        in_common=in_common,
        candidates=sum(layer.channels for layer in runs[1].layers),
        whole=compared.whole,
        matched=compared.matched,
        **_page(matching.sort_pairs(compared.pairs, sort, match), start, chosen),
    )


def _page(pairs: Sequence[PairCard], start: int, chosen: Mapping[str, str]) -> dict[str, Any]:
    """Some of the pairs, and their place among all of them."""
    shown, place = paginate(pairs, start, PER_PAGE, lambda at: f"/compare?{urlencode({**chosen, 'start': at})}")
    return {"channels": tuple(shown), **place}


def _by_number(atlas: Atlas, runs: tuple[PublishedRun, PublishedRun], name: str, show: str) -> _Compared:
    """Channels with the same numbers."""
    compared = comparing.comparison(*runs)
    tables = [atlas.layer(run, name) for run in runs]
    sides = tuple(zip(runs, tables, strict=True))
    pairs = tuple(
        PairCard(
            **vars(pair),
            layer=name,
            other=pair.channel,
            sides=tuple(of_channel(run, layer.layer, layer.channels[pair.channel], show) for run, layer in sides),
        )
        for pair in compared.pairs(tables)
    )
    return _Compared(pairs, whole=compared.layer(tables))


def _by_overlap(atlas: Atlas, runs: tuple[PublishedRun, PublishedRun], name: str, show: str) -> _Compared:
    """Channels and their best matches."""
    [(whole, matches)] = matching.match_layers(*runs, [name])

    def sides(channel: int, layer: str | None, other: int | None) -> Iterator[ChannelCard]:
        for run, at, number in zip(runs, (name, layer), (channel, other), strict=True):
            if at is not None and number is not None:
                tables = atlas.layer(run, at)
                yield of_channel(run, tables.layer, tables.channels[number], show)

    pairs = (PairCard(**vars(match), sides=tuple(sides(match.channel, match.layer, match.other))) for match in matches)
    return _Compared(tuple(pairs), matched=whole)
