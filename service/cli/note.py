"""The command `note`. Takes a layer, a channel and a text, writes a note that the atlas shows."""

from dataclasses import asdict
from typing import Annotated

import typer

from service.cli.options import Json, RootOption
from service.cli.terminal import echo
from workers.store.root import existing


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(note)


def note(
    layer: Annotated[str, typer.Argument(help="Layer name.")],
    channel: Annotated[int, typer.Argument(help="Channel number.")],
    text: Annotated[str, typer.Argument(help="The note; an empty one removes an earlier note.")],
    root: RootOption,
    run: Annotated[
        str | None,
        typer.Option(
            help="A scan of the network; by default the newest scan, or the one that `deconvoy default` has set."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a note on a channel. Pages of all runs of the same network and weights show it, and the search finds it.

    `deconvoy query notes` lists the notes.
    """
    from service.cli.console import print_json
    from service.control import noting
    from service.query import catalog

    published = catalog.find(existing(root), run)
    written = noting.write(published, layer, channel, text)
    if as_json:
        print_json({"run": published.run, "layer": layer, "channel": channel, "note": written and asdict(written)})
    else:
        echo(f"run {published.run}, {layer}, channel {channel}: note {'written' if written else 'removed'}")
