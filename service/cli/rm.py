"""The command `rm`. Takes a run id, removes the run and its tables."""

from dataclasses import asdict
from typing import Annotated

import typer

from service.cli.options import Json, RootOption
from service.cli.submissions import schedules_of
from service.cli.terminal import echo
from workers.store.root import existing


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(rm)


def rm(
    run: Annotated[str, typer.Argument(help="Run id.")],
    root: RootOption,
    as_json: Json = False,
) -> None:
    """Remove a run, published or not, and its tables. Shard results are kept until `gc` finds that no run needs them."""
    from datetime import UTC, datetime, timedelta

    from service.cli.console import print_json
    from service.cli.running import format_size
    from service.control.housekeeping import Housekeeping
    from workers.spec.make import check_run_id

    store = existing(root)
    keeper = Housekeeping(store, schedules_of(store), datetime.now(UTC), timedelta(0))
    files = keeper.removal_of(check_run_id(run))
    keeper.remove(files)
    if as_json:
        print_json({"removed": [asdict(file) for file in files]})
        return
    echo(
        f"removed run {run}: {len(files):,} file{'s' if len(files) != 1 else ''}, "
        f"{format_size(sum(file.bytes for file in files))}"
    )
