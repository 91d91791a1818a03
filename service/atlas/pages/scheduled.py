"""The page of schedules. Takes schedules and their fires, gives the values that the page shows and its twin sends."""

from datetime import UTC, datetime
from typing import Literal

from service.atlas import links
from service.atlas.pages.values import Page, Value
from service.control.schedules import Schedules
from service.control.timetable import Fire, Schedule
from service.query.naming import corpus_name, model_name


class FireCard(Value):
    """A time at which a schedule fired, UTC, its run, and what became of it: the state of the run, or why it was not submitted.

    Without a link, there is no such run.
    """

    at: str
    run: str
    outcome: str
    href: str | None


class ScheduleCard(Value):
    """A schedule, the next time at which it fires, UTC, its last firing, and the addresses of what can be done."""

    name: str
    cron: str
    tz: str
    job: str
    of: str
    paused: bool
    next: str | None
    last: FireCard | None
    pause: str
    resume: str
    fire: str


class SchedulesPage(Page):
    """All schedules, by name, and the reasons why others cannot be read."""

    kind: Literal["schedules"] = "schedules"
    schedules: tuple[ScheduleCard, ...]
    damaged: dict[str, str]


def schedules(known: Schedules) -> SchedulesPage:
    """All schedules of a root."""
    readable, damaged = known.readable()
    last, now = known.last_fires(), datetime.now(UTC)
    cards = tuple(_card(schedule, _fire(known, last.get(schedule.name)), now) for schedule in readable)
    return SchedulesPage(
        title="Schedules",
        description="Runs that are submitted automatically, and when.",
        schedules=cards,
        damaged=dict(damaged),
    )


def _card(schedule: Schedule, last: FireCard | None, now: datetime) -> ScheduleCard:
    due = schedule.next_fire(now)
    return ScheduleCard(
        name=schedule.name,
        cron=schedule.cron,
        tz=schedule.tz,
        job=schedule.job,
        of=_of(schedule),
        paused=schedule.paused,
        next=due.isoformat(timespec="minutes") if due else None,
        last=last,
        pause=links.api_schedule(schedule.name, "pause"),
        resume=links.api_schedule(schedule.name, "resume"),
        fire=links.api_schedule(schedule.name, "fires"),
    )


def _of(schedule: Schedule) -> str:
    """The model and corpus in a schedule's spec, in short names, as far as it has them."""
    parts = (schedule.spec.values.get(part) for part in ("model", "corpus"))
    model, corpus = (part.get("source") if isinstance(part, dict) else None for part in parts)
    names = (model_name(str(model)) if model else "", corpus_name(str(corpus)) if corpus else "")
    return " on ".join(name for name in names if name)


def _fire(known: Schedules, fire: Fire | None) -> FireCard | None:
    if fire is None:
        return None
    state = known.state_of(fire)
    outcome = fire.problem or str(state or "removed")
    return FireCard(at=fire.at, run=fire.run, outcome=outcome, href=links.run_of_id(fire.run) if state else None)
