"""The command `deconvoy query`. Takes words, gives tables, JSON or a contact sheet of a published run."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import drawing
from service.cli.terminal import echo
from workers.errors import QueryError, nearest
from workers.spec import families
from workers.store.root import Root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.query.catalog import PublishedRun
    from service.query.scans import Top

MODEL = f"{families.forms()}, with ?weights=FILE or ?weights=ENUM."

app = typer.Typer(no_args_is_help=True, help="Ask a published run.")

RootOption = Annotated[str, typer.Option("--root", help="Folder or URL that holds the datasets.")]
RunOption = Annotated[str | None, typer.Option("--run", help="Run id; the newest run without it.")]
LayerOption = Annotated[str, typer.Option("--layer", help="Name of a layer.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, help="Rows at most.")]

_TOP = {"rank": "rank", "score": "score", "image_id": "image", "label": "label", "location": "y, x", "box": "field"}
_UNIT = ("channel", "images", "max", "mean", "std", "active_share", "q50", "q99", "dead", "label", "purity")
_FOUND = (
    *("run", "job", "row", "layer", "channel", "class_name", "probability", "restart", "status", "error"),
    *("transform", "amount", "relative_distance"),
)
_IMAGE = {"layer": "layer", "channel": "channel", "rank": "rank", "score": "score", "location": "y, x", "box": "field"}


@app.command()
def top(
    root: RootOption,
    layer: LayerOption,
    channel: Annotated[int, typer.Option(help="Channel of the layer.")],
    run: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the images that top a channel, best first."""
    from service.query import catalog, scans

    _show_top(scans.top(catalog.find(Root(root), run), layer, channel), _TOP, as_json=as_json)


@app.command()
def units(  # noqa: PLR0913 - one parameter per flag
    *,
    root: RootOption,
    layer: LayerOption,
    sort: Annotated[str, typer.Option(help="channel, dead, max, mean, std, active_share or purity.")] = "channel",
    at_least: Annotated[float | None, typer.Option(help="Least value of what is sorted by.")] = None,
    at_most: Annotated[float | None, typer.Option(help="Largest value of what is sorted by.")] = None,
    label: Annotated[str | None, typer.Option(help="Only channels whose commonest label is this.")] = None,
    dead: Annotated[bool | None, typer.Option("--dead/--living", help="Only dead or only living channels.")] = None,
    limit: LimitOption = None,
    run: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the statistics of a layer's channels: dead ones first, the largest first, or by channel.

    Purity is the share of a channel's top images that have the commonest label among them.
    """
    from service.query import catalog
    from service.query.layers import Choice, read_layer

    choice = Choice(sort, at_least, at_most, label, dead)
    tables = read_layer(catalog.find(Root(root), run), layer)
    known = {each.label for each in tables.channels if each.label is not None}
    if label is not None and label not in known:
        raise QueryError(f"no channel of layer {layer!r} is mostly about {label!r}; {nearest(label, known)}")
    rows = [asdict(row) for row in tables.chosen(choice)[:limit]]
    _show(rows, {name: name.replace("_", " ") for name in _UNIT}, as_json=as_json)


@app.command()
def label(
    name: Annotated[str, typer.Argument(help="A label of the corpus.")],
    root: RootOption,
    limit: LimitOption = None,
    run: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the channels of all layers whose top images share a label, those first that have most of it."""
    from service.query import catalog, labels

    found = [asdict(row) for row in labels.labelled(catalog.find(Root(root), run), name)[:limit]]
    _show(found, {"layer": "layer", "channel": "channel", "images": "images", "top": "of"}, as_json=as_json)


@app.command()
def found(
    image_id: Annotated[str, typer.Argument(help="Key of the image in the corpus.")],
    root: RootOption,
    run: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what occlusion, inversion and invariance found of an image, in all runs over the corpus of a run."""
    from service.query import catalog, findings

    runs, corpus = catalog.some(Root(root)), catalog.find(Root(root), run, None).corpus
    rows = [
        {"run": each.run.run, "job": each.run.job, "row": each.number, **each.values}
        for each in findings.of_image(runs, corpus, image_id)
    ]
    if not rows:
        raise QueryError(f"no run of occlusion, inversion or invariance over {corpus!r} holds image {image_id!r}")
    _show(rows, {name: name.replace("_", " ") for name in _FOUND}, as_json=as_json)


@app.command()
def image(
    image_id: Annotated[str, typer.Argument(help="Key of the image in the corpus, or its uri.")],
    root: RootOption,
    run: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the channels that an image tops."""
    from service.query import catalog, scans

    _show_top(scans.image(catalog.find(Root(root), run), image_id), _IMAGE, as_json=as_json)


@app.command()
def sheet(
    root: RootOption,
    layer: Annotated[str | None, typer.Option("--layer", help="Name of a layer, of a scan's run.")] = None,
    channels: Annotated[
        str | None,
        typer.Option(
            help=f"Such as 7, 0-23 or 3,7,40-44; without it the first {drawing.SHEET_CHANNELS} that are not dead."
        ),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="PNG to write.")] = Path("sheet.png"),
    run: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw a run as Zeiler & Fergus do: Figure 2 for a scan, 4 for evolution, 5 for invariance, 7 for occlusion, and so on."""
    from service.cli.console import print_json
    from service.query import catalog, scans

    found = catalog.find(Root(root), run, None if layer is None or run is not None else "scan")
    wanted: tuple[int, ...] = ()
    if layer is not None and found.job == "evolve":
        wanted = _numbers(found, layer, channels) or drawing.changing(found, layer)
        drawing.draw_strips(found, layer, wanted, output)
    elif layer is not None and found.job != "scan":
        raise QueryError(f"run {found.run!r} is of the job {found.job!r} and is drawn whole: leave --layer out")
    elif found.job != "scan":
        drawing.draw_instrument(found, output)
    elif layer is None:
        raise QueryError(f"run {found.run!r} is a scan: name a --layer, such as {found.layers[-1].name}")
    else:
        wanted = _numbers(found, layer, channels) or scans.living(found, layer, drawing.SHEET_CHANNELS)
        drawing.draw_layer(found, layer, wanted, output)
    if as_json:
        print_json({"run": found.run, "layer": layer, "channels": wanted, "sheet": str(output)})
    else:
        echo(str(output))


def _numbers(run: "PublishedRun", layer: str, channels: str | None) -> tuple[int, ...]:
    """The channels that were asked for, if any were."""
    about = run.layer(layer)
    return drawing.numbers(channels, about.channels) if channels else ()


def _show_top(rows: "tuple[Top, ...]", columns: dict[str, str], *, as_json: bool) -> None:
    plain = [asdict(row) for row in rows]
    more = [{"location": f"{row['y']}, {row['x']}", "box": _box(row)} for row in plain]
    _show(plain if as_json else [row | add for row, add in zip(plain, more, strict=True)], columns, as_json=as_json)


def _show(rows: "Sequence[dict[str, Any]]", columns: dict[str, str], *, as_json: bool) -> None:
    """Print rows: as one JSON value whole, or some of their columns as a table, which they need not all have."""
    from service.cli.console import print_json, print_table

    if as_json:
        print_json(rows)
    else:
        print_table([dict.fromkeys(columns) | row for row in rows], columns)


def _box(row: dict[str, int]) -> str:
    """Rows and columns of the receptive field, model-input pixels."""
    return f"{row['box_top']}:{row['box_bottom']}, {row['box_left']}:{row['box_right']}"
