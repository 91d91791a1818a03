"""The command `gc`. Takes an age, removes what no run needs any more."""

from dataclasses import asdict
from typing import Annotated

import typer

from service.cli.options import Json, RootOption
from service.cli.submissions import schedules_of
from service.cli.terminal import complain, echo
from workers.store.root import existing


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(gc)


def gc(
    root: RootOption,
    older_than: Annotated[float, typer.Option(min=0, help="Age in days; younger files are kept.")] = 7.0,
    forget: Annotated[
        list[str] | None, typer.Option(help="Unpublished run that will not be resumed. Repeatable.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be removed, and remove nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Remove old scheduled runs, results that no run needs, and stray files."""
    from datetime import UTC, datetime, timedelta

    from service.cli.console import print_json
    from service.cli.running import size
    from service.control.housekeeping import Housekeeping

    place = existing(root)
    schedules = schedules_of(place)
    for problem in schedules.readable()[1].values():
        complain(f"{problem}; until then its runs stay")
    keeper = Housekeeping(place, schedules, datetime.now(UTC), timedelta(days=older_than), forget or ())
    files, unfinished = keeper.plan(), keeper.unfinished()
    for problem in keeper.damaged.values():
        typer.echo(f"deconvoy: {problem}; until then all results of shards stay", err=True)
    if not dry_run:
        keeper.remove(files)
    if as_json:
        kept = {"unfinished": unfinished, "damaged": keeper.damaged}
        print_json({"removed": [asdict(each) for each in files], "dry_run": dry_run, **kept})
        return
    for each in files:
        echo(f"{each.path}  {size(each.bytes)}  {each.why}")
    echo(f"{len(files):,} files, {size(sum(each.bytes for each in files))}" + (", would go" if dry_run else ""))
    if unfinished:
        echo(
            f"results of shards stay: {', '.join(unfinished)} not finished; --forget RUN lets go of one that never will be"
        )
