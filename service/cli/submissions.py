"""Submitted runs in commands. Takes a root and an address, gives submissions, and prints their progress and state."""

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from service.cli.terminal import echo
from workers.store.root import Root

if TYPE_CHECKING:
    from service.control.schedules import Schedules
    from service.control.statuses import Status
    from service.control.submissions import Submissions

EVERY_S = 1.0
REPORT_EVERY_S = 10.0  # within a phase; a new phase is printed at once


def submissions_of(root: Root, address: str | None) -> "Submissions":
    """The submitted runs of a root, on the cluster at an address; without an address they can only be read."""
    from service.control.clusters import Nowhere, RayCluster
    from service.control.submissions import Submissions

    return Submissions(root, RayCluster(address) if address else Nowhere())


def schedules_of(root: Root) -> "Schedules":
    """The schedules of a root, to be read without a cluster."""
    from service.control.schedules import Schedules

    return Schedules(root, submissions_of(root, None))


def live_states() -> tuple[str, ...]:
    """The states of runs that have not ended."""
    from service.control.statuses import LIVE

    return LIVE


def wait_for_end(submissions: "Submissions", run: str) -> "Status":
    """Wait for a run to end, and print its progress when it changes."""
    printed, printed_at = None, 0.0
    while True:
        status = submissions.status(run)
        current = (status.state, status.error or status.waits, status.progress.phase if status.progress else "")
        if current != printed or time.monotonic() - printed_at >= REPORT_EVERY_S:
            echo(f"{status.state} {describe_progress(status)} {status.error or status.waits}".strip(), err=True)
            printed, printed_at = current, time.monotonic()
        if status.state not in live_states():
            return status
        time.sleep(EVERY_S)


def describe_progress(status: "Status") -> str:
    """The progress of a run in words; empty if the run is published or has not started to work."""
    from workers.store.attempts import WAITING

    progress = status.progress
    if not progress or status.state == "published" or progress.phase == WAITING:
        return ""
    count = f"{progress.done:,}" + (f" of {progress.total:,}" if progress.total is not None else "")
    rate = f", {progress.per_s:,.1f}/s" if progress.per_s else ""
    left = f", {progress.left_s:,.0f} s left" if progress.left_s else ""
    rejects = f", {sum(progress.rejects.values()):,} rejected" if progress.rejects else ""
    return f"{progress.phase} {count} {progress.unit}{rate}{left}{rejects}"


def print_status(status: "Status", root: Root, *, as_json: bool) -> None:
    """Print the state of a run, and the command that draws it once it is published."""
    from service.cli import drawing
    from service.cli.console import print_json
    from service.query import catalog

    if as_json:
        print_json(asdict(status))
        return
    echo(f"run      {status.run}")
    echo(f"state    {status.state}" + (f", attempt {status.attempt}" if status.attempt else ""))
    for name, text in {
        "progress": describe_progress(status),
        "error": status.error,
        "waits": status.waits,
        "view": drawing.draw_command(catalog.find(root, status.run, None)) if status.state == "published" else "",
    }.items():
        if text:
            echo(f"{name:8} {text}")
