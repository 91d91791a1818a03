"""Pages about submitted runs. Takes what is known of their attempts, gives the values that pages show and JSON twins send."""

from typing import Literal

from service.atlas import links
from service.atlas.pages.values import Page, Value
from service.control.statuses import RunState, Status
from service.control.watching import Watched
from workers.errors import QueryError, RunError
from workers.store.attempts import Progress


class StatusCard(Value):
    """A submitted run; `says` is why it failed or what it waits for, `share` how much of its phase is done."""

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
    """How a submitted run goes, and where its events are."""

    kind: Literal["status"] = "status"
    status: StatusCard
    events: str


def under_way(submissions: Watched) -> tuple[StatusCard, ...]:
    """The submitted runs that are not published, the last one first."""
    return tuple(_card(each) for each in submissions.statuses() if each.state is not RunState.PUBLISHED)


def status(submissions: Watched, run: str) -> StatusPage:
    """How a submitted run goes.

    Raises:
        QueryError: there is no such run.
    """
    try:
        found = submissions.status(run)
    except RunError as error:
        raise QueryError(str(error)) from error
    return StatusPage(title=run, status=_card(found), events=f"{links.API}/runs/{run}/events")


def _card(status: Status) -> StatusCard:
    progress = status.progress
    return StatusCard(
        **vars(status),
        says=status.error or status.waits,
        share=progress.done / progress.total if progress and progress.total else None,
        href=links.submitted(status.run),
        page=f"/runs/{status.run}",
    )
