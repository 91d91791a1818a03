"""The command `retry-rejects`. Takes URIs or a run, deletes the stored verdicts on these files."""

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
    """Delete stored verdicts (crashed, hung, vanished, changed), so that the next scan reads these files again."""
    from service.cli.console import print_json
    from service.control.rejects import retry, retry_of
    from service.query import catalog

    store = existing(root)
    verdicts = retry(store, uris or ()) if run is None else retry_of(catalog.find(store, run, None), uris or ())
    if as_json:
        print_json([asdict(verdict) for verdict in verdicts])
        return
    for verdict in verdicts:
        echo(f"{verdict.uri}  {verdict.reason}: {verdict.detail}")
    count = len(verdicts)
    echo(f"the next scan reads {count:,} file{'s' if count != 1 else ''} again")
