"""The command `default`. Takes a run id, makes it the scan that other commands use if none is named."""

from typing import Annotated

import typer

from service.cli.options import Json, RootOption
from service.cli.terminal import echo
from workers.store.root import existing


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(default)


def default(
    root: RootOption,
    run: Annotated[str | None, typer.Argument(help="Run id of a scan; without it, the default is shown.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Use the newest scan again.")] = False,
    as_json: Json = False,
) -> None:
    """Set the scan that `query` and `note` use if no run is named. Without a default, they use the newest scan."""
    from service.cli.console import print_json
    from service.control import defaulting
    from service.query import catalog
    from workers.errors import UsageError

    store = existing(root)
    if run is not None and clear:
        raise UsageError("a run id and --clear cannot be used together")
    if clear:
        defaulting.clear(store)
    elif run is not None:
        defaulting.write(catalog.find(store, run))
    chosen = catalog.find_default(store)
    if as_json:
        print_json({"default": chosen and chosen.run})
    else:
        echo(f"the default is run {chosen.run}" if chosen else "the default is the newest scan")
