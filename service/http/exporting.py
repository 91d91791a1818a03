"""What `export` writes. Takes a root, run ids and limits, gives the site of these runs."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from itertools import islice

from service.http import app as web
from service.http.site import Selection, Site
from service.query import catalog
from service.query.catalog import PublishedRun
from service.query.layers import Choice, read_layer
from service.query.telling import read_overview
from workers.errors import QueryError, nearest
from workers.store.root import Root


def site(
    root: Root, runs: Sequence[str], patterns: Sequence[str] = (), top: int | None = None, *, has_cards: bool = False
) -> Site:
    """The site of some runs.

    Args:
        root: the root.
        runs: run ids.
        patterns: names of layers, or patterns with `*` and `?`; all layers by default.
        top: number of channels of each layer, the most selective ones; all by default.
        has_cards: whether each channel also has a card, which other pages can embed.

    Raises:
        RunError: a run is not published.
        QueryError: a pattern fits no layer.
    """
    published = [catalog.find(root, run, None) for run in runs]
    layers = {(run.run, layer.name) for run in published for layer in run.layers if _fits(layer.name, patterns)}
    for pattern in patterns:
        names = sorted({layer.name for run in published for layer in run.layers})
        if not any(fnmatchcase(name, pattern) for name in names):
            raise QueryError(f"--layers {pattern!r} matches no layer; {nearest(pattern, names)}")
    channels = _top_channels(published, layers, top) if top else None
    selection = Selection(
        frozenset(run.run for run in published),
        lambda run, layer: (run, layer) in layers,
        lambda run, layer, channel: channels is None or channel in channels.get((run, layer), ()),
        is_whole=not patterns and top is None,
    )
    return Site(web.unguarded(root, selection.runs, has_cards=has_cards), selection)


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


def _top_channels(
    runs: Sequence[PublishedRun], layers: set[tuple[str, str]], top: int
) -> dict[tuple[str, str], frozenset[int]]:
    """The channels of each layer of a scan that its run's page shows, then the most selective living ones."""
    chosen = {}
    for run in runs:
        telling = read_overview(run).telling if run.job == "scan" else {}
        for layer in run.layers if run.job == "scan" else ():
            if (run.run, layer.name) in layers:
                shown = [channel.channel for channel in telling.get(layer.index, ())]
                rows = sorted(read_layer(run, layer.name).chosen(Choice("selectivity")), key=lambda row: row.dead)
                ordered = dict.fromkeys([*shown, *(row.channel for row in rows)])
                chosen[run.run, layer.name] = frozenset(islice(ordered, top))
    return chosen
