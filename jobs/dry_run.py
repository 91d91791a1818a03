"""The dry run of a scan. Takes a spec, gives its plan; starts no actor and writes nothing under the root."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from jobs.measurement import Measurement, measure, sample_size
from jobs.project import require_projections
from jobs.ray import cluster
from jobs.run import decoding, engine_choice, identity, plan
from jobs.run.estimate import Tables
from jobs.run.listing import describe_labels, require_groups
from jobs.run.plan import Plan
from jobs.run.publish import read_manifest
from workers.actors import device as devices
from workers.actors.job import Job, digest
from workers.actors.scan import scan_configuration
from workers.core.network import Layer
from workers.corpus import manifest
from workers.corpus.depth import Finding
from workers.corpus.manifest import Listing
from workers.models import model as models
from workers.models.model import Model
from workers.spec.scan import Engine, RunSpec
from workers.store.root import Root

START_S = 10.0  # of Ray and its actors


@dataclass(frozen=True)
class DryRun:
    """The plan of a scan.

    Attributes:
        images: images of the corpus.
        shards: number of shards.
        shards_done: shards whose result exists already.
        layers: number of selected layers.
        channels: channels of these layers.
        device: where the network would run.
        engine: how it would run.
        actors: number of actors.
        estimated_bytes: estimated size of all that the scan would write.
        estimated_table_bytes: the part that is tables. The rest are results, which later scans reuse.
        estimated_seconds: estimated time; None if it was not measured.
        not_measured: why times and sizes of pictures were not measured; empty if they were.
        passed_over: what the listing of the corpus left out, by reason.
        labels: how many labels and labelled images there are, in words.
        warning: how to get smaller tables, if they would be large; else empty.
        depth: what a sample of the corpus says about its 16-bit grey images; None if it has none, or the spec gives a depth.
    """

    images: int
    shards: int
    shards_done: int
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
    depth: str | None = None


def dry_run(spec: RunSpec) -> DryRun:
    """Plan a scan as `scan` would, and measure it on a few images of the corpus.

    Raises:
        UsageError: everything that `scan` refuses before it writes, except a root that cannot be written.
    """
    device = cluster.resolve_device(spec.resources.device)
    spec = spec.resolved(device)
    model = models.load(spec.model, root=Root(spec.root))
    layers = model.network.select(spec.scan.layers)
    require_projections(layers, model.network, spec.project.projection)
    decoding.require_bands(spec, model)
    actors = cluster.initial_actors(spec.resources, device)
    listed = _look(spec, model, layers)
    planned, measured = listed.plan, listed.measured
    _, height, width = model.network.nodes[0].shape
    tables = Tables(layers, spec, planned.images, (height, width), **_sizes(measured))
    results = tables.result_bytes(len(planned.todo), planned.images_to_run)
    return DryRun(
        images=planned.images,
        shards=len(planned.shards),
        shards_done=len(planned.shards) - len(planned.todo),
        layers=len(layers),
        channels=sum(layer.channels for layer in layers),
        device=device,
        engine=listed.engine,
        actors=actors,
        estimated_bytes=tables.bytes + results,
        estimated_table_bytes=tables.bytes,
        estimated_seconds=_estimate_seconds(measured, listed, tables, actors),
        not_measured=measured if isinstance(measured, str) else "",
        passed_over=listed.passed_over,
        labels=listed.labels,
        warning=tables.warning,
        depth=str(listed.depth) if listed.depth else None,
    )


@dataclass(frozen=True)
class _Planned:
    """The shards of the current corpus, the job as it would be sent to actors, and what its listing shows; see `DryRun`."""

    plan: Plan
    job: Job[RunSpec]
    depth: Finding | None
    engine: str
    passed_over: dict[str, int]
    labels: str
    measured: Measurement | str = ""


def _look(spec: RunSpec, model: Model, layers: Sequence[Layer]) -> _Planned:
    """List the corpus, plan its scan, and measure a few of its images. All that this writes is temporary."""
    with manifest.list_corpus(spec.corpus, lambda _: None) as listing, tempfile.TemporaryDirectory() as folder:
        require_groups(spec, listing)
        _require_free_id(spec, model, listing)
        temporary = Root(folder)
        listed = _plan(spec, model, layers, listing, temporary)
        return replace(listed, measured=_measure(listed, model, temporary))


def _require_free_id(spec: RunSpec, model: Model, listing: Listing) -> None:
    """Require what `scan` requires of a run id that is published."""
    published = read_manifest(Root(spec.root), identity.run_id(spec)) if spec.run else None
    if published is not None:
        identity.require_same_run(Root(spec.root), published, (spec, model), listing)


def _plan(spec: RunSpec, model: Model, layers: Sequence[Layer], listing: Listing, temporary: Root) -> _Planned:
    root = Root(spec.root)
    latest = listing.latest(root)
    if latest is not None:
        temporary.put(latest, root.read(latest))
    finding = decoding.find_depth(spec, listing)
    used = spec.with_depth(finding.depth if finding else None)
    listed = listing.commit(temporary)
    chosen = engine_choice.choose(used, model.network, layers, manifest.count(temporary, listed))
    device = spec.resources.device
    software = replace(devices.describe(device), engine=engine_choice.expected_name(chosen, device))
    job = Job(used, model.stored, tuple(layer.name for layer in layers), listed)
    configuration = digest(scan_configuration(job, software))
    planned = plan.plan(root, job.manifest, configuration, spec.shard_size, listed_in=temporary)
    labels, passed_over = describe_labels(spec.corpus, listing), dict(listing.passed_over)
    return _Planned(planned, job, finding, software.engine, passed_over, labels)


def _measure(listed: _Planned, model: Model, temporary: Root) -> Measurement | str:
    """Measure a few images, or say why not. On a machine without the GPU, only sizes are of use; the CPU gives the same."""
    spec = listed.job.spec
    device = spec.resources.device if torch.cuda.is_available() else "cpu"
    resources = spec.resources.model_copy(update={"device": device})
    local = spec.with_engine(Engine.EAGER).model_copy(update={"root": temporary.base, "resources": resources})
    models.store(model, temporary)
    job = replace(listed.job, spec=local)
    rows = plan.select_rows(temporary, job.manifest, (), sample_size(model.network, job, listed.plan.images))
    return measure(job, [row for row in rows if not row.refused])


def _sizes(measured: Measurement | str) -> dict[str, Any]:
    """The measured sizes of pictures, as arguments of `Tables`."""
    if isinstance(measured, str):
        return {}
    return {"picture_bytes": measured.picture_bytes, "preview_bytes": measured.preview_bytes}


def _estimate_seconds(measured: Measurement | str, listed: _Planned, tables: Tables, actors: int) -> float | None:
    """The time of a scan, with all of its second pass, whose results may exist; None if it would run on other hardware."""
    device = listed.job.spec.resources.device
    if isinstance(measured, str) or (device == "cuda" and not torch.cuda.is_available()):
        return None
    first = listed.plan.images_to_run * measured.scan_s
    second = tables.top_images * measured.image_s + tables.rows * measured.row_s
    return START_S + (first + second) / actors
