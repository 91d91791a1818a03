"""What every job over a corpus has in common. Takes a spec, gives an attempt at its run: listed, pinned, with actors at hand."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Generic

from jobs import cluster, identity, plan, publish
from jobs.accounts import Counted
from jobs.actor import Worker
from jobs.outcome import Outcome, ended, published_before
from jobs.plan import Plan
from jobs.pool import Pool
from jobs.results import Stored
from jobs.watch import Watcher
from workers import model as models
from workers.core.network import Layer, Network
from workers.corpus import isolate, manifest
from workers.corpus.manifest import Listing
from workers.device import BACKENDS
from workers.errors import LostActors
from workers.instruments import SPECS
from workers.job import Environment, Job, Spec
from workers.model import Model
from workers.shard import Group, Shard, Work, about
from workers.store.columns import Table
from workers.store.root import Root, patient
from workers.store.rows import PartFile, TableWriter

KINDS = {kind: job for job, kind in SPECS.items()}
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

    def shards(self, phase: str, planned: Plan, unit: str = "images") -> tuple[Plan, int, float]:
        """Run the shards that are not done: the plan as it is then, images scanned, and the time."""
        started = time.monotonic()
        total = sum(shard.stop - shard.start for work in planned.todo for shard in work.shards)
        self.watch.phase(phase, total, unit)
        images, rejects, judged = 0, 0, False

        def poison(work: Work) -> Work:
            nonlocal judged
            judged = True
            return self._isolate(work)

        def progress(under_way: int) -> None:
            self.watch.advance(images + rejects + under_way, rejects)

        # A verdict that was found meanwhile names what is still to do, too: the pool takes one item at a time.
        todo = (self._renamed(work) if judged else work for work in planned.todo)
        for report in self.pool.run(todo, progress, poison):
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
            for _ in self.pool.run([makers.get(item.result, item)], lambda _: None, no_poison):
                pass

        return Stored(self.root, again)

    @property
    def kind(self) -> str:
        """Kind of job, as `runs` names it."""
        return KINDS[type(self.job.spec)]

    def writer(self, table: Table) -> TableWriter:
        """Writes one table of the run."""
        return TableWriter(self.root, table, self.run, self.scratch)

    def publish(
        self,
        parts: Parts,
        counted: Counted,
        environment: Environment,
        **more: Any,  # noqa: ANN401 - JSON values
    ) -> Mapping[str, Any]:
        """Commit the run's parts with what every manifest.json says, and more; gives the manifest that stands."""
        facts = self._facts(counted, environment) | more | {"seconds": time.monotonic() - self.started}
        return publish.publish(self.root, self.run, parts, facts, self.scratch)

    def ended(self, told: Mapping[str, Any], planned: Plan, rate: float | None, **more: Any) -> Outcome:  # noqa: ANN401
        """How the attempt ended, from the manifest that stands, the shards as they were planned and images per second."""
        ran, every = planned.running, len(planned.shards)
        counts = {"images_per_s": rate, "shards_run": ran, "shards_reused": every - ran}
        return ended(told, self.job.spec.root, self.started, **counts, **more)

    def _isolate(self, work: Work) -> Work:
        """Find what kills or hangs the decoder in some work, remember it, and give the work without it."""
        spans = sorted({(shard.manifest, shard.start, shard.stop) for shard in work.shards})
        rows = [row for span in spans for row in manifest.rows(self.root, *span)]
        found = isolate.suspects(rows, self.job.spec.limits, HANG_S)
        if not found:
            no_poison(work)
        for row in rows:
            if row.image_index in found:
                told = found[row.image_index]
                self.watch.say(
                    f"{row.uri}: {told.detail}; it is rejected", image=row.uri, reason=told.reason, **about(work)
                )
                isolate.write_verdict(self.root, row, found[row.image_index])
        without = self._renamed(work)
        if without == work:  # nothing new was found: what kills decoders is not touched any more, and yet actors die
            no_poison(work)
        return without

    def _renamed(self, work: Work) -> Work:
        """The work, its results named by the verdicts that are known now."""
        return work.changed(partial(plan.renamed, self.root))

    def _facts(self, counted: Counted, environment: Environment) -> dict[str, Any]:
        spec = self.job.spec
        return {
            "job": self.kind,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "spec": spec.model_dump(mode="json"),
            "identity": spec.identity(),
            "model": {
                "source": spec.model.source,
                "fingerprint": self.model.fingerprint,
                "preprocessing": asdict(self.model.preprocessing),
                "class_names": self.model.stored.class_names,
            },
            "corpus": {"source": spec.corpus.source, "manifest": self.job.manifest},
            "totals": {
                "listed": counted.listed,
                "images": counted.images,
                "rejects": sum(counted.rejects.values()),
                "rejects_by_reason": counted.rejects,
                "layers": len(self.layers),
                "channels": sum(layer.channels for layer in self.layers),
            },
            "layers": [_layer(layer) for layer in self.layers],
            "input": list(self.model.network.nodes[0].shape),
            "versions": environment.numerics(),
            "backends": BACKENDS,
        }


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
        device, threads = cluster.resolve_device(spec.resources.device), spec.resources.threads
        spec = spec.resolved(device)
        root, model = patient(spec.root), models.load(spec.model)
        chosen = model.network.select(layers(model.network) if callable(layers) else layers)
        run = identity.run_id(spec)
        carried = watch.begin(run)
        watch.phase("listing", None, "images")
        listing = stack.enter_context(manifest.listed(spec.corpus, watch.advance))
        check(model, listing)
        told = publish.published(root, run)
        if told is not None:
            identity.check_same(root, told, (spec, model), listing)
            return published_before(root, told, started)
        cluster.grow(spec.resources, device, watch.say)
        actors = cluster.staffing(spec.resources, device)
        root.check_writable()
        scratch = stack.enter_context(root.scratch())
        pinned = identity.pin(root, run, spec, listing)
        job = Job(spec, models.store(model, root), tuple(layer.name for layer in chosen), pinned)
        cluster.start(device)
        watch.say(_hired(actors, device))
        room = partial(cluster.room, spec.resources, device)
        pool = stack.enter_context(Pool(actors, device, threads, watch, carried, room))
        return work(Attempt(run, root, job, model, chosen, watch, scratch, pool, started))


def _hired(actors: int, device: str) -> str:
    what = f"{actors} {'GPU' if device == 'cuda' else 'CPU'} actor{'s' if actors > 1 else ''}"
    return what if device == "cuda" else f"{what}: no GPU is used"


def no_poison(item: Work | Group) -> Any:  # noqa: ANN401 - stands where an item is given
    """Refuse to blame an image.

    Raises:
        LostActors: always.
    """
    raise LostActors(f"images {item.start} to {item.stop} kill their actors, and no single image is to blame")


def _layer(layer: Layer) -> dict[str, Any]:
    return {
        "index": layer.index,
        "name": layer.name,
        "channels": layer.channels,
        "height": layer.height,
        "width": layer.width,
        "field_height": layer.field.height,
        "field_width": layer.field.width,
        "stride_y": layer.field.stride_y,
        "stride_x": layer.field.stride_x,
    }
