"""The scan from a spec to a published run: the order of things and nothing numeric. Takes a spec, gives an outcome."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from jobs import cluster, identity, plan, project, publish
from jobs.pool import Pool
from jobs.reduce import Reduced, reduce, top_rows, unit_rows
from jobs.results import Stored
from jobs.watch import Watcher
from workers import model as models
from workers.core.network import Layer
from workers.corpus import isolate, manifest
from workers.device import BACKENDS
from workers.errors import LostActors
from workers.job import Environment, Job, digest, project_configuration, scan_configuration
from workers.model import Model
from workers.project import ProjectWorker
from workers.scan import ScanWorker
from workers.shard import Group, Shard
from workers.spec import RunSpec
from workers.store import paths
from workers.store.root import Root
from workers.store.rows import TableWriter
from workers.store.schema import IMAGES, PATCHES, PREVIEWS, REJECTS, TOP, UNITS

HANG_S = 30.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        run: run id.
        root: where its tables are.
        images: images scanned.
        rejects: images not used.
        exit_code: 0, or 3 if more images were rejected than the spec allows.
        already_published: the run was there before and nothing was done.
        seconds: time of this attempt.
        images_per_s: images that this attempt scanned, per second of its scan; None if there was nothing to scan.
        shards_run: shards scanned by this attempt.
        shards_reused: shards that were done before.
        groups_run: projection groups of this attempt.
        groups_reused: projection groups that were done before.
        table_bytes: sizes of the tables.
    """

    run: str
    root: str
    images: int
    rejects: int
    exit_code: int
    already_published: bool
    seconds: float
    images_per_s: float | None = None
    shards_run: int = 0
    shards_reused: int = 0
    groups_run: int = 0
    groups_reused: int = 0
    table_bytes: dict[str, int] = field(default_factory=dict)


def scan(spec: RunSpec, watch: Watcher) -> Outcome:
    """Run a spec to the end, or go on where an earlier attempt stopped.

    Raises:
        UsageError: something is wrong with the spec; nothing was written.
        RunStopped: the run cannot go on; what is finished stays.
    """
    started = time.monotonic()
    with cluster.session(), ExitStack() as stack:
        device = cluster.resolve_device(spec.resources.device)
        spec = spec.model_copy(update={"resources": spec.resources.model_copy(update={"device": device})})
        root, model = Root(spec.root), models.load(spec.model)
        layers = model.network.select(spec.scan.layers)
        run = identity.run_id(spec)
        watch.phase("listing", None, "images")
        listing = stack.enter_context(manifest.listed(spec.corpus, watch.advance))
        told = publish.published(root, run)
        if told is not None:
            identity.check_same(root, told, spec, listing)
            return _published_before(root, spec, told, started)
        actors = cluster.staffing(spec.resources.actors, device, spec.resources.threads)
        root.check_writable()
        scratch = stack.enter_context(root.scratch())
        pinned = identity.pin(root, run, spec, listing)
        job = Job(spec, models.store(model, root), tuple(layer.name for layer in layers), pinned)
        cluster.start(device)
        watch.say(
            f"{actors} {'GPU' if device == 'cuda' else 'CPU'} actors" + ("" if device == "cuda" else ": no GPU is used")
        )
        pool = stack.enter_context(Pool(actors, device, spec.resources.threads, watch.say))
        return _Run(run, root, job, model, layers, watch, scratch, pool).execute(started)


@dataclass
class _Run:
    """One attempt at a run."""

    run: str
    root: Root
    job: Job
    model: Model
    layers: tuple[Layer, ...]
    watch: Watcher
    scratch: Path
    pool: Pool

    def execute(self, started: float) -> Outcome:
        """Scan, reduce, project, publish."""
        environment = self.pool.start(partial(ScanWorker, self.job))
        planned, scanned, seconds = self._scan(environment)
        images, rejects = (TableWriter(self.root, each, self.run, self.scratch) for each in (IMAGES, REJECTS))
        reduced = reduce(self._stored(ScanWorker), planned.shards, self.job.spec.scan.k, images, rejects)
        groups, projected = self._project(environment, planned, reduced)
        self.watch.phase("publish", None, "tables")
        parts = self._write(planned, reduced, groups) | {"images": images.close(), "rejects": rejects.close()}
        rate = scanned / seconds if scanned else None
        facts = self._facts(reduced, planned, groups, environment) | {
            "seconds": time.monotonic() - started,
            "images_per_s": rate,
        }
        told = publish.publish(self.root, self.run, parts, facts, self.scratch)
        return Outcome(
            run=self.run,
            root=self.job.spec.root,
            images=reduced.images,
            rejects=sum(reduced.rejects.values()),
            exit_code=_exit_code(told),
            already_published=False,
            seconds=time.monotonic() - started,
            images_per_s=rate,
            shards_run=len(planned.todo),
            shards_reused=len(planned.shards) - len(planned.todo),
            groups_run=projected,
            groups_reused=len(groups) - projected,
            table_bytes={name: sum(part.bytes for part in files) for name, files in parts.items()},
        )

    def _scan(self, environment: Environment) -> tuple[plan.Plan, int, float]:
        """Run the shards that are not done: the plan as it is then, images scanned, and the time."""
        started = time.monotonic()
        configuration = digest(scan_configuration(self.job, environment))
        planned = plan.plan(self.root, self.job.manifest, configuration, self.job.spec.scan.shard)
        total = sum(shard.stop - shard.start for shard in planned.todo)
        self.watch.phase("scan", total, "images")
        renamed: dict[int, Shard] = {}
        images = rejects = 0

        def poison(shard: Shard) -> Shard:
            renamed[shard.start] = self._isolate(shard)
            return renamed[shard.start]

        def progress(under_way: int) -> None:
            self.watch.advance(images + rejects + under_way, rejects)

        for report in self.pool.run(planned.todo, progress, poison):
            images, rejects = images + report.images, rejects + sum(report.rejects.values())
        shards = tuple(renamed.get(shard.start, shard) for shard in planned.shards)
        return plan.Plan(shards, planned.todo, planned.images), images, time.monotonic() - started

    def _isolate(self, shard: Shard) -> Shard:
        """Find what kills or hangs the decoder in a shard, remember it, and give the shard without it."""
        rows = manifest.rows(self.root, shard.manifest, shard.start, shard.stop)
        found = isolate.suspects(rows, self.job.spec.limits, HANG_S)
        if not found:
            raise LostActors(f"images {shard.start} to {shard.stop} kill their actors, and no single image is to blame")
        for row in rows:
            if row.image_index in found:
                self.watch.say(f"{row.uri}: {found[row.image_index].detail}; it is rejected")
                isolate.write_verdict(self.root, row, found[row.image_index])
        return plan.renamed(self.root, shard)

    def _project(self, environment: Environment, planned: plan.Plan, reduced: Reduced) -> tuple[list[Group], int]:
        """Run the groups that are not done: all groups, and how many of them ran."""
        configuration = digest(project_configuration(self.job, environment))
        groups = project.groups(reduced.top, planned.shards, configuration)
        done = self.root.files(paths.shard_folder(configuration))
        todo = [group for group in groups if group.result.rpartition("/")[2] not in done]
        self.watch.phase("project", sum(len(set(group.rows.image_index.tolist())) for group in todo), "images")
        if todo:
            self.pool.start(partial(ProjectWorker, self.job))
        images = 0

        def progress(under_way: int) -> None:
            self.watch.advance(images + under_way)

        for report in self.pool.run(todo, progress, _no_poison):
            images += report.images
        return groups, len(todo)

    def _stored(self, kind: type[ScanWorker] | type[ProjectWorker]) -> Stored:
        """The results of one kind of work; one that has vanished since it was made is made again."""

        def again(item: Shard | Group) -> None:
            self.watch.say(f"{item.result} has vanished or is damaged; it is made again")
            self.pool.start(partial(kind, self.job))
            for _ in self.pool.run([item], lambda _: None, _no_poison):
                pass

        return Stored(self.root, again)

    def _write(self, planned: plan.Plan, reduced: Reduced, groups: list[Group]) -> dict[str, Any]:
        spec = self.job.spec
        top = top_rows(self._stored(ScanWorker), reduced, planned.shards, self.layers, self.model.preprocessing)
        projected = self._stored(ProjectWorker)
        tables = {
            UNITS: iter([unit_rows(reduced.statistics, self.layers)]),
            TOP: iter([top]),
            PATCHES: project.patch_rows(projected, top, groups, spec.project.method),
            PREVIEWS: project.preview_rows(projected, top, groups) if spec.project.previews else iter(()),
        }
        parts = {}
        for table, rows in tables.items():
            with TableWriter(self.root, table, self.run, self.scratch) as writer:
                for each in rows:
                    writer.write(each)
                parts[table.name] = writer.close()
        return parts

    def _facts(
        self, reduced: Reduced, planned: plan.Plan, groups: list[Group], environment: Environment
    ) -> dict[str, Any]:
        spec = self.job.spec
        rejects = sum(reduced.rejects.values())
        return {
            "job": "scan",
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "spec": spec.model_dump(mode="json"),
            "identity": spec.identity(spec.resources.device),
            "model": {
                "source": spec.model.source,
                "fingerprint": self.model.fingerprint,
                "preprocessing": asdict(self.model.preprocessing),
                "class_names": self.model.stored.class_names,
            },
            "corpus": {"source": spec.corpus.source, "manifest": self.job.manifest},
            "totals": {
                "listed": planned.images,
                "images": reduced.images,
                "rejects": rejects,
                "rejects_by_reason": reduced.rejects,
                "layers": len(self.layers),
                "channels": sum(layer.channels for layer in self.layers),
            },
            "layers": [_layer(layer) for layer in self.layers],
            "input": list(self.model.network.nodes[0].shape),
            "versions": environment.numerics(),
            "backends": BACKENDS,
            "shards": [shard.result for shard in planned.shards],
            "groups": [group.result for group in groups],
        }


def _published_before(root: Root, spec: RunSpec, told: Mapping[str, Any], started: float) -> Outcome:
    with root.scratch() as scratch:
        publish.complete(root, told, scratch)
    totals = told["totals"]
    code = _exit_code(told)
    return Outcome(told["run"], spec.root, totals["images"], totals["rejects"], code, True, time.monotonic() - started)


def _exit_code(told: Mapping[str, Any]) -> int:
    totals = told["totals"]
    over = totals["rejects"] > told["spec"]["scan"]["max_reject_share"] * totals["listed"]
    return 3 if over else 0


def _no_poison(group: Group) -> Group:
    raise LostActors(f"the top images between {group.start} and {group.stop} kill the actors that project them")


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
