"""The command `verify`. Takes a run or none, compares files of published runs with their manifests."""

from dataclasses import asdict
from typing import Annotated

import typer

from service.cli.options import Json, RootOption
from workers.store.root import existing


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(verify)


def verify(
    root: RootOption,
    run: Annotated[str | None, typer.Argument(help="Run id; by default all published runs.")] = None,
    as_json: Json = False,
) -> None:
    """Check every file of published runs against their manifests. The exit code is 1 if a file is damaged or missing."""
    from service.cli.console import print_json
    from service.query.verifying import verify_runs

    by_run = verify_runs(existing(root), run)
    if as_json:
        print_json({"runs": sorted(by_run), "findings": [asdict(each) for every in by_run.values() for each in every]})
    for name, findings in {} if as_json else by_run.items():
        for each in findings:
            typer.echo(f"{name}  {each.path} {each.problem}; {each.remedy}")
        if not any(each.damage for each in findings):
            typer.echo(f"{name}  every file is what was published")
    if any(each.damage for findings in by_run.values() for each in findings):
        raise typer.Exit(1)
