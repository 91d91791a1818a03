"""The command `compare`. Takes two published scans, prints how similar their channels are, or draws it as a figure."""

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

_LAYER_HEADINGS = {
    "layer": "layer",
    "channels": "channels",
    "overlap": "overlap",
    "other_channels": "other channels",
    "chance": "by chance",
    "rank_correlation": "rank correlation",
    "channel_correlation": "correlation of mean scores",
}
_CHANNEL_HEADINGS = {
    "channel": "channel",
    "shared": "shared",
    "overlap": "overlap",
    "rank_correlation": "rank correlation",
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
        rows, headings = [asdict(pair) for pair in comparing.compare_layers(compared)], _LAYER_HEADINGS
    else:
        pairs = compared.pairs([read_layer(run, layer) for run in compared.runs])
        rows, headings = [asdict(pair) for pair in pairs], _CHANNEL_HEADINGS
    if output is not None:
        drawing.save(figure(compared, comparing.compare_layers(compared)), output)
    if as_json:
        print_json(rows)
        return
    print_table(rows, headings)
    for line in remarks(compared):
        echo(line)


def remarks(compared: "Comparison") -> list[str]:
    """Caveats that a reader of the numbers needs."""
    ks = [run.k for run in compared.runs]
    lines = [] if compared.in_common else ["the corpora have no file in common, so there is no overlap"]
    if ks[0] != ks[1]:
        lines.append(f"the scans keep {ks[0]} and {ks[1]} images per channel; overlaps are shares of the larger number")
    return lines


def figure(compared: "Comparison", layers: "Sequence[LayerPair]") -> "Image.Image":
    """Draw each channel's overlap as a dot in its layer's column, with lines at the mean, other channels and chance."""
    import numpy as np
    from matplotlib.figure import Figure

    from service.query.layers import read_layer
    from service.sheets import canvas

    chart = Figure((max(6.0, 1.1 * len(layers) + 2.0), 4.6), 110, layout="constrained")
    axes, random = chart.subplots(), np.random.default_rng(0)
    for column, layer in enumerate(layers):
        pairs = compared.pairs([read_layer(run, layer.layer) for run in compared.runs])
        overlaps = [pair.overlap for pair in pairs if pair.overlap is not None]
        xs = column + random.uniform(-0.3, 0.3, len(overlaps))
        axes.plot(xs, overlaps, ".", color="#4c72b0", markersize=4, alpha=0.5, clip_on=False)
        _draw_lines(axes, column, layer)
    axes.set_xticks(range(len(layers)), [layer.layer for layer in layers], rotation=30 if len(layers) > 4 else 0)
    axes.set_ylim(0, 1)
    axes.set_ylabel("share of top images in common")
    axes.set_title(f"{compared.runs[0].run} and {compared.runs[1].run}: one dot per channel", fontsize=11)
    if compared.in_common:
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    else:
        axes.text(0.5, 0.5, "the corpora have no file in common", transform=axes.transAxes, ha="center", va="center")
    return canvas.rasterize(chart)


def _draw_lines(axes: Any, column: int, layer: "LayerPair") -> None:  # noqa: ANN401 - matplotlib's axes
    """A layer's mean overlap, and the two floors to compare it with."""
    lines = (
        (layer.overlap, "mean", "#1b1b1d", "-"),
        (layer.other_channels, "other channels", "#c44e52", "--"),
        (layer.chance, "by chance", "#8c8c8c", ":"),
    )
    for height, name, colour, style in lines:
        if height is not None:
            axes.hlines(height, column - 0.4, column + 0.4, color=colour, linestyle=style, label="" if column else name)
