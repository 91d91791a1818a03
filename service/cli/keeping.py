"""The commands that keep house. Takes words, verifies and removes runs, removes what a root does not need, retries rejects."""

from dataclasses import asdict
from typing import Annotated

import typer

from service.cli.control import nowhere
from service.cli.query import JsonOption, RootOption
from service.cli.terminal import complain, echo
from workers.store.root import existing


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(verify)
    app.command()(rm)
    app.command()(gc)
    app.command("retry-rejects")(retry_rejects)


def verify(
    root: RootOption,
    run: Annotated[str | None, typer.Argument(help="Run id; all published runs without it.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare every file of published runs with their manifests; the exit code is 1 if one is damaged."""
    from service.cli.console import print_json
    from service.query.verifying import verified

    by_run = verified(existing(root), run)
    if as_json:
        print_json({"runs": sorted(by_run), "findings": [asdict(each) for every in by_run.values() for each in every]})
    for name, findings in {} if as_json else by_run.items():
        for each in findings:
            typer.echo(f"{name}  {each.path} {each.problem}; {each.remedy}")
        if not any(each.damage for each in findings):
            typer.echo(f"{name}  every file is what was published")
    if any(each.damage for findings in by_run.values() for each in findings):
        raise typer.Exit(1)


def rm(
    run: Annotated[str, typer.Argument(help="Run id.")],
    root: RootOption,
    as_json: JsonOption = False,
) -> None:
    """Remove a run, published or not, and its tables. Results of its shards stay until `gc` finds that no run needs them."""
    from datetime import UTC, datetime, timedelta

    from service.cli.console import print_json
    from service.cli.running import size
    from service.control.housekeeping import Housekeeping
    from workers.spec.run import check_run_id

    place = existing(root)
    keeper = Housekeeping(place, nowhere(place), datetime.now(UTC), timedelta(0))
    files = keeper.removal_of(check_run_id(run))
    keeper.remove(files)
    if as_json:
        print_json({"removed": [asdict(each) for each in files]})
        return
    typer.echo(f"removed run {run}: {len(files):,} files, {size(sum(each.bytes for each in files))}")


def gc(
    root: RootOption,
    older_than: Annotated[float, typer.Option(min=0, help="Days; what is younger stays.")] = 7.0,
    forget: Annotated[
        list[str] | None, typer.Option(help="Run that is not published and never will be; may be repeated.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove old runs of schedules that keep a number of them, results that no published run was made of, and stray files."""
    from datetime import UTC, datetime, timedelta

    from service.cli.console import print_json
    from service.cli.running import size
    from service.control.housekeeping import Housekeeping

    place = existing(root)
    schedules = nowhere(place)
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


def retry_rejects(
    root: RootOption,
    uris: Annotated[
        list[str] | None, typer.Argument(help="Files, as the table rejects names them; all without.")
    ] = None,
    run: Annotated[str | None, typer.Option(help="Only rejects of this published run.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Delete stored verdicts, so that the next scan reads these files again."""
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
