"""The command `query notes`. Takes a scan, lists the notes on the channels of its network."""

from dataclasses import asdict
from typing import Annotated

import typer

from service.cli.options import Json, LimitOption, RootOption, RunOption
from service.cli.querying import find_run, show


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("notes")(list_notes)


def list_notes(
    root: RootOption,
    text: Annotated[str, typer.Argument(help="Only notes that contain this text, in upper or lower case.")] = "",
    layer: Annotated[str | None, typer.Option("--layer", help="Only channels of this layer.")] = None,
    limit: LimitOption = None,
    run: RunOption = None,
    as_json: Json = False,
) -> None:
    """List the notes on the channels of the run's network, by layer and channel; `deconvoy note` writes them.

    A note belongs to a network with one set of weights, so it is listed for every run with these weights.
    """
    from service.query import notes

    scan = find_run(root, run)
    if layer is not None:
        scan.layer(layer)
    rows = [
        asdict(note) for note in notes.of_run(scan) if layer in (None, note.layer) and text.lower() in note.text.lower()
    ]
    headings = {
        "layer": "layer",
        "channel": "channel",
        "text": "note",
        "written_at": "written, UTC",
        "written_by": "key",
    }
    show(rows[:limit], headings, as_json=as_json)
