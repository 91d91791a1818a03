"""Pages about submitted runs. Takes their statuses, gives the values that pages show and JSON twins send."""

from typing import Literal

from service.atlas import links
from service.atlas.pages.values import Page, Value
from service.control.statuses import RunState, Status
from service.control.watching import Watched
from workers.errors import QueryError, RunError
from workers.store.attempts import Progress


class StatusCard(Value):
    """A submitted run; `says` is the reason why it failed or waits, `share` is the share of its phase that is done."""

    run: str
    state: RunState
    attempt: int
    job: str
    submitted: str
    error: str
    progress: Progress | None
    waits: str
    says: str
    share: float | None
    href: str
    page: str


class StatusPage(Page):
    """The status of a submitted run, and the address of its events."""

    kind: Literal["status"] = "status"
    status: StatusCard
    events: str


def under_way(submissions: Watched) -> tuple[StatusCard, ...]:
    """The submitted runs that are not published, the most recent first."""
    return tuple(_card(run) for run in submissions.statuses() if run.state is not RunState.PUBLISHED)


def status(submissions: Watched, run: str) -> StatusPage:
    """The status of a submitted run.

    Raises:
        QueryError: there is no such run.
    """
    try:
        current = submissions.status(run)
    except RunError as error:
        raise QueryError(str(error)) from error
    return StatusPage(title=run, status=_card(current), events=f"{links.API}/runs/{run}/events")


def _card(status: Status) -> StatusCard:
    progress = status.progress
    return StatusCard(
        **vars(status),
        says=status.error or status.waits,
        share=progress.done / progress.total if progress and progress.total else None,
        href=links.submitted(status.run),
        page=f"/runs/{status.run}",
    )
