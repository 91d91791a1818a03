"""Pages about submitted runs. Takes their statuses, gives the values that pages show and JSON twins send."""

from typing import Literal

from pydantic import JsonValue

from service.atlas import links
from service.atlas.pages.values import Page, Value
from service.control.statuses import LIVE, RunState, Status
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


class StatusPage(Page):
    """The status of a submitted run, its spec, and the addresses of its events and output, and of what can be done."""

    kind: Literal["status"] = "status"
    status: StatusCard
    is_live: bool
    spec: dict[str, JsonValue]
    events: str
    logs: str
    cancel: str
    resume: str


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
    return StatusPage(
        title=run,
        description=f"{current.job} {current.state}",
        status=_card(current),
        is_live=current.state in LIVE,
        spec=submissions.spec(run, current.attempt),
        events=links.api_run(run, "events"),
        logs=links.api_run(run, "logs"),
        cancel=links.api_run(run, "cancel"),
        resume=links.api_run(run, "resume"),
    )


def _card(status: Status) -> StatusCard:
    progress = status.progress
    return StatusCard(
        **vars(status),
        says=status.error or status.waits,
        share=progress.done / progress.total if progress and progress.total else None,
        href=links.run_of_id(status.run),
    )
