"""The command `label`. Takes a run and a CSV file, gives the run's images other labels without another scan."""

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
        str | None, typer.Option(help="File with a label and its readable name on each line.")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Return to the labels of the corpus.")] = False,
    as_json: Json = False,
) -> None:
    """Give images of a published run other labels, without another scan. Images that the file does not name keep theirs.

    Queries, pages and sheets show the new labels. Published files stay as they are: the labels are a table of their own.
    """
    from service.cli.console import print_json
    from service.control import labelling
    from service.query import catalog
    from workers.errors import UsageError

    if (labels is None) != reset:
        raise UsageError("give either --labels FILE.csv or --reset")
    if reset and label_names is not None:
        raise UsageError("--label-names names the labels of --labels; --reset takes none")
    store = existing(root)
    if labels is None:
        done = labelling.reset(store, run)
    else:
        done = labelling.relabel(catalog.find(store, run, None), labels, label_names)
    if as_json:
        print_json(asdict(done))
    elif reset:
        echo(f"run {run} has the labels of its corpus")
    else:
        echo(_in_words(done))


def _in_words(done: "Relabelling") -> str:
    unknown = f"; ids in the file that are not in the run: {done.unknown:,}" if done.unknown else ""
    return f"run {done.run}: {done.images:,} image{'' if done.images == 1 else 's'} relabelled{unknown}"
