"""The command `retry-rejects`. Takes files or a run, deletes stored verdicts."""

from dataclasses import asdict
from typing import Annotated

import typer

from service.cli.options import Json, RootOption
from service.cli.terminal import echo
from workers.store.root import existing


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="retry-rejects")(retry_rejects)


def retry_rejects(
    root: RootOption,
    uris: Annotated[list[str] | None, typer.Argument(help="URIs as in the table rejects; by default all.")] = None,
    run: Annotated[str | None, typer.Option(help="Retry only rejects of this published run.")] = None,
    as_json: Json = False,
) -> None:
    """Delete the stored verdicts on rejected files so that the next scan reads them again."""
    from service.cli.console import print_json
    from service.control.rejects import retry, retry_of
    from service.query import catalog

    place = existing(root)
    verdicts = retry(place, uris or ()) if run is None else retry_of(catalog.find(place, run, None), uris or ())
    if as_json:
        print_json([asdict(each) for each in verdicts])
        return
    for each in verdicts:
        echo(f"{each.uri}  {each.reason}: {each.detail}")
    echo(f"{len(verdicts):,} files will be read again by the next scan")
