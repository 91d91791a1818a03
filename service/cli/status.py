"""The commands `status`, `logs` and `cancel`. Take run ids, print the states or logs of submitted runs, or cancel a run."""

import time
from dataclasses import asdict
from typing import Annotated

import typer

from service.cli.options import Address, AnyAddress, Json, RootOption, RunWord
from service.cli.submissions import (
    EVERY_S,
    describe_progress,
    live_states,
    print_status,
    submissions_of,
    wait_for_end,
)
from service.cli.terminal import complain, echo_log
from workers.store.root import existing


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(status)
    app.command()(logs)
    app.command()(cancel)


def status(
    root: RootOption,
    address: AnyAddress = None,
    run: Annotated[str | None, typer.Argument(help="Run id; by default all runs.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Report progress until the run ends.")] = False,
    as_json: Json = False,
) -> None:
    """Show the state of submitted runs, from the root and, with --address, from the cluster."""
    from service.cli.console import print_json, print_table

    submissions = submissions_of(existing(root), address)
    if run is not None:
        current = wait_for_end(submissions, run) if watch else submissions.status(run)
        print_status(current, submissions.root, as_json=as_json)
        return
    statuses = submissions.statuses()
    if as_json:
        print_json([asdict(current) for current in statuses])
        return
    rows = [asdict(current) | {"progress": describe_progress(current)} for current in statuses]
    print_table(rows, {name: name for name in ("run", "job", "state", "attempt", "progress", "waits", "error")})


def logs(
    run: RunWord,
    root: RootOption,
    address: Address,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Follow the log until the run ends.")] = False,
    attempt: Annotated[int | None, typer.Option(min=1, help="Number of the attempt; by default, the last one.")] = None,
) -> None:
    """Print the log of a run's last attempt, or of an earlier one. The exit code is 1 if the log is lost."""
    submissions, printed, shown = submissions_of(existing(root), address), 0, 0
    while True:
        current, text = submissions.status(run), submissions.logs(run, attempt)
        if current.attempt != shown and attempt is None:  # the run was submitted again
            printed, shown = 0, current.attempt
        echo_log(text[printed:])
        printed = len(text)
        if not (follow and current.state in live_states() and attempt in (None, current.attempt)):
            break
        time.sleep(EVERY_S)
    if not text:
        which = f"attempt {attempt} of run {run!r}" if attempt else f"run {run!r}"
        complain(f"the cluster at {address} has no log of {which}, which is {current.state}")
        raise typer.Exit(int(current.state not in live_states()))


def cancel(run: RunWord, root: RootOption, address: AnyAddress = None, as_json: Json = False) -> None:
    """Cancel a run. Without --address, it stops within ten seconds. Finished work is kept; submit the run again to resume."""
    submissions = submissions_of(existing(root), address)
    print_status(submissions.cancel(run), submissions.root, as_json=as_json)
