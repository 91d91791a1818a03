"""The plan of any job with actors. Takes a spec, gives what it would do; starts no actor and writes nothing under the root."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from jobs.run.dry import RunPlan
from jobs.run.outcome import Outcome
from jobs.watch import SilentWatcher, Watcher
from workers.errors import PlanReached
from workers.spec.parts import NetworkSpec


class DryWatcher(SilentWatcher):
    """Follows a run to its plan, and keeps its messages: see `Watcher.is_dry`."""

    is_dry = True

    def __init__(self) -> None:
        self.remarks: list[str] = []

    def say(self, line: str, **_: object) -> None:
        """Keep a message for the plan."""
        self.remarks.append(line)


def plan_of(spec: NetworkSpec, run: Callable[[Any, Watcher], Outcome]) -> RunPlan:
    """Follow a job's own pipeline until its first work is known.

    Args:
        spec: the spec.
        run: the pipeline of its kind.

    Raises:
        UsageError: everything that the job refuses before it writes, except a root that cannot be written.
    """
    watch = DryWatcher()
    try:
        outcome = run(spec, watch)
    except PlanReached as reached:
        return replace(cast(RunPlan, reached.plan), remarks=tuple(watch.remarks))
    raise AssertionError(
        f"run {outcome.run!r} ended without a plan"
    )  # every pipeline ends at `Attempt.begin` or before
