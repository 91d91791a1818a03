"""The command `rm`. Takes a run id, removes the run and its tables."""

from dataclasses import asdict
from typing import Annotated

import typer

from service.cli.options import Json, RootOption
from service.cli.submissions import schedules_of
from workers.store.root import existing


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(rm)


def rm(
    run: Annotated[str, typer.Argument(help="Run id.")],
    root: RootOption,
    as_json: Json = False,
) -> None:
    """Remove a run and its tables, published or not. Shard results are kept until `gc` finds that no run needs them."""
    from datetime import UTC, datetime, timedelta

    from service.cli.console import print_json
    from service.cli.running import size
    from service.control.housekeeping import Housekeeping
    from workers.spec.make import check_run_id

    place = existing(root)
    keeper = Housekeeping(place, schedules_of(place), datetime.now(UTC), timedelta(0))
    files = keeper.removal_of(check_run_id(run))
    keeper.remove(files)
    if as_json:
        print_json({"removed": [asdict(each) for each in files]})
        return
    typer.echo(f"removed run {run}: {len(files):,} files, {size(sum(each.bytes for each in files))}")
