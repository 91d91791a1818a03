"""The command `gc`. Takes an age, removes older files that no run needs."""

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
    older_than: Annotated[
        float,
        typer.Option(
            min=0,
            help="Remove only what is at least this many days old. A schedule's runs beyond its `--keep` are removed at any age.",
        ),
    ] = 7.0,
    forget: Annotated[
        list[str] | None,
        typer.Option(help="Unpublished run to abandon; its shard results can then be removed. Repeatable."),
    ] = None,
    drop_results: Annotated[
        bool,
        typer.Option(
            "--drop-results",
            help="Also remove old shard results of published runs, whose tables hold the same numbers. If the "
            "corpus has grown and is scanned, or damaged tables are repaired, these results are computed again.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be removed, and remove nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Remove old scheduled runs, results that no run needs, and stray files."""
    from datetime import UTC, datetime, timedelta

    from service.cli.console import print_json
    from service.cli.running import format_count, format_size
    from service.control.housekeeping import Housekeeping

    store = existing(root)
    schedules = schedules_of(store)
    for problem in schedules.readable()[1].values():
        complain(f"{problem}; until then its runs are kept")
    now, age = datetime.now(UTC), timedelta(days=older_than)
    keeper = Housekeeping(store, schedules, now, age, forget or (), drop_results=drop_results)
    files, unfinished = keeper.plan(), keeper.unfinished()
    for problem in keeper.damaged.values():
        complain(f"{problem}; all shard results are kept until this is fixed")
    if not dry_run:
        keeper.remove(files)
    if as_json:
        kept = {"unfinished": unfinished, "damaged": keeper.damaged}
        print_json({"removed": [asdict(file) for file in files], "dry_run": dry_run, **kept})
        return
    for file in files:
        echo(f"{file.path}  {format_size(file.bytes)}  {file.why}")
    total = f"{format_count(len(files), 'file')}, {format_size(sum(file.bytes for file in files))}"
    echo(f"{total} would be removed" if dry_run else f"{total} removed")
    if unfinished:
        echo(f"shard results are kept for unfinished runs {', '.join(unfinished)}; --forget RUN abandons one of them")
