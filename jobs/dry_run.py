"""The dry run of a scan. Takes a spec, gives its plan; starts no actor and writes nothing."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace

from jobs.project import require_projections
from jobs.ray import cluster
from jobs.run import decoding, engine_choice, plan
from jobs.run.estimate import Tables
from jobs.run.listing import describe_labels, require_groups
from jobs.run.plan import Plan
from workers.actors import device as devices
from workers.actors.job import Job, digest
from workers.actors.scan import scan_configuration
from workers.core.network import Layer
from workers.corpus import manifest
from workers.corpus.depth import Finding
from workers.models import model as models
from workers.models.model import Model
from workers.spec.scan import RunSpec
from workers.store.root import Root


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
        estimated_bytes: rough size of the tables.
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
    passed_over: dict[str, int]
    labels: str
    warning: str
    depth: str | None = None


def dry_run(spec: RunSpec) -> DryRun:
    """Plan a scan as `scan` would.

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
    listed = _plan(spec, model, layers)
    planned = listed.plan
    _, height, width = model.network.nodes[0].shape
    tables = Tables(layers, spec, planned.images, (height, width))
    return DryRun(
        images=planned.images,
        shards=len(planned.shards),
        shards_done=len(planned.shards) - len(planned.todo),
        layers=len(layers),
        channels=sum(layer.channels for layer in layers),
        device=device,
        engine=listed.engine,
        actors=actors,
        estimated_bytes=tables.bytes,
        passed_over=listed.passed_over,
        labels=listed.labels,
        warning=tables.warning,
        depth=str(listed.depth) if listed.depth else None,
    )


@dataclass(frozen=True)
class _Planned:
    """The shards of the current corpus, and what its listing shows; see `DryRun`."""

    plan: Plan
    passed_over: dict[str, int]
    labels: str
    depth: Finding | None
    engine: str


def _plan(spec: RunSpec, model: Model, layers: Sequence[Layer]) -> _Planned:
    with manifest.list_corpus(spec.corpus, lambda _: None) as listing, tempfile.TemporaryDirectory() as folder:
        require_groups(spec, listing)
        root, temporary = Root(spec.root), Root(folder)
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
        return _Planned(
            planned, dict(listing.passed_over), describe_labels(spec.corpus, listing), finding, software.engine
        )
