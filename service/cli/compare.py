"""The command `compare`. Takes two published scans, prints how similar their channels are, or draws it as a figure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import drawing
from service.cli.options import Json, LimitOption, RootOption
from service.cli.terminal import echo
from service.query.match_by import MatchBy, SortBy
from workers.errors import UsageError
from workers.store.root import Root

if TYPE_CHECKING:
    from PIL import Image

    from service.query.catalog import PublishedRun
    from service.query.comparing import Pair
    from service.query.matching import Match

    Layers = tuple[list[dict[str, Any]], list["Column"]]
    Pairs = Sequence[Pair | Match]
    Runs = tuple[PublishedRun, PublishedRun]

_NUMBER_HEADINGS = {
    "layer": "layer",
    "channels": "channels",
    "overlap": "overlap",
    "other_channels": "other channels",
    "chance": "by chance",
    "rank_correlation": "rank correlation",
    "channel_correlation": "correlation of mean scores",
}
_OVERLAP_HEADINGS = {
    "layer": "layer",
    "channels": "channels",
    "overlap": "overlap",
    "chance": "by chance",
    "matched_layer": "most matches in",
}
_CHANNEL_HEADINGS = {
    "channel": "channel",
    "shared": "shared",
    "overlap": "overlap",
    "rank_correlation": "rank correlation",
}
_MATCH_HEADINGS = {"channel": "channel", "layer": "its layer", "other": "its match"} | _CHANNEL_HEADINGS


@dataclass(frozen=True)
class Column:
    """A layer in the figure: the overlaps of its channels, and lines to compare them with, by name."""

    layer: str
    overlaps: Sequence[float]
    lines: Mapping[str, float | None]


@dataclass(frozen=True)
class Compared:
    """What is printed, and the figure, if one is wanted."""

    rows: list[dict[str, Any]]
    headings: dict[str, str]
    figure: "Image.Image | None"


_ORDERS = {
    MatchBy.NUMBER: {
        SortBy.CHANNEL: "by channel number",
        SortBy.OVERLAP: "most changed first",
        SortBy.RANK_CORRELATION: "lowest rank correlation first",
    },
    MatchBy.OVERLAP: {
        SortBy.CHANNEL: "by channel number",
        SortBy.OVERLAP: "largest overlap first",
        SortBy.RANK_CORRELATION: "highest rank correlation first",
    },
}
_LINES = {"mean": ("#1b1b1d", "-"), "other channels": ("#c44e52", "--"), "by chance": ("#8c8c8c", ":")}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(compare)


def compare(  # noqa: PLR0913, PLR0917 - one parameter per flag
    first: Annotated[str, typer.Argument(help="Run id of a scan.")],
    second: Annotated[str, typer.Argument(help="Run id of a second scan, of another model or over another corpus.")],
    root: RootOption,
    layer: Annotated[str | None, typer.Option("--layer", help="Compare the channels of this layer one by one.")] = None,
    match: Annotated[
        MatchBy | None,
        typer.Option(
            "--match",
            help="number: compare each channel with the channel of the same layer and number. overlap: compare it with the "
            "channel, in any layer, whose top images overlap most with its own. The default is number, or overlap if the scans "
            "have no layer in common.",
        ),
    ] = None,
    sort: Annotated[
        SortBy | None,
        typer.Option(
            "--sort",
            help="With --layer: the order of its channels. With --match number, the smallest overlap or rank correlation "
            "comes first; with --match overlap, the largest. The default is channel, or overlap with -o.",
        ),
    ] = None,
    limit: LimitOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="PNG file for a figure of all layers; with --layer, for the patches of its channels in both scans: "
            f"--limit channels, by default {drawing.SHEET_CHANNELS}.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare two scans: overlap and order of their channels' top images."""
    from service.cli.console import print_json, print_table
    from service.query import catalog, comparing, matching

    drawing.check_output(output)
    if layer is None and (sort is not None or limit is not None):
        raise UsageError("--sort and --limit are for the channels of one layer: add --layer, or omit them")
    runs = (catalog.find(Root(root), first), catalog.find(Root(root), second))
    match = match or matching.ways_to_match(*runs, comparing.common_layers(*runs))[0]
    is_drawn = output is not None
    if layer is None:
        compared = _compare_layers(runs, match, is_drawn=is_drawn)
    else:
        order = sort or (SortBy.OVERLAP if is_drawn else SortBy.CHANNEL)
        compared = _compare_channels(runs, layer, (match, order, limit), is_drawn=is_drawn)
    if output is not None and compared.figure is not None:
        drawing.save(compared.figure, output)
        echo(f"the figure is {str(output)!r}", err=True)
    if as_json:
        print_json(compared.rows)
        return
    print_table(compared.rows, compared.headings)
    for line in _remarks(runs, match):
        echo(line)


def _compare_layers(runs: "Runs", match: MatchBy, *, is_drawn: bool) -> Compared:
    """The layers of the first scan."""
    is_by_number = match is MatchBy.NUMBER
    rows, columns = (_by_number if is_by_number else _by_overlap)(runs, is_drawn=is_drawn)
    headings = _NUMBER_HEADINGS if is_by_number else _OVERLAP_HEADINGS
    return Compared(rows, headings, _draw(runs, match, columns) if is_drawn else None)


def _by_number(runs: "Runs", *, is_drawn: bool) -> "Layers":
    """Layers whose channels have the same numbers."""
    from service.query import comparing
    from service.query.layers import read_layer

    compared = comparing.comparison(*runs)
    layers, columns = comparing.compare_layers(compared), []
    for whole in layers if is_drawn else ():
        pairs = compared.pairs([read_layer(run, whole.layer) for run in runs])
        lines = {"mean": whole.overlap, "other channels": whole.other_channels, "by chance": whole.chance}
        columns.append(Column(whole.layer, [pair.overlap for pair in pairs if pair.overlap is not None], lines))
    return [asdict(whole) for whole in layers], columns


def _by_overlap(runs: "Runs", *, is_drawn: bool) -> "Layers":
    """Layers whose channels are compared with their best matches; all of them are computed even if nothing is drawn."""
    from service.query.matching import match_layers

    del is_drawn
    matched = list(match_layers(*runs))
    columns = [
        Column(
            whole.layer,
            [match.overlap for match in matches if match.overlap is not None],
            {"mean": whole.overlap, "by chance": whole.chance},
        )
        for whole, matches in matched
    ]
    return [asdict(whole) for whole, _ in matched], columns


def _compare_channels(
    runs: "Runs", layer: str, chosen: tuple[MatchBy, SortBy, int | None], *, is_drawn: bool
) -> Compared:
    """The channels of one layer.

    Args:
        runs: the two scans.
        layer: name of the layer.
        chosen: how channels are matched and sorted, and how many there are at most.
        is_drawn: whether a figure is wanted.
    """
    from service.query.matching import sort_pairs
    from service.sheets import comparison

    match, sort, limit = chosen
    pairs = sort_pairs(_pairs(runs, layer, match), sort, match)[:limit]
    drawn = pairs if limit else pairs[: drawing.SHEET_CHANNELS]
    headings = _CHANNEL_HEADINGS if match is MatchBy.NUMBER else _MATCH_HEADINGS
    figure = comparison.sheet(runs, layer, drawn, _ORDERS[match][sort]) if is_drawn else None
    return Compared([asdict(pair) for pair in pairs], headings, figure)


def _pairs(runs: "Runs", layer: str, match: MatchBy) -> "Pairs":
    """The channels of a layer and their counterparts, by number."""
    from service.query import comparing
    from service.query.layers import read_layer
    from service.query.matching import match_layers

    if match is MatchBy.NUMBER:
        return comparing.comparison(*runs).pairs([read_layer(run, layer) for run in runs])
    [(_, matches)] = match_layers(*runs, [runs[0].layer(layer).name])
    return matches


def _remarks(runs: "Runs", match: MatchBy) -> list[str]:
    """Caveats that a reader of the numbers needs."""
    from service.query import comparing

    ks = [run.k for run in runs]
    lines = [] if comparing.count_common(*runs) else ["the corpora have no file in common, so there is no overlap"]
    if ks[0] != ks[1]:
        by_number = "overlaps are relative to the larger number"
        compared = by_number if match is MatchBy.NUMBER else f"the best {min(ks)} of each are compared"
        lines.append(f"the scans keep {ks[0]} and {ks[1]} images per channel; {compared}")
    return lines


def _draw(runs: "Runs", match: MatchBy, columns: Sequence[Column]) -> "Image.Image":
    """Draw each channel's overlap as a dot in its layer's column, with lines at the mean and the floors."""
    import numpy as np
    from matplotlib.figure import Figure

    from service.query import comparing
    from service.sheets import canvas

    chart = Figure((max(6.0, 1.1 * len(columns) + 2.0), 4.6), 110, layout="constrained")
    axes, random = chart.subplots(), np.random.default_rng(0)
    for number, column in enumerate(columns):
        xs = number + random.uniform(-0.3, 0.3, len(column.overlaps))
        axes.plot(xs, column.overlaps, ".", color="#4c72b0", markersize=4, alpha=0.5, clip_on=False)
        _draw_lines(axes, number, column.lines)
    axes.set_xticks(range(len(columns)), [column.layer for column in columns], rotation=30 if len(columns) > 4 else 0)
    axes.set_ylim(0, 1)
    axes.set_ylabel("share of top images in common")
    matched = "" if match is MatchBy.NUMBER else ", with its best match"
    axes.set_title(f"{runs[0].run} and {runs[1].run}: one dot per channel{matched}", fontsize=11)
    if comparing.count_common(*runs):
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    else:
        axes.text(0.5, 0.5, "the corpora have no file in common", transform=axes.transAxes, ha="center", va="center")
    return canvas.rasterize(chart)


def _draw_lines(axes: Any, number: int, lines: Mapping[str, float | None]) -> None:  # noqa: ANN401 - matplotlib's axes
    """A layer's mean overlap, and the floors to compare it with."""
    for name, height in lines.items():
        if height is not None:
            colour, style = _LINES[name]
            axes.hlines(height, number - 0.4, number + 0.4, color=colour, linestyle=style, label="" if number else name)
