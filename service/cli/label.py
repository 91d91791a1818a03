"""The command `label`. Takes a run and a CSV file, relabels the run's images without rescanning."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.options import Json, RootOption
from service.cli.terminal import echo
from workers.store.root import existing

if TYPE_CHECKING:
    from service.control.labelling import Relabelling


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(label)


def label(
    run: Annotated[str, typer.Argument(help="Id of a published run.")],
    root: RootOption,
    labels: Annotated[
        str | None,
        typer.Option(help="CSV file with the columns image_id and label; an empty label removes the image's label."),
    ] = None,
    label_names: Annotated[
        str | None,
        typer.Option(help="File with a label and its readable name on each line, for the labels of all images."),
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Return to the labels of the corpus.")] = False,
    as_json: Json = False,
) -> None:
    """Relabel images of a published run without rescanning. Images that the file does not name keep their labels.

    Queries, pages and reports show the new labels. Published files stay as they are: the labels are a table of their own.
    """
    from service.cli.console import print_json
    from service.control import labelling
    from service.query import catalog
    from workers.errors import UsageError

    if (labels is None and label_names is None) != reset:
        raise UsageError("give --labels FILE.csv, --label-names FILE or both, or else --reset")
    store = existing(root)
    done = (
        labelling.reset(store, run) if reset else labelling.relabel(catalog.find(store, run, None), labels, label_names)
    )
    if as_json:
        print_json(asdict(done))
    elif reset:
        echo(f"run {run} has the labels of its corpus")
    else:
        echo(_in_words(done))


def _in_words(done: "Relabelling") -> str:
    parts = [_count(done.images, "given labels by the file"), _count(done.renamed, "given readable names")]
    if done.unknown:
        more = ", ..." if done.unknown > len(done.unknown_ids) else ""
        what = "id in the file is" if done.unknown == 1 else "ids in the file are"
        parts.append(f"{done.unknown:,} {what} not in the run: {', '.join(done.unknown_ids)}{more}")
    return f"run {done.run}: " + (
        "; ".join(part for part in parts if part) or "the labels already have their readable names"
    )


def _count(images: int, what: str) -> str:
    return f"{images:,} image{'' if images == 1 else 's'} {what}" if images else ""
