"""The command `verify`. Takes a run id or none, compares the files of published runs with their manifests."""

from dataclasses import asdict
from typing import Annotated

import typer

from service.cli.options import Json, RootOption
from service.cli.terminal import echo
from workers.store.root import existing


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(verify)


def verify(
    root: RootOption,
    run: Annotated[str | None, typer.Argument(help="Run id; by default all published runs.")] = None,
    as_json: Json = False,
) -> None:
    """Check every file of published runs against its run's manifest. The exit code is 1 if a file is damaged or missing."""
    from service.cli.console import print_json
    from service.query.verifying import verify_runs

    by_run = verify_runs(existing(root), run)
    if as_json:
        rows = [asdict(finding) for findings in by_run.values() for finding in findings]
        print_json({"runs": sorted(by_run), "findings": rows})
    for name, findings in {} if as_json else by_run.items():
        for finding in findings:
            echo(f"{name}  {finding.path} {finding.problem}; {finding.remedy}")
        if not any(finding.damage for finding in findings):
            echo(f"{name}  all files are intact")
    if any(finding.damage for findings in by_run.values() for finding in findings):
        raise typer.Exit(1)
