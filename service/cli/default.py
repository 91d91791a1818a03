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
    """Set the scan that `query`, `note`, `sanity` and the Python API use if no run is named. At first, it is the newest."""
    from service.cli.console import print_json
    from service.query import catalog, default_scan
    from workers.errors import UsageError
    from workers.store import paths

    store = existing(root)
    if run is not None and clear:
        raise UsageError("a run id and --clear exclude each other")
    if clear:
        store.delete(paths.DEFAULT_SCAN)
    elif run is not None:
        chosen = default_scan.DefaultScan(catalog.find(store, run).run)
        store.put(paths.DEFAULT_SCAN, default_scan.FORMAT.encode(chosen))
    named = default_scan.read(store)
    if as_json:
        print_json({"default": named})
    else:
        echo(f"the default is run {named}" if named else "the default is the newest scan")
