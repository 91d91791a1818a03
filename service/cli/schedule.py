"""The commands `schedule ...`. Take a root and schedules, store them under it, and submit runs when they are due."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.options import Address, JobOption, Json, RootOption, SpecFile
from service.cli.running import read_spec
from service.cli.submissions import schedules_of, submissions_of
from service.cli.terminal import complain, echo
from workers.errors import UsageError
from workers.store.root import Root, existing

if TYPE_CHECKING:
    from service.control.schedules import Schedules
    from service.control.timetable import Fire, Schedule

EVERY_S = 20.0

NameWord = Annotated[str, typer.Argument(help="Schedule name.")]

app = typer.Typer(no_args_is_help=True, help="Manage scheduled runs.")


def add_to(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="schedule")


@app.command("add")
def add_schedule(  # noqa: PLR0913 - one parameter per flag
    *,
    name: NameWord,
    spec: SpecFile,
    address: Address,
    cron: Annotated[str, typer.Option(help="Cron expression of five fields, such as '0 2 * * *'.")],
    tz: Annotated[str, typer.Option(help="Time zone, such as Europe/Berlin.")] = "UTC",
    overlap: Annotated[
        str, typer.Option(help="Policy if the previous run is still live: refuse, queue or cancel.")
    ] = "refuse",
    keep: Annotated[
        int | None, typer.Option(min=1, help="Number of the schedule's runs that `deconvoy gc` keeps; by default all.")
    ] = None,
    job: JobOption = None,
) -> None:
    """Add a schedule. It fires from now on; earlier times are skipped."""
    from service.control import uploads
    from service.control.timetable import Overlap, Schedule
    from workers.spec.plain import PlainSpec

    if overlap not in list(Overlap):
        raise UsageError(f"unknown overlap {overlap!r}; use refuse, queue or cancel")
    kind, values = read_spec(spec, job)
    schedules = _schedules(uploads.root_of(values), address)
    plain = PlainSpec(uploads.upload(values, address))
    schedules.add(Schedule(name, cron, tz, kind, plain, Overlap(overlap), keep))
    echo(f"{name} fires at {cron!r}, time zone {tz}")


@app.command("list")
def list_schedules(root: RootOption, as_json: Json = False) -> None:
    """List schedules, the next firing of each (UTC), the last one, and the state of its run."""
    from service.cli.console import print_json, print_table
    from service.control.schedules import SCHEDULE

    schedules = schedules_of(existing(root))
    known, problems = schedules.readable()
    for problem in problems.values():
        complain(problem)
    fires = schedules.last_fires()
    rows = [
        SCHEDULE.plain(schedule) | {"next": _next(schedule)} | _last(schedules, fires.get(schedule.name))
        for schedule in known
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(
            rows,
            {name: name for name in ("name", "cron", "tz", "job", "overlap", "next", "last", "state", "refused")},
        )


def _next(schedule: "Schedule") -> str:
    """The next time at which a schedule fires, UTC; `paused` if it is."""
    from datetime import UTC, datetime

    due = schedule.next_fire(datetime.now(UTC))
    return f"{due:%Y-%m-%d %H:%M}" if due else "paused"


def _last(schedules: "Schedules", fire: "Fire | None") -> dict[str, str]:
    """The last firing: its run, the state of that run, and why it was refused."""
    if fire is None:
        return {"last": "", "state": "", "refused": ""}
    return {"last": fire.run, "state": str(schedules.state_of(fire) or ""), "refused": fire.refused}


@app.command("pause")
def pause_schedule(name: NameWord, root: RootOption) -> None:
    """Pause a schedule."""
    schedules_of(existing(root)).pause(name, paused=True)
    echo(f"{name} is paused")


@app.command("resume")
def resume_schedule(name: NameWord, root: RootOption) -> None:
    """Resume a schedule. Times missed while it was paused are skipped."""
    schedule = schedules_of(existing(root)).pause(name, paused=False)
    echo(f"{name} is resumed, and fires next at {_next(schedule)} UTC")


@app.command("run-now")
def run_now(name: NameWord, root: RootOption, address: Address) -> None:
    """Fire a schedule once, now, and print the id of the run."""
    echo(_schedules(existing(root), address).run_now(name).run)


@app.command("remove")
def remove_schedule(name: NameWord, root: RootOption) -> None:
    """Remove a schedule. Its runs are kept."""
    schedules_of(existing(root)).remove(name)
    echo(f"{name} is removed; its runs are kept")


@app.command("run")
def run_schedules(
    root: RootOption,
    address: Address,
    once: Annotated[bool, typer.Option("--once", help="Submit what is due and exit, for use in a CronJob.")] = False,
) -> None:
    """Run the scheduler. Any number of schedulers may share a root.

    With --once, the exit code is 1 if a due run cannot be submitted.
    """
    from service.cli.serve import submit_due, try_to_submit_due

    schedules = _schedules(existing(root), address)
    if once:
        raise typer.Exit(int(any(fire.error for fire in submit_due(schedules))))
    fires = try_to_submit_due(schedules)
    while True:
        time.sleep(EVERY_S)
        fires = try_to_submit_due(schedules, fires)


def _schedules(root: Root, address: str) -> "Schedules":
    from service.control.schedules import Schedules

    submissions = submissions_of(root, address)
    return Schedules(submissions.root, submissions)
