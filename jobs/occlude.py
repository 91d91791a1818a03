"""Occlusion maps from a spec to a published run: the order of things and nothing numeric. Takes a spec, gives an outcome."""

import hashlib
from functools import partial

from jobs.run import plan, publish
from jobs.run.attempt import Attempt, attempt
from jobs.run.images import check_classifies, check_known, publish_found
from jobs.run.outcome import Outcome
from jobs.watch import Watcher
from workers.actors.job import Job, digest, occlude_configuration
from workers.actors.occlude import Beside, OccludeWorker, target_of
from workers.corpus.manifest import Listing, Row
from workers.errors import RunError, SpecError
from workers.kinds import Kind
from workers.models.model import Model
from workers.spec.occlude import OcclusionRun
from workers.store.root import Root, patient
from workers.store.tables.occlude import OCCLUSIONS
from workers.store.tables.scan import PATCHES


def occlude(spec: OcclusionRun, watch: Watcher) -> Outcome:
    """Slide a square over some images of a corpus, or go on where an earlier attempt stopped.

    Raises:
        UsageError: something is wrong with the spec; nothing was written.
        RunStopped: the run cannot go on; what is finished stays.
    """
    return attempt(spec, watch, [spec.occlude.layer], _work, partial(_check, spec))


def _work(run: Attempt[OcclusionRun]) -> Outcome:
    beside = _beside(run.root, run.job.spec, run.model)
    make = partial(_worker, beside=beside)
    environment = run.pool.start(partial(make, run.job))

    def configuration(row: Row) -> str:
        return digest(occlude_configuration(run.job, environment, beside.digest if beside else None, row.label))

    asked = run.job.spec.occlude
    planned = plan.singles(run.root, run.job.manifest, configuration, asked.images, asked.sample)
    done = run.shards("occlude", planned)
    return publish_found(run, run.stored(make), OCCLUSIONS, done, environment)


def _worker(job: Job[OcclusionRun], beside: Beside | None) -> OccludeWorker:
    return OccludeWorker(job, beside)


def _check(spec: OcclusionRun, model: Model, listing: Listing) -> None:
    """What the spec alone does not show."""
    asked, outputs = spec.occlude, check_classifies(model)
    layers = model.network.select([asked.layer])
    if len(layers) > 1:
        raise SpecError(
            [f"occlude.layer: {asked.layer!r} stands for {len(layers)} layers; name one, such as {layers[-1].name}"]
        )
    side = model.preprocessing.crop
    if asked.size > side:
        raise SpecError([f"occlude.size: {asked.size} px is more than the model's input, which has {side} x {side} px"])
    target_of(asked.target, None, model.stored.class_names, outputs)
    check_known(asked.images, spec.corpus.source, listing)
    _beside(patient(spec.root), spec, model)


def _beside(root: Root, spec: OcclusionRun, model: Model) -> Beside | None:
    """The run whose projections stand beside.

    Raises:
        RunError: it is not published, no scan, of another model, or has not the layer.
    """
    run = spec.occlude.from_run
    if run is None:
        return None
    scan = publish.published(root, run)
    if scan is None or scan.job is not Kind.SCAN:
        raise RunError(f"from_run {run!r} is no published scan in {spec.root!r}")
    if scan.model.fingerprint != model.fingerprint:
        raise RunError(f"from_run {run!r} is of another model, {scan.model.source}")
    if spec.occlude.layer not in [layer.name for layer in scan.layers]:
        raise RunError(f"from_run {run!r} has not looked at layer {spec.occlude.layer!r}")
    parts = scan.tables[PATCHES.name]
    joint = hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest()
    return Beside(tuple(part.path for part in parts), joint)
