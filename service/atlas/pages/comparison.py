"""The page that compares two scans. Takes an atlas and a request, gives the values that the page shows and its twin sends."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.links import KINDS
from service.atlas.pages.parts import SAYS, of_channel, of_run
from service.atlas.pages.values import ChannelCard, Page, RunCard, Value
from service.query import comparing
from service.query.catalog import PublishedRun
from service.query.comparing import LayerPair
from service.query.match_by import MatchBy
from service.query.matching import Candidates, LayerMatch, match_layer
from workers.errors import QueryError

COMPARED_BY = ("channel", "overlap")


class LayerLink(Value):
    """A layer, and the page that compares it."""

    name: str
    href: str


class PairCard(Value):
    """A channel of the first scan beside one of the second, with the fields of a `Match`."""

    channel: int
    layer: str | None
    other: int | None
    shared: int
    overlap: float | None
    rank_correlation: float | None
    sides: tuple[ChannelCard, ...]


class ComparePage(Page):
    """One layer of two scans, side by side.

    With `match` "number", `whole` is about the layer; with "overlap", `matched` is, and each channel is beside its best match.
    """

    kind: Literal["compare"] = "compare"
    runs: tuple[RunCard, ...]
    name: str
    match: MatchBy
    matches: tuple[MatchBy, ...]
    layers: tuple[LayerLink, ...]
    show: str
    sort: str
    sorts: tuple[str, ...]
    says: tuple[str, ...]
    in_common: int
    candidates: int
    whole: LayerPair | None
    matched: LayerMatch | None
    channels: tuple[PairCard, ...]


def compare(atlas: Atlas, first: str, second: str, query: Mapping[str, str]) -> ComparePage:
    """Two scans side by side: the channels of a layer, and the share of top images in common.

    Args:
        atlas: the atlas.
        first: run id.
        second: run id.
        query: `layer`, `show`, `match` ("number", or "overlap" for the channel of any layer that shares the most top images)
            and `sort` ("channel", or "overlap": for numbers the smallest first, for best matches the largest).
    """
    runs = (atlas.run(first), atlas.run(second))
    common = comparing.common_layers(*runs)
    wanted, show = query.get("match") or (MatchBy.NUMBER if common else MatchBy.OVERLAP), query.get("show", "patch")
    sort = query.get("sort") or ("overlap" if wanted == MatchBy.OVERLAP else "channel")
    if show not in KINDS or sort not in COMPARED_BY or wanted not in tuple(MatchBy):
        raise QueryError(
            f"cannot show {show!r}, matched by {wanted!r}, sorted by {sort!r}; show is one of {KINDS}, "
            f"match one of {tuple(map(str, MatchBy))}, sort one of {COMPARED_BY}"
        )
    match = MatchBy(wanted)
    names = common if match is MatchBy.NUMBER else tuple(layer.name for layer in runs[0].layers)
    name = query.get("layer") or (names[-1] if names else "")
    about = _by_number(atlas, runs, name, show) if match is MatchBy.NUMBER else _by_overlap(atlas, runs, name, show)
    return ComparePage(
        title=f"{first} and {second}",
        runs=tuple(map(of_run, runs)),
        name=name,
        match=match,
        matches=tuple(MatchBy) if common else (MatchBy.OVERLAP,),
        layers=tuple(LayerLink(name=layer, href=links.compare(first, second, layer, match)) for layer in names),
        show=show,
        sort=sort,
        sorts=COMPARED_BY,
        says=(SAYS[show],),
        in_common=comparing.count_common(*runs),
        channels=_sort(about.pop("channels"), match, sort),
        **about,
    )


def _sort(pairs: Iterator[PairCard], match: MatchBy, sort: str) -> tuple[PairCard, ...]:
    sign = 1 if match is MatchBy.NUMBER else -1
    by: Callable[[PairCard], Any] = lambda pair: (pair.overlap is None, sign * (pair.overlap or 0))  # noqa: E731
    return tuple(sorted(pairs, key=by) if sort == "overlap" else pairs)


def _by_number(atlas: Atlas, runs: tuple[PublishedRun, PublishedRun], name: str, show: str) -> dict[str, Any]:
    """The fields of a page of channels with the same numbers."""
    compared = comparing.comparison(*runs)
    tables = [atlas.layer(run, name) for run in runs]
    sides = tuple(zip(runs, tables, strict=True))
    return {
        "whole": compared.layer(tables),
        "matched": None,
        "candidates": tables[1].layer.channels,
        "channels": (
            PairCard(
                **vars(pair),
                layer=name,
                other=pair.channel,
                sides=tuple(of_channel(run, layer.layer, layer.channels[pair.channel], show) for run, layer in sides),
            )
            for pair in compared.pairs(tables)
        ),
    }


def _by_overlap(atlas: Atlas, runs: tuple[PublishedRun, PublishedRun], name: str, show: str) -> dict[str, Any]:
    """The fields of a page of channels and their best matches."""
    first, second = runs
    tables = atlas.layer(first, name)
    others = {layer.name: atlas.layer(second, layer.name) for layer in second.layers}
    candidates = Candidates(second, tuple(others.values()))
    matched, matches = match_layer(first, tables, candidates)

    def card(name: str, channel: int) -> ChannelCard:
        return of_channel(second, others[name].layer, others[name].channels[channel], show)

    return {
        "whole": None,
        "matched": matched,
        "candidates": len(candidates.places),
        "channels": (
            PairCard(
                **vars(match),
                sides=(
                    of_channel(first, tables.layer, tables.channels[match.channel], show),
                    *([card(match.layer, match.other)] if match.layer is not None and match.other is not None else []),
                ),
            )
            for match in matches
        ),
    }
