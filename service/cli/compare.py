"""The command `deconvoy compare`. Takes two published scans, gives what they have in common as a table, JSON, or a figure."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import drawing
from service.cli.options import Json, RootOption
from service.cli.terminal import echo
from workers.store.root import Root

if TYPE_CHECKING:
    from PIL import Image

    from service.query.comparing import Comparison, LayerPair

_LAYER = {
    "layer": "layer",
    "channels": "channels",
    "overlap": "overlap",
    "other_channels": "other channels",
    "chance": "by chance",
    "rank_correlation": "order of shared images",
    "channel_correlation": "order of channels",
}
_CHANNEL = {
    "channel": "channel",
    "shared": "shared",
    "overlap": "overlap",
    "rank_correlation": "order of shared images",
}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(compare)


def compare(
    first: Annotated[str, typer.Argument(help="Run id of a scan.")],
    second: Annotated[str, typer.Argument(help="Run id of a second scan, of another model or over another corpus.")],
    root: RootOption,
    layer: Annotated[str | None, typer.Option("--layer", help="Compare the channels of this layer one by one.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="PNG file to draw all layers to.")] = None,
    as_json: Json = False,
) -> None:
    """Compare two scans: overlap and order of their channels' top images."""
    from service.cli.console import print_json, print_table
    from service.query import catalog, comparing
    from service.query.layers import read_layer

    drawing.check_output(output)
    compared = comparing.comparison(*(catalog.find(Root(root), run) for run in (first, second)))
    if layer is None:
        found, columns = [asdict(each) for each in comparing.whole(compared)], _LAYER
    else:
        pairs = compared.pairs([read_layer(run, layer) for run in compared.runs])
        found, columns = [asdict(each) for each in pairs], _CHANNEL
    if output is not None:
        drawing.save(figure(compared, comparing.whole(compared)), output)
    if as_json:
        print_json(found)
        return
    print_table(found, columns)
    for line in remarks(compared):
        echo(line)


def remarks(compared: "Comparison") -> list[str]:
    """What a reader of the numbers must know."""
    ks = [run.k for run in compared.runs]
    told = [] if compared.in_common else ["the corpora share no file, so no overlap is given"]
    if ks[0] != ks[1]:
        told.append(f"the scans keep {ks[0]} and {ks[1]} images per channel; overlaps are shares of the larger number")
    return told


def figure(compared: "Comparison", layers: "Sequence[LayerPair]") -> "Image.Image":
    """Each channel's overlap as a dot, a column for each layer; a line at what other channels give."""
    import numpy as np
    from matplotlib.figure import Figure

    from service.query.layers import read_layer
    from service.sheets import canvas

    drawn = Figure((max(6.0, 1.1 * len(layers) + 2.0), 4.6), 110, layout="constrained")
    axes, spread = drawn.subplots(), np.random.default_rng(0)
    for place, each in enumerate(layers):
        pairs = compared.pairs([read_layer(run, each.layer) for run in compared.runs])
        known = [pair.overlap for pair in pairs if pair.overlap is not None]
        aside = place + spread.uniform(-0.3, 0.3, len(known))
        axes.plot(aside, known, ".", color="#4c72b0", markersize=4, alpha=0.5, clip_on=False)
        _lines(axes, place, each)
    axes.set_xticks(range(len(layers)), [each.layer for each in layers], rotation=30 if len(layers) > 4 else 0)
    axes.set_ylim(0, 1)
    axes.set_ylabel("share of top images in common")
    axes.set_title(f"{compared.runs[0].run} and {compared.runs[1].run}: a dot for each channel", fontsize=11)
    if compared.in_common:
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    else:
        axes.text(0.5, 0.5, "the corpora share no file", transform=axes.transAxes, ha="center", va="center")
    return canvas.rasterize(drawn)


def _lines(axes: Any, place: int, layer: "LayerPair") -> None:  # noqa: ANN401 - matplotlib's axes
    """A layer's mean overlap, and what it is to be read against."""
    lines = (
        (layer.overlap, "mean", "#1b1b1d", "-"),
        (layer.other_channels, "other channels", "#c44e52", "--"),
        (layer.chance, "by chance", "#8c8c8c", ":"),
    )
    for height, name, colour, style in lines:
        if height is not None:
            axes.hlines(height, place - 0.4, place + 0.4, color=colour, linestyle=style, label="" if place else name)
