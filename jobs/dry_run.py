"""The dry run of a scan. Takes a spec, gives its plan; starts no actor and writes nothing under the root."""

import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch

from jobs.cost import longest
from jobs.measurement import Measurement, measure, sample_size
from jobs.project import require_projections
from jobs.ray import cluster
from jobs.run import decoding, engine_choice, identity, narrowing, plan
from jobs.run.estimate import Tables
from jobs.run.listing import describe_labels, require_groups
from jobs.run.plan import Plan
from workers.actors import device as devices
from workers.actors.environment import Environment
from workers.actors.job import Job, digest
from workers.actors.project import project_configuration
from workers.actors.scan import scan_configuration
from workers.core.network import Layer
from workers.corpus import isolate, manifest
from workers.corpus.depth import Finding
from workers.corpus.manifest import Listing, Row
from workers.errors import DamagedRun, StoreError
from workers.host import ending
from workers.models import model as models
from workers.models.model import Model
from workers.spec.parts import Precision
from workers.spec.scan import Engine, RunSpec
from workers.store import documents, paths, verify
from workers.store.root import Root

UNKNOWN = "unknown"  # a configuration without results


@dataclass(frozen=True)
class DryRun:
    """The plan of a scan.

    Attributes:
        images: images of the corpus.
        shards: number of shards.
        shards_done: shards whose result exists already.
        shards_from_more_layers: shards whose result is a part of one that exists, of a scan of more layers.
        layers: number of selected layers.
        channels: channels of these layers.
        device: where the network would run.
        engine: how it would run.
        actors: number of actors.
        estimated_bytes: estimated size of all that the scan would write; 0 if the run is published.
        estimated_table_bytes: the part that is tables. The rest is new results, which later scans can reuse.
        estimated_seconds: estimated time; None if it was not measured.
        not_measured: why the time, or everything, was not measured; empty if it was.
        passed_over: what the listing of the corpus left out, by reason.
        labels: how many labels and labelled images there are, in words.
        warning: how to get smaller tables, if they would be large; else empty.
        remarks: what was changed in the network's weights as they were read.
        depth: what a sample of the corpus says about its 16-bit grey images; None if it has none, or the spec gives a depth.
    """

    images: int
    shards: int
    shards_done: int
    shards_from_more_layers: int
    layers: int
    channels: int
    device: str
    engine: str
    actors: int
    estimated_bytes: int
    estimated_table_bytes: int
    estimated_seconds: float | None
    not_measured: str
    passed_over: dict[str, int]
    labels: str
    warning: str
    remarks: tuple[str, ...] = ()
    depth: str | None = None


def dry_run(spec: RunSpec) -> DryRun:
    """Plan a scan as `scan` would, and measure it on a few images of the corpus.

    Raises:
        UsageError: everything that `scan` refuses before it writes, except a root that cannot be written.
    """
    began = time.monotonic()
    with ending.terminable():
        spec = spec.resolved(cluster.resolve_device(spec.resources.device))
        model = models.load(spec.model, root=Root(spec.root))
        layers = model.network.select(spec.scan.layers)
        require_projections(layers, model.network, spec.project.projection)
        actors = cluster.expected_actors(spec.resources, spec.resources.device)
        listed = _look(spec, model, layers)
    tables, planned = _tables(listed, model, layers), listed.plan
    new_tables, results = _sizes(listed, tables)
    return DryRun(
        images=planned.images,
        shards=len(planned.shards),
        shards_done=len(planned.shards) - len(planned.todo) - listed.narrowed,
        shards_from_more_layers=listed.narrowed,
        layers=len(layers),
        channels=sum(layer.channels for layer in layers),
        device=spec.resources.device,
        engine=listed.engine,
        actors=actors,
        estimated_bytes=new_tables + results,
        estimated_table_bytes=new_tables,
        estimated_seconds=_seconds(listed, tables, actors, listed.planned_at - began),
        not_measured=listed.not_measured,
        passed_over=listed.passed_over,
        labels=listed.labels,
        warning=tables.warning,
        remarks=tuple(f"{model.stored.source}: {note}" for note in model.notes),
        depth=str(listed.depth) if listed.depth else None,
    )


@dataclass(frozen=True)
class _Listed:
    """The plan of a scan of the current corpus, and what was measured; see `DryRun` for the others.

    Attributes:
        plan: the shards.
        is_projected: whether all results of the second pass exist.
        is_published: whether the run is published, so that nothing is left to do.
        planned_at: when the plan was made, on the monotonic clock.
        job: the job as it would be sent to actors.
        measured: what some images cost, or why that is not known.
    """

    plan: Plan
    is_projected: bool
    is_published: bool
    planned_at: float
    job: Job[RunSpec]
    depth: Finding | None
    engine: str
    passed_over: dict[str, int]
    labels: str
    narrowed: int
    measured: Measurement | str = "the run is already published"

    @property
    def not_measured(self) -> str:
        """Why the time, or everything, was not measured; empty if it was."""
        if isinstance(self.measured, str):
            return self.measured
        return "" if _is_usable(self.job.spec) else "the time: this machine has no GPU that torch can use"


def _look(spec: RunSpec, model: Model, layers: Sequence[Layer]) -> _Listed:
    """List the corpus, plan its scan, and measure a few of its images. All that this writes is temporary."""
    decoding.require_bands(spec, model)
    with manifest.list_corpus(spec.corpus, lambda _: None) as listing, tempfile.TemporaryDirectory() as folder:
        require_groups(spec, listing)
        temporary = Root(folder)
        is_published = _is_published(spec, model, listing)
        listed = replace(_plan(spec, model, layers, listing, temporary), is_published=is_published)
        return listed if is_published else replace(listed, measured=_measure(listed, model, temporary))


def _is_published(spec: RunSpec, model: Model, listing: Listing) -> bool:
    """Whether the same run is published, undamaged.

    Raises:
        RunError: its id is that of another run.
    """
    root = Root(spec.root)
    published = documents.read_manifest(root, identity.run_id(spec)) if spec.run else None
    if published is None:
        return False
    identity.require_same_run(root, published, (spec, model), listing)
    return not verify.damaged_parts(root, published)


def _plan(spec: RunSpec, model: Model, layers: Sequence[Layer], listing: Listing, temporary: Root) -> _Listed:
    root = Root(spec.root)
    latest = listing.latest(root)
    if latest is not None:
        temporary.put(latest, root.read(latest))
    finding = decoding.find_depth(spec, listing)
    used = spec.with_depth(finding.depth if finding else None)
    listed = listing.commit(temporary)
    chosen = engine_choice.choose(used, model.network, layers, manifest.count(temporary, listed))
    job = Job(used, model.stored, tuple(layer.name for layer in layers), listed)
    software = _software(job, chosen)
    scanning, projecting, engine = _configurations(job, software, chosen)
    planned = plan.plan(root, job.manifest, scanning, spec.shard_size, listed_in=temporary)
    narrowed = list(narrowing.find(root, job, model.network, planned, software)) if software else []
    planned = narrowing.without(planned, narrowed)
    is_projected = not planned.todo and _has_groups(root, planned, projecting)
    labels, passed_over = describe_labels(spec.corpus, listing), dict(listing.passed_over)
    return _Listed(
        planned, is_projected, False, time.monotonic(), job, finding, engine, passed_over, labels, len(narrowed)
    )


def _software(job: Job[RunSpec], chosen: Engine) -> Environment | None:
    """The software and device of the scan; None for a GPU scan on a machine without a GPU."""
    device = job.spec.resources.device
    if not _is_usable(job.spec):
        return None
    return replace(devices.describe(device), engine=engine_choice.expected_name(chosen, device))


def _configurations(job: Job[RunSpec], software: Environment | None, chosen: Engine) -> tuple[str, str, str]:
    """The configurations of both passes, and the engine's name. They are unknown for a GPU scan on a machine without a GPU."""
    if software is None:
        return UNKNOWN, UNKNOWN, str(chosen)
    return digest(scan_configuration(job, software)), digest(project_configuration(job, software)), software.engine


def _has_groups(root: Root, planned: Plan, configuration: str) -> bool:
    """Whether a published run has these shards and this second pass, and all results of its second pass exist."""
    shards = tuple(shard.result for shard in planned.shards)
    folder = paths.shard_folder(configuration)
    existing = {f"{folder}/{name}" for name in root.files(folder)}
    for run in root.folders(paths.RUNS):
        with suppress(DamagedRun):
            published = documents.read_manifest(root, run)
            if published and tuple(published.shards) == shards and existing.issuperset(published.groups):
                return True
    return False


def _measure(listed: _Listed, model: Model, temporary: Root) -> Measurement | str:
    """Measure a few images, or say why not. Without the GPU of the scan, only sizes are of use; the CPU gives the same."""
    spec = listed.job.spec
    elsewhere = {} if _is_usable(spec) else {"device": "cpu", "precision": Precision.FLOAT32}
    resources = spec.resources.model_copy(update=elsewhere)
    local = spec.with_engine(Engine.EAGER).model_copy(update={"root": temporary.base, "resources": resources})
    try:
        models.store(model, temporary)
    except StoreError as error:
        return str(error)
    job = replace(listed.job, spec=local)
    return measure(job, _sample(Root(spec.root), temporary, job, sample_size(model.network, job, listed.plan.images)))


def _sample(root: Root, temporary: Root, job: Job[RunSpec], count: int) -> list[Row]:
    """Rows evenly spread over the corpus, without those that a scan would leave out."""
    numbers = np.linspace(0, manifest.count(temporary, job.manifest) - 1, count).astype(int)
    rows = [row for number in numbers for row in manifest.rows(temporary, job.manifest, int(number), int(number) + 1)]
    verdicts = isolate.read_verdicts(root, rows, root.files(paths.VERDICTS))
    return [row for row in rows if not (row.removed or row.refused or row.image_index in verdicts)]


def _is_usable(spec: RunSpec) -> bool:
    """Whether this machine has the device of the scan."""
    return spec.resources.device == "cpu" or torch.cuda.is_available()


def _tables(listed: _Listed, model: Model, layers: Sequence[Layer]) -> Tables:
    """The tables of the scan, with the measured sizes of pictures if there are any."""
    _, height, width = model.network.nodes[0].shape
    tables = Tables(tuple(layers), listed.job.spec, listed.plan.images, (height, width))
    measured = listed.measured
    if isinstance(measured, str):
        return tables
    return replace(tables, picture_bytes=measured.picture_bytes, preview_bytes=measured.preview_bytes)


def _sizes(listed: _Listed, tables: Tables) -> tuple[int, int]:
    """Bytes of tables and of results that are still to be written."""
    if listed.is_published:
        return 0, 0
    results = tables.scanned_bytes(len(listed.plan.todo), listed.plan.images_to_run)
    return tables.bytes, results + (0 if listed.is_projected else tables.projected_bytes)


def _seconds(listed: _Listed, tables: Tables, actors: int, prepared_s: float) -> float | None:
    """The time that a scan would take, from the start of its process to its end; None if it is not known.

    Args:
        listed: the plan, and what was measured.
        tables: the tables.
        actors: number of actors.
        prepared_s: seconds that this plan took; the scan loads the network and lists the corpus, too.
    """
    if listed.is_published:
        return 0.0
    cost, todo = listed.measured, listed.plan
    if isinstance(cost, str) or not _is_usable(listed.job.spec):
        return None
    cores, started_s = cluster.capacity("cpu", 1) / actors, cluster.measure_start(listed.job.spec.resources.device)
    seconds = [2 * cost.import_s, prepared_s, started_s, cost.scanner_s, cost.byte_s * tables.bytes]
    if todo.todo:
        of_actor = longest((shard.stop - shard.start for work in todo.todo for shard in work.shards), actors)
        seconds.append((cost.scan * of_actor).on(cores))
    if not listed.is_projected:
        second = cost.image * tables.top_images + cost.row * tables.rows
        of_actor = longest((shard.stop - shard.start for shard in todo.shards), actors)
        seconds += [cost.projector_s, second.on(cores) * of_actor / max(1, todo.images)]
    return sum(seconds)
