"""What every job over a corpus has in common. Takes a spec, gives an attempt at its run: listed, pinned, with actors at hand."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic

from jobs.ray import cluster
from jobs.ray.actor import Worker
from jobs.ray.pool import Pool
from jobs.ray.turn import own_turn
from jobs.run import facts, identity, plan, publish
from jobs.run.accounts import Counted
from jobs.run.outcome import Outcome, ended, published_before
from jobs.run.plan import Plan
from jobs.run.results import Stored
from jobs.watch import Watcher
from workers.actors.job import Environment, Job, Spec
from workers.actors.shard import Group, Shard, Work, about
from workers.core.network import Layer, Network
from workers.corpus import isolate, manifest
from workers.corpus.manifest import Listing
from workers.errors import MemoryTaken, OtherVerdicts, OutOfMemory, Replan, StaleImage
from workers.kinds import Kind
from workers.models import model as models
from workers.models.model import Model
from workers.spec.kinds import kind_of
from workers.spec.parts import JobSpec
from workers.store import verify
from workers.store.columns import Table
from workers.store.manifest import Manifest, PartFile
from workers.store.root import Root, patient
from workers.store.rows import TableWriter

HANG_S = 30.0

MakeWorker = Callable[[Job[Any]], Worker]
Parts = Mapping[str, Sequence[PartFile]]


@dataclass
class Attempt(Generic[Spec]):
    """One attempt at a run.

    Attributes:
        run: run id.
        root: where results and tables go.
        job: what its workers are built from.
        model: the network.
        layers: the layers to look at.
        watch: follows the run.
        scratch: local temporary folder.
        pool: the actors.
        started: when the attempt began, on the monotonic clock.
        asked: the spec as it was asked for; the job's has smaller batches where memory ran out.
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
    asked: Spec

    def shards(self, phase: str, planned: Plan, unit: str = "images") -> tuple[Plan, int, float]:
        """Run the shards that are not done: the plan as it is then, images scanned, and the time."""
        started = time.monotonic()
        total = sum(shard.stop - shard.start for work in planned.todo for shard in work.shards)
        self.watch.phase(phase, total, unit)
        images, rejects, judged = 0, 0, False

        def judge(work: Work, error: Exception) -> Work:
            nonlocal judged
            judged = True
            return self._without_culprits(work, error)

        def progress(under_way: int) -> None:
            self.watch.advance(images + rejects + under_way, rejects)

        # A verdict that was found meanwhile names what is still to do, too: the pool takes one item at a time.
        todo = (self._renamed(work) if judged else work for work in planned.todo)
        for report in self.pool.run(todo, progress, judge):
            images, rejects = images + report.images, rejects + sum(report.rejects.values())
            self.watch.report(report)
        works = tuple(map(self._renamed, planned.works)) if judged else planned.works
        return Plan(works, planned.todo, planned.images), images, time.monotonic() - started

    def stored(self, make: MakeWorker, works: Sequence[Work] = ()) -> Stored:
        """The results of one kind of work; one that has vanished since it was made is made again.

        Args:
            make: makes the worker of a job.
            works: work that has several results; any other item is its own work.
        """
        makers = {shard.result: work for work in works for shard in work.shards}

        def again(item: Shard | Group) -> None:
            self.watch.say(f"{item.result} has vanished or is damaged; it is made again", **about(item))
            self.pool.start(partial(make, self.job))
            for _ in self.pool.run([makers.get(item.result, item)], lambda _: None, self.replan):
                pass

        return Stored(self.root, again)

    @property
    def kind(self) -> Kind:
        """Kind of job, as `runs` names it."""
        return kind_of(self.job.spec)

    def writer(self, table: Table) -> TableWriter:
        """Writes one table of the run."""
        return TableWriter(self.root, table, self.run, self.scratch, staged=True)

    def publish(
        self,
        parts: Parts,
        counted: Counted,
        environment: Environment,
        **more: Any,  # noqa: ANN401 - facts
    ) -> Manifest:
        """Commit the run's parts with what every manifest.json says, and more; gives the manifest that stands."""
        seconds = time.monotonic() - self.started
        known = facts.of_run(self, counted, environment, seconds=seconds, **more)
        return publish.publish(self.root, self.run, parts, known, self.scratch)

    def ended(self, published: Manifest, planned: Plan, rate: float | None, **more: Any) -> Outcome:  # noqa: ANN401
        """How the attempt ended, from the manifest that stands, the shards as they were planned and images per second."""
        ran, every = planned.running, len(planned.shards)
        counts = {"images_per_s": rate, "shards_run": ran, "shards_reused": every - ran}
        return ended(published, self.job.spec.root, self.started, **counts, **more)

    def replan(self, item: Work | Group, error: Exception) -> Work | Group:
        """Judge an item on which tables already depend: it is tried again, unless its images or verdicts are others now.

        Raises:
            Replan: images are gone or have changed, which is recorded, or verdicts are not those of the plan.
        """
        is_stale = isinstance(error, StaleImage) and self._record_culprits(item, error)
        if is_stale or isinstance(error, OtherVerdicts):
            raise Replan
        return item

    def take_smaller_batches(self, error: OutOfMemory) -> None:
        """Let all work from here on run in smaller batches; results of other batches do not mix with these.

        Raises:
            OutOfMemory: it will not help, or there are none.
        """
        smaller = None if isinstance(error, MemoryTaken) else self.job.spec.with_smaller_batch()
        if smaller is None:
            way_out = "free memory or take fewer actors (--actors); the same command resumes the run"
            raise type(error)(f"{error}; {way_out}") from error
        self.watch.say(f"{error}; everything runs again in batches of {smaller.batch_size}")
        self.job = replace(self.job, spec=smaller)

    def _without_culprits(self, work: Work, error: Exception) -> Work:
        """The work without the images that kill or hang the decoder, or are not the listed ones; itself if there are none."""
        if not isinstance(error, OtherVerdicts):
            self._record_culprits(work, error)
        return self._renamed(work)

    def _record_culprits(self, item: Work | Group, error: Exception) -> bool:
        """Find the images that an error is due to, and write down a verdict on each; gives whether there are any."""
        rows = [row for span in _spans(item) for row in manifest.rows(self.root, *span)]
        is_stale = isinstance(error, StaleImage)
        found = isolate.stale(rows) if is_stale else isolate.suspects(rows, self.job.spec.limits, HANG_S)
        for row in rows:
            if row.image_index in found:
                verdict = found[row.image_index]
                line = f"{row.uri}: {verdict.detail}; it is rejected"
                self.watch.say(line, image=row.uri, reason=verdict.reason, **about(item))
                isolate.write_verdict(self.root, row, verdict)
        return bool(found)

    def _renamed(self, work: Work) -> Work:
        """The work, its results named by the verdicts that are known now."""
        return work.changed(partial(plan.renamed, self.root))


def attempt(
    spec: Spec,
    watch: Watcher,
    layers: Sequence[str] | Callable[[Network], Sequence[str]],
    work: Callable[[Attempt[Spec]], Outcome],
    check: Callable[[Model, Listing], None] = lambda *_: None,
) -> Outcome:
    """Run a spec to the end, or go on where an earlier attempt stopped.

    Args:
        spec: what to do.
        watch: follows the run.
        layers: patterns of the layers to look at, or what finds them in a network.
        work: does it.
        check: raises UsageError for what the spec alone does not show; nothing is written then.

    Raises:
        UsageError: something is wrong with the spec; nothing was written.
        RunStopped: the run cannot go on; what is finished stays.
    """
    started = time.monotonic()
    with cluster.session(), ExitStack() as stack:
        spec = spec.resolved(cluster.resolve_device(spec.resources.device))
        root, model = patient(spec.root), models.load(spec.model)
        chosen = model.network.select(layers(model.network) if callable(layers) else layers)
        run = identity.run_id(spec)
        carried = watch.begin(run)
        watch.phase("listing", None, "images")
        listing = stack.enter_context(manifest.listed(spec.corpus, watch.advance))
        check(model, listing)
        before = publish.find_or_finish(root, run)
        if before is not None:
            identity.check_same(root, before, (spec, model), listing)
            damaged = verify.damaged_parts(root, before)
            if not damaged:
                return published_before(root, before, started)
            watch.say(f"{len(damaged)} files of the published run are missing or damaged; they are made again")
        stack.enter_context(own_turn(spec.resources, run, watch.say))
        actors = _staffed(spec, watch)
        _check_root(root, listing, watch)
        scratch = stack.enter_context(root.scratch())
        pinned = (before and before.listing) or identity.pin(root, run, spec, listing)
        used = _with_batch(spec, before.reduced_batch) if before and before.reduced_batch else spec
        job = Job(used, models.store(model, root), tuple(layer.name for layer in chosen), pinned)
        pool = stack.enter_context(_pool(actors, spec, watch, carried))
        return _worked(Attempt(run, root, job, model, chosen, watch, scratch, pool, started, spec), work)


def _staffed(spec: JobSpec, watch: Watcher) -> int:
    """How many actors to begin with, once the cluster has grown for them if it does."""
    device = spec.resources.device
    cluster.grow(spec.resources, device, watch.say)
    return cluster.staffing(spec.resources, device)


def _check_root(root: Root, listing: Listing, watch: Watcher) -> None:
    """Prove that the root can be written, and forget verdicts on files that are there again."""
    root.check_writable()
    for uri in isolate.forget_stale(root, listing):
        watch.say(f"{uri} is there again: it is scanned")


def _with_batch(spec: Spec, batch: int) -> Spec:
    """The spec with the smaller batch that its run was published with."""
    smaller: Spec | None = spec
    while smaller is not None and smaller.batch_size > batch:
        smaller = smaller.with_smaller_batch()
    return smaller or spec


def _pool(actors: int, spec: JobSpec, watch: Watcher, carried: Mapping[str, object]) -> Pool:
    """The actors, on the Ray around us or on one that starts here."""
    device, threads = spec.resources.device, spec.resources.threads
    cluster.start(device)
    watch.say(_hired(actors, device))
    room = partial(cluster.room, spec.resources, device)
    return Pool(actors, device, threads, watch, carried, room, place=cluster.place())


def _worked(run: Attempt[Spec], work: Callable[[Attempt[Spec]], Outcome]) -> Outcome:
    """Do the work, again from its plan when the corpus turns out to have changed or the batches to be too large."""
    while True:
        try:
            return work(run)
        except Replan:
            run.watch.say("images or what is known of them have changed since the run was planned: planning again")
        except OutOfMemory as error:
            run.take_smaller_batches(error)


def _hired(actors: int, device: str) -> str:
    what = f"{actors} {'GPU' if device == 'cuda' else 'CPU'} actor{'s' if actors > 1 else ''}"
    return what if device == "cuda" else f"{what}: no GPU is used"


def _spans(item: Work | Group) -> list[tuple[str, int, int]]:
    """The manifest and rows [start, stop) of an item's images, each span once."""
    parts: Sequence[Shard | Group] = [item] if isinstance(item, Group) else item.shards
    return sorted({(part.manifest, part.start, part.stop) for part in parts})
