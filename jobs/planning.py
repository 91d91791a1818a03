"""The plan of any job with actors. Takes a spec, gives what it would do; starts no actor and writes nothing under the root."""

from collections.abc import Callable
from typing import Any, cast

from jobs.run.dry import RunPlan
from jobs.run.outcome import Outcome
from jobs.watch import SilentWatcher, Watcher
from workers.errors import DamagedRun, PlanReached
from workers.spec.parts import NetworkSpec
from workers.store import documents
from workers.store.root import Root


class DryWatcher(SilentWatcher):
    """Follows a run to its plan: see `Watcher.is_dry`."""

    is_dry = True


def plan_of(spec: NetworkSpec, run: Callable[[Any, Watcher], Outcome]) -> RunPlan:
    """Follow a job's own pipeline until its first work is known.

    Args:
        spec: the spec.
        run: the pipeline of its kind.

    Raises:
        UsageError: everything that the job refuses before it writes, except a root that cannot be written.
    """
    try:
        return _plan_of_published(spec, run(spec, DryWatcher()))
    except PlanReached as reached:
        return cast(RunPlan, reached.plan)


def _plan_of_published(spec: NetworkSpec, outcome: Outcome) -> RunPlan:
    """The plan of a run that is published: nothing."""
    published = documents.read_manifest(Root(spec.root), outcome.run)
    if published is None:
        raise DamagedRun(
            f"the publication of run {outcome.run!r} was interrupted; run the same command without --dry-run"
        )
    results = len(published.shards)
    return RunPlan(
        job=str(published.job),
        run=published.run,
        images=outcome.images + outcome.rejects if published.corpus else None,
        layers=tuple(layer.name for layer in published.layers),
        device=published.sections.resources.device,
        actors=0,
        unit="results",
        units_to_run=0,
        results=results,
        results_done=results,
        passed_over=dict(published.totals.passed_over),
        already_published=True,
    )
