"""The commands `query ...`. Take a published run and a question, print a table or JSON, or draw a sheet."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import query_class, query_classes, query_concept, query_notes, query_sheet
from service.cli.options import AnyLayerOption, AnyRunOption, Json, LayerOption, LimitOption, RootOption, RunOption
from service.cli.querying import SHARE_HEADINGS, find_run, show
from workers.errors import QueryError, nearest
from workers.store.root import Root

if TYPE_CHECKING:
    from service.query.scans import Top


app = typer.Typer(no_args_is_help=True, help="Query a published run.")


def add_to(parent: typer.Typer) -> None:
    """Add the commands."""
    query_class.add_to(app)
    query_classes.add_to(app)
    query_concept.add_to(app)
    query_notes.add_to(app)
    query_sheet.add_to(app)
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

    _show_top(scans.top(find_run(root, run), layer, channel), _TOP_HEADINGS, as_json=as_json)


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

    Of a channel's top images with a positive score, purity is the share that carry their most common label. Selectivity is
    the correlation, over all images, between being a top image and the score, plus that label's share of all the channel's
    top images.
    """
    from service.query.layers import Choice, read_layer

    choice = Choice(sort, at_least, at_most, label, dead)
    tables = read_layer(find_run(root, run), layer)
    known = {row.label for row in tables.channels if row.label is not None}
    if label is not None and label not in known:
        raise QueryError(
            f"{label!r} is not the most common label of any channel of layer {layer!r}; {nearest(label, known)}"
        )
    rows = [asdict(row) for row in tables.chosen(choice)[:limit]]
    show(rows, {name: name.replace("_", " ") for name in _UNIT_COLUMNS}, as_json=as_json)


@app.command()
def label(
    name: Annotated[str, typer.Argument(help="Label.")],
    root: RootOption,
    layer: AnyLayerOption = None,
    limit: LimitOption = None,
    run: RunOption = None,
    as_json: Json = False,
) -> None:
    """List the channels that have images with this label among their top images, the largest share first.

    Among equal shares, the most selective channels come first; `query units` explains selectivity.
    """
    from service.query.labels import labelled
    from service.query.telling import read_overview

    scan = find_run(root, run)
    rows = [asdict(row) for row in labelled(scan, read_overview(scan), name, layer)[:limit]]
    show(rows, SHARE_HEADINGS, as_json=as_json)


@app.command()
def results(
    image_id: Annotated[str, typer.Argument(help="Image id.")],
    root: RootOption,
    run: AnyRunOption = None,
    as_json: Json = False,
) -> None:
    """List the occlusion, inversion and invariance results for an image, from all runs over the corpus of --run."""
    from service.query import catalog, findings

    corpus = find_run(root, run, None, has_corpus=True).corpus
    rows = [
        {"run": finding.run.run, "job": finding.run.job, "row": finding.number, **finding.values}
        for finding in findings.of_image(catalog.require_runs(Root(root)), corpus, image_id)
    ]
    if not rows:
        raise QueryError(f"no occlusion, inversion or invariance run over {corpus!r} contains image {image_id!r}")
    show(rows, {name: name.replace("_", " ") for name in _FINDING_COLUMNS}, as_json=as_json)


@app.command()
def image(
    image_id: Annotated[str, typer.Argument(help="Image id, or its URI.")],
    root: RootOption,
    run: RunOption = None,
    as_json: Json = False,
) -> None:
    """List the channels that have this image among their top images."""
    from service.query import scans

    _show_top(scans.image(find_run(root, run), image_id), _IMAGE_HEADINGS, as_json=as_json)


def _show_top(rows: "tuple[Top, ...]", columns: dict[str, str], *, as_json: bool) -> None:
    values = [asdict(row) for row in rows]
    if not as_json:
        values = [row | {"location": f"{row['y']}, {row['x']}", "box": _box(row)} for row in values]
    show(values, columns, as_json=as_json)


def _box(row: dict[str, int]) -> str:
    """The rows and columns of a receptive field, model-input pixels."""
    return f"{row['box_top']}:{row['box_bottom']}, {row['box_left']}:{row['box_right']}"
