"""The commands `query ...`. Take a published run and a question, print a table or JSON, or draw a sheet."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import drawing
from service.cli.options import AnyRunOption, Json, LayerOption, LimitOption, RootOption, RunOption, SheetRunOption
from service.cli.terminal import echo
from workers.errors import QueryError, nearest
from workers.kinds import Kind
from workers.store.root import Root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.query.catalog import PublishedRun
    from service.query.scans import Top


CLASSES_SHOWN = 6

app = typer.Typer(no_args_is_help=True, help="Query a published run.")


def add_to(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="query")


_TOP_HEADINGS = {
    "rank": "rank",
    "score": "score",
    "image_id": "image",
    "label": "label",
    "location": "y, x",
    "box": "field",
}
_UNIT_COLUMNS = (
    *(
        "channel",
        "images",
        "max",
        "mean",
        "std",
        "active_share",
        "q50",
        "q99",
        "dead",
        "label",
        "purity",
        "selectivity",
    ),
)
_FINDING_COLUMNS = (
    *("run", "job", "row", "layer", "channel", "class_name", "probability", "restart", "status", "error"),
    *("transform", "amount", "relative_distance"),
)
_IMAGE_HEADINGS = {
    "layer": "layer",
    "channel": "channel",
    **{name: heading for name, heading in _TOP_HEADINGS.items() if name not in {"image_id", "label"}},
}


@app.command()
def top(
    root: RootOption,
    layer: LayerOption,
    channel: Annotated[int, typer.Option(help="Channel number.")],
    run: RunOption = None,
    as_json: Json = False,
) -> None:
    """List a channel's top images, strongest first."""
    from service.query import scans

    _show_top(scans.top(_find(root, run), layer, channel), _TOP_HEADINGS, as_json=as_json)


@app.command()
def units(  # noqa: PLR0913 - one parameter per flag
    *,
    root: RootOption,
    layer: LayerOption,
    sort: Annotated[
        str, typer.Option(help="Sort by channel, dead, selectivity, max, mean, std, active_share or purity.")
    ] = "channel",
    at_least: Annotated[float | None, typer.Option(help="Smallest value of the sort column.")] = None,
    at_most: Annotated[float | None, typer.Option(help="Largest value of the sort column.")] = None,
    label: Annotated[str | None, typer.Option(help="Only channels whose most common label is this one.")] = None,
    dead: Annotated[
        bool | None, typer.Option("--dead/--living", help="Only dead channels, or only living ones.")
    ] = None,
    limit: LimitOption = None,
    run: RunOption = None,
    as_json: Json = False,
) -> None:
    """List statistics of a layer's channels.

    Purity is the share of a channel's top images that carry its most common label. Selectivity is the correlation
    between being a top image and the score, plus the share of all top images that carry that label.
    """
    from service.query.layers import Choice, read_layer

    choice = Choice(sort, at_least, at_most, label, dead)
    tables = read_layer(_find(root, run), layer)
    known = {row.label for row in tables.channels if row.label is not None}
    if label is not None and label not in known:
        raise QueryError(
            f"{label!r} is not the most common label of any channel of layer {layer!r}; {nearest(label, known)}"
        )
    rows = [asdict(row) for row in tables.chosen(choice)[:limit]]
    _show(rows, {name: name.replace("_", " ") for name in _UNIT_COLUMNS}, as_json=as_json)


@app.command()
def label(
    name: Annotated[str, typer.Argument(help="Label.")],
    root: RootOption,
    limit: LimitOption = None,
    run: RunOption = None,
    as_json: Json = False,
) -> None:
    """List the channels that have images with this label among their top images, the largest share first."""
    from service.query import labels

    rows = [asdict(row) for row in labels.labelled(_find(root, run), name)[:limit]]
    _show(rows, {"layer": "layer", "channel": "channel", "images": "images", "top": "of"}, as_json=as_json)


@app.command("class")
def predicted_class(
    word: Annotated[str, typer.Argument(help="Name of a class, or another word that finds classes.")],
    root: RootOption,
    limit: LimitOption = None,
    run: RunOption = None,
    as_json: Json = False,
) -> None:
    """List the channels whose top images the network gives this class, the largest share first."""
    from service.query import predicted

    found = _find(root, run)
    classes, channels = predicted.predicted(found, word)
    if not as_json:
        shown = f"{', '.join(classes[:CLASSES_SHOWN])}{', ...' if len(classes) > CLASSES_SHOWN else ''}"
        echo(f"{len(classes)} class{'es' if len(classes) != 1 else ''}: {shown}", err=True)
    rows = [{"layer": found.layers_by_index[row.layer_index].name, **asdict(row)} for row in channels[:limit]]
    _show(rows, {"layer": "layer", "channel": "channel", "images": "images", "top": "of"}, as_json=as_json)


@app.command()
def results(
    image_id: Annotated[str, typer.Argument(help="Image id.")],
    root: RootOption,
    run: AnyRunOption = None,
    as_json: Json = False,
) -> None:
    """List the occlusion, inversion and invariance results for an image, from all runs over the corpus of --run."""
    from service.query import catalog, findings

    corpus = _find(root, run, None).corpus
    rows = [
        {"run": finding.run.run, "job": finding.run.job, "row": finding.number, **finding.values}
        for finding in findings.of_image(catalog.require_runs(Root(root)), corpus, image_id)
    ]
    if not rows:
        raise QueryError(f"no occlusion, inversion or invariance run over {corpus!r} contains image {image_id!r}")
    _show(rows, {name: name.replace("_", " ") for name in _FINDING_COLUMNS}, as_json=as_json)


@app.command()
def image(
    image_id: Annotated[str, typer.Argument(help="Image id, or its URI.")],
    root: RootOption,
    run: RunOption = None,
    as_json: Json = False,
) -> None:
    """List the channels that have this image among their top images."""
    from service.query import scans

    _show_top(scans.image(_find(root, run), image_id), _IMAGE_HEADINGS, as_json=as_json)


@app.command()
def sheet(  # noqa: PLR0913, PLR0917 - one parameter per flag
    root: RootOption,
    layer: Annotated[str | None, typer.Option("--layer", help="Layer name; required for a scan.")] = None,
    channels: Annotated[
        str | None,
        typer.Option(
            help=f"Channels, such as 7, 0-23 or 3,7,40-44; by default the first {drawing.SHEET_CHANNELS} living ones "
            f"({drawing.STRIP_CHANNELS} for evolve)."
        ),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="PNG file to write.")] = Path("sheet.png"),
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="Leave what lies outside the model's input grey. By default, it is filled with dimmed pixels of the photo.",
        ),
    ] = False,
    run: SheetRunOption = None,
    as_json: Json = False,
) -> None:
    """Draw a run as one picture: Figure 2 of Zeiler & Fergus for a scan, Figure 4 for evolution, and so on."""
    from service.cli.console import print_json

    published = _find(root, run, None if run else Kind.SCAN if layer else _only_kind(root))
    drawn = _draw(published, layer, channels, output, exact=exact)
    if as_json:
        print_json({"run": published.run, "layer": layer, "channels": drawn, "sheet": str(output)})
    else:
        echo(str(output))


def _find(root: str, run: str | None, kind: str | None = Kind.SCAN) -> "PublishedRun":
    """The run with this id, or the default. A line on standard error names the default if there are other runs of its kind."""
    from service.query import catalog

    store = Root(root)
    if run is not None:
        return catalog.find(store, run, kind)
    default = catalog.find_default(store) if kind == Kind.SCAN else None
    newest, *others = catalog.of_kind(store, kind)
    which = f"the newest of {len(others) + 1} runs{f' of kind {kind}' if kind else ''}"
    chosen, why = (default, "the root's default") if default else (newest, which)
    if others:
        echo(f"run {chosen.run}, {why}; --run selects another", err=True)
    return chosen


def _only_kind(root: str) -> Kind:
    """The kind of all published runs.

    Raises:
        QueryError: there are several.
    """
    from service.query import catalog

    newest: dict[Kind, str] = {}
    for run in catalog.require_runs(Root(root)):
        newest.setdefault(run.job, run.run)
    if len(newest) > 1:
        choices = ", ".join(f"{run} ({kind})" for kind, run in newest.items())
        raise QueryError(f"root {root!r} has runs of several kinds: give --run, such as {choices}")
    return next(iter(newest))


def _draw(
    run: "PublishedRun", layer: str | None, channels: str | None, output: Path, *, exact: bool
) -> tuple[int, ...]:
    """Draw a run, or a layer of it, and give the channels that were drawn, if they were chosen."""
    from service.query import scans

    if run.job not in ("scan", "evolve") and layer is not None:
        raise QueryError(f"run {run.run!r} is of kind {run.job}, which is drawn as a whole: omit --layer")
    if run.job == "scan" and layer is None:
        raise QueryError(f"run {run.run!r} is a scan: give --layer, such as {run.layers[-1].name}")
    if layer is None:
        drawing.draw_instrument(run, output)
        return ()
    if run.job == "evolve":
        numbers = _parse(run, layer, channels) or drawing.strip_channels(run, layer)
        drawing.draw_strips(run, layer, numbers, output)
    else:
        numbers = _parse(run, layer, channels) or scans.living(run, layer, drawing.SHEET_CHANNELS)
        drawing.draw_layer(run, layer, numbers, output, exact=exact)
    return numbers


def _parse(run: "PublishedRun", layer: str, channels: str | None) -> tuple[int, ...]:
    """The requested channels of a layer; empty if none were requested."""
    count = run.layer(layer).channels
    return drawing.parse_channels(channels, count) if channels else ()


def _show_top(rows: "tuple[Top, ...]", columns: dict[str, str], *, as_json: bool) -> None:
    values = [asdict(row) for row in rows]
    if not as_json:
        values = [row | {"location": f"{row['y']}, {row['x']}", "box": _box(row)} for row in values]
    _show(values, columns, as_json=as_json)


def _show(rows: "Sequence[dict[str, Any]]", columns: dict[str, str], *, as_json: bool) -> None:
    """Print rows as one JSON value, or some of their columns as a table; a column that a row lacks is empty."""
    from service.cli.console import print_json, print_table

    if as_json:
        print_json(rows)
    else:
        print_table([dict.fromkeys(columns) | row for row in rows], columns)


def _box(row: dict[str, int]) -> str:
    """The rows and columns of a receptive field, model-input pixels."""
    return f"{row['box_top']}:{row['box_bottom']}, {row['box_left']}:{row['box_right']}"
