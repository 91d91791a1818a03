"""Pages about submitted runs. Takes what is known of their attempts, gives plain values."""

from dataclasses import asdict
from typing import Any

from service.atlas import links
from service.atlas.pages.parts import Page
from service.control.statuses import RunState, Status
from service.control.watching import Watched
from workers.errors import QueryError, RunError


def under_way(submissions: Watched) -> list[dict[str, Any]]:
    """The submitted runs that are not published, the last one first."""
    return [_told(each) for each in submissions.statuses() if each.state is not RunState.PUBLISHED]


def status(submissions: Watched, run: str) -> Page:
    """How a submitted run goes.

    Raises:
        QueryError: there is no such run.
    """
    try:
        found = submissions.status(run)
    except RunError as error:
        raise QueryError(str(error)) from error
    events = f"{links.API}/runs/{run}/events"
    return {"kind": "status", "title": run, "status": _told(found), "events": events}


def _told(status: Status) -> dict[str, Any]:
    progress = status.progress
    share = progress.done / progress.total if progress and progress.total else None
    says = status.error or status.waits
    return asdict(status) | {
        "says": says,
        "share": share,
        "href": links.submitted(status.run),
        "page": f"/runs/{status.run}",
    }
