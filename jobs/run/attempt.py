"""What all jobs with actors share. Takes a spec, lists and pins its corpus, if any, starts actors, and runs the job's work."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, cast

from jobs.ray import cluster
from jobs.ray.actor import PlainWorker
from jobs.ray.pool import Pool
from jobs.run import culprits, decoding, dry, facts, identity, plan, publish
from jobs.run.dry import RunPlan
from jobs.run.listing import check_root, list_corpus
from jobs.run.outcome import Outcome, complete_published, outcome_of
from jobs.run.places import start_pool, wait_for_actors
from jobs.run.plan import Named, Plan
from jobs.run.results import StoredResults
from jobs.run.tally import ImageCounts
from jobs.watch import Watcher
from workers.actors.environment import Environment
from workers.actors.job import Job, Spec
from workers.actors.shard import ChannelBatch, Derived, Group, Shard, Work, log_fields
from workers.core.network import Layer, Network
from workers.corpus.manifest import Listing
from workers.errors import MemoryTaken, OtherVerdicts, OutOfMemory, PlanReached, Replan
from workers.kinds import Kind
from workers.models import model as models
from workers.models.model import Model
from workers.spec.kinds import kind_of
from workers.spec.parts import JobSpec, NetworkSpec
from workers.store import verify
from workers.store.columns import Table
from workers.store.facts import PartFile
from workers.store.manifest import Manifest
from workers.store.root import Root, patient
from workers.store.rows import TableWriter

MakeWorker = Callable[[Job[Any]], PlainWorker]
Parts = Mapping[str, Sequence[PartFile]]
Item = Work | Group | Derived | ChannelBatch


@dataclass
class Attempt(Generic[Spec]):
    """One attempt at a run.

    Attributes:
        run: run id.
        root: where results and tables are written.
        job: the input of the workers.
        model: the network.
        layers: the selected layers.
        watch: reports the run's progress.
        scratch: local temporary folder.
        pool: the actors.
        started: start of the attempt, on the monotonic clock.
        requested: the spec as requested; the job's spec has smaller batches if memory ran out.
        passed_over: what the listing of the corpus left out, by reason; nothing without a corpus.
    """

    run: str
    root: Root
    job: Job[Spec]
    model: Model
    layers: tuple[Layer, ...]
    watch: Watcher
    scratch: Path
    pool: Pool
    started: float
    requested: Spec
    passed_over: Mapping[str, int]

    def start(self, make: Callable[[], PlainWorker], **expected: str) -> Environment:
        """Build a worker in every actor; gives their software and device, which a dry run takes from this machine.

        Args:
            make: builds the worker.
            expected: what its check adds to the description of a machine.
        """
        if not self.watch.is_dry:
            return self.pool.start(make)
        return dry.environment(self.job.spec.resources.device, expected)

    def begin(self, phase: str, amount: int, unit: str, results: Sequence[Named], images: int | None = None) -> None:
        """Begin the first phase. A dry run ends here.

        Args:
            phase: name of the phase.
            amount: how many units remain.
            unit: what they are.
            results: all results of the phase.
            images: number of images of the run; None without a corpus.
        """
        if not self.watch.is_dry:
            self.watch.phase(phase, amount, unit)
            return
        device, names = self.job.spec.resources.device, tuple(layer.name for layer in self.layers)
        is_known = dry.is_here(device)
        done = len(results) - len(plan.missing(self.root, results)) if is_known else None
        about = (str(self.kind), self.run, images, names, device, self.pool.actors)
        left = amount if is_known else None
        raise PlanReached(RunPlan(*about, unit, left, len(results), done, dict(self.passed_over)))

    def run_shards(self, phase: str, planned: Plan, unit: str = "images") -> tuple[Plan, int, float]:
        """Run the missing shards. Returns the plan with the final result names, images scanned, and seconds."""
        started = time.monotonic()
        self.begin(phase, planned.images_to_run, unit, planned.shards, planned.images)
        images, rejects, has_verdicts = 0, 0, False

        def judge(work: Work, error: Exception) -> Work:
            nonlocal has_verdicts
            has_verdicts = True
            return self._exclude_culprits(work, error)

        def progress(in_progress: int) -> None:
            self.watch.advance(images + rejects + in_progress, rejects)

        # New verdicts also rename the results of waiting work. The pool takes one item at a time, so this generator sees them.
        todo = (self._rename_results(work) if has_verdicts else work for work in planned.todo)
        for report in self.pool.run(todo, progress, judge):
            images, rejects = images + report.images, rejects + sum(report.rejects.values())
            self.watch.report(report)
        works = tuple(map(self._rename_results, planned.works)) if has_verdicts else planned.works
        return replace(planned, works=works), images, time.monotonic() - started

    def results(self, make: MakeWorker, works: Sequence[Work] = ()) -> StoredResults:
        """The results of one kind of work. Results that have since disappeared are computed again.

        Args:
            make: makes the worker of a job.
            works: work items with several results each; any other item is its own work.
        """
        work_of = {shard.result: work for work in works for shard in work.shards}

        def remake(item: Shard | Group | ChannelBatch) -> None:
            self.watch.say(f"{item.result} is missing or damaged; computing it again", **log_fields(item))
            self.pool.start(partial(make, self.job))
            for _ in self.pool.run([work_of.get(item.result, item)], lambda _: None, self.replan):
                pass

        return StoredResults(self.root, remake)

    @property
    def kind(self) -> Kind:
        """Kind of job, as in the table `runs`."""
        return kind_of(self.job.spec)

    def writer(self, table: Table) -> TableWriter:
        """A writer of one table of the run."""
        return TableWriter(self.root, table, self.run, self.scratch, staged=True)

    def publish(
        self,
        parts: Parts,
        counts: ImageCounts,
        environment: Environment,
        **more: Any,  # noqa: ANN401 - facts
    ) -> Manifest:
        """Publish the run's parts with its facts and more; returns the published manifest, which may be another writer's."""
        seconds = time.monotonic() - self.started
        known = facts.of_run(self, counts, environment, seconds=seconds, **more)
        return publish.publish(self.root, self.run, parts, known, self.scratch)

    def outcome(self, published: Manifest, planned: Plan, rate: float | None, **more: Any) -> Outcome:  # noqa: ANN401
        """The outcome of the attempt, from the published manifest, the plan, and the rate in images per second."""
        ran, total = planned.shards_to_run, len(planned.shards)
        counts = {"images_per_s": rate, "shards_run": ran, "shards_reused": total - ran}
        return outcome_of(published, self.job.spec.root, self.started, **counts, **more)

    def replan(self, item: Item, error: Exception) -> Item:
        """Judge a failed item that tables already depend on. It is retried unless the plan must change.

        Raises:
            Replan: a verdict on an image of the item was stored now, or verdicts differ from the plan's.
        """
        if isinstance(error, OtherVerdicts) or (
            not isinstance(item, Derived | ChannelBatch) and self._blame(item, error)
        ):
            raise Replan
        return item

    def take_smaller_batches(self, error: OutOfMemory) -> None:
        """Use smaller batches for all further work. Results of different batch sizes are never mixed.

        Raises:
            OutOfMemory: smaller batches would not help, or the batch cannot get smaller.
        """
        smaller = None if isinstance(error, MemoryTaken) else self.job.spec.with_smaller_batch()
        if smaller is None:
            way_out = "free memory or use fewer actors (--actors); the same command resumes the run"
            raise type(error)(f"{error}; {way_out}") from error
        self.watch.say(f"{error}; running everything again in batches of {smaller.batch_size}")
        self.job = replace(self.job, spec=smaller)

    def _exclude_culprits(self, work: Work, error: Exception) -> Work:
        """The work without images that crash or hang the decoder or are stale; the same work if there are none."""
        if not isinstance(error, OtherVerdicts):
            self._blame(work, error)
        return self._rename_results(work)

    def _blame(self, item: Work | Group, error: Exception) -> bool:
        job = cast(Job[JobSpec], self.job)  # only a corpus has images
        return culprits.store_verdicts(self.root, job, item, error, self.watch)

    def _rename_results(self, work: Work) -> Work:
        """The work with its results renamed after the verdicts that are known now."""
        return work.map(partial(plan.rename_result, self.root))


def attempt(
    spec: Spec,
    watch: Watcher,
    layers: Sequence[str] | Callable[[Network], Sequence[str]],
    work: Callable[[Attempt[Spec]], Outcome],
    check: Callable[[Model, Listing], None] = lambda *_: None,
    check_layers: Callable[[Sequence[Layer], Network], None] = lambda *_: None,
) -> Outcome:
    """Run a spec, or resume it where an earlier attempt stopped.

    Args:
        spec: the spec.
        watch: reports the run's progress.
        layers: patterns of the layers to select, or a function that selects them from a network.
        work: the job's own work.
        check: checks the spec against the model and the listing before anything is written; raises UsageError.
        check_layers: checks the selected layers of the network before its weights are downloaded; raises UsageError.

    Raises:
        UsageError: the spec is not valid; nothing was written.
        RunStopped: the run cannot continue; finished results are kept.
    """
    started, choose = time.monotonic(), partial(_select, layers)
    with cluster.session(watch), ExitStack() as stack:
        spec = spec.resolved(cluster.resolve_device(spec.resources.device))
        root = stack.enter_context(dry.overlay(spec.root)) if watch.is_dry else patient(spec.root)
        model = models.load(spec.model, lambda network: check_layers(choose(network), network), root)
        chosen = choose(model.network)
        _check_model(spec, model, watch)
        run = identity.run_id(spec)
        run_fields = watch.begin(run)
        listing = stack.enter_context(list_corpus(spec.corpus, watch)) if isinstance(spec, JobSpec) else None
        if listing is not None:
            check(model, listing)
        before = publish.find_or_finish(root, run)
        if before is not None:
            identity.require_same_run(root, before, (spec, model), listing)
            damaged = verify.damaged_parts(root, before)
            if not damaged:
                return _end_published(root, before, started, watch)
            watch.say(f"files of the published run are missing or damaged ({len(damaged)}); computing them again")
        actors = wait_for_actors(spec, run, watch, stack)
        check_root(root, listing, watch)
        scratch = stack.enter_context(root.scratch())
        used, listed = identity.pinned(root, run, spec, listing, before, watch.say)
        names = tuple(layer.name for layer in chosen)
        weights = model.stored if watch.is_dry else models.store(model, root)
        job = Job(used, weights, names, listed)
        pool = stack.enter_context(start_pool(actors, spec, watch, run_fields))
        passed_over = listing.passed_over if listing else {}
        return _run_work(Attempt(run, root, job, model, chosen, watch, scratch, pool, started, spec, passed_over), work)


def _end_published(root: Root, published: Manifest, started: float, watch: Watcher) -> Outcome:
    """The outcome of a run that needs no work; a dry run ends here."""
    if watch.is_dry:
        raise PlanReached(dry.plan_of_published(published))
    return complete_published(root, published, started)


def _select(layers: Sequence[str] | Callable[[Network], Sequence[str]], network: Network) -> tuple[Layer, ...]:
    return network.select(layers(network) if callable(layers) else layers)


def _check_model(spec: NetworkSpec, model: Model, watch: Watcher) -> None:
    """Check the model against the spec's bands, and report what was changed in its weights."""
    if isinstance(spec, JobSpec):
        decoding.require_bands(spec, model)
    for note in model.notes:
        watch.say(f"{model.stored.source}: {note}")


def _run_work(run: Attempt[Spec], work: Callable[[Attempt[Spec]], Outcome]) -> Outcome:
    """Do the work. Start over from planning if the corpus has changed or memory runs out."""
    while True:
        try:
            return work(run)
        except Replan:
            run.watch.say("images or verdicts on them have changed since the run was planned; planning again")
        except OutOfMemory as error:
            run.take_smaller_batches(error)
