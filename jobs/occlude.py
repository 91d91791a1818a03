"""The pipeline of `occlude`. Takes a spec, publishes the run, gives its outcome."""

import hashlib
from functools import partial

from jobs.run import plan, scans
from jobs.run.attempt import Attempt, attempt
from jobs.run.images import publish_rows, require_classifier, require_listed
from jobs.run.outcome import Outcome
from jobs.watch import Watcher
from workers.actors.job import digest
from workers.actors.occlude import OccludeWorker, ScanPatches, occlude_configuration, target_of
from workers.corpus.manifest import Listing, Row
from workers.errors import SpecError
from workers.models.model import Model
from workers.spec.occlude import OcclusionRun
from workers.store.root import Root, patient
from workers.store.tables.occlude import OCCLUSIONS
from workers.store.tables.scan import PATCHES


def occlude(spec: OcclusionRun, watch: Watcher) -> Outcome:
    """Slide a square over some images of a corpus, or resume where an earlier attempt stopped.

    Raises:
        UsageError: the spec is not valid; nothing was written.
        RunStopped: the run cannot continue; finished results are kept.
    """
    return attempt(spec, watch, [spec.occlude.layer], _work, partial(_check, spec))


def _work(run: Attempt[OcclusionRun]) -> Outcome:
    beside = _find_projections(run.root, run.job.spec, run.model)
    make = partial(OccludeWorker, scan=beside)
    environment = run.start(partial(make, run.job))

    def configuration(row: Row) -> str:
        return digest(occlude_configuration(run.job, environment, beside.digest if beside else None, row.label))

    section = run.job.spec.occlude
    planned = plan.plan_images(run.root, run.job.manifest, configuration, section.images, section.sample)
    done = run.run_shards("occlude", planned)
    return publish_rows(run, run.results(make), OCCLUSIONS, done, environment)


def _check(spec: OcclusionRun, model: Model, listing: Listing) -> None:
    """Check the spec against the model and the listing."""
    section, classes = spec.occlude, require_classifier(model)
    layers = model.network.select([section.layer])
    if len(layers) > 1:
        raise SpecError(
            [f"occlude.layer: {section.layer!r} matches {len(layers)} layers; name one, such as {layers[-1].name}"]
        )
    height, width = model.preprocessing.size
    if section.size > min(height, width):
        raise SpecError([f"occlude.size: {section.size} px is larger than the model's input of {height} x {width} px"])
    target_of(section.target, None, model.stored.class_names, classes)
    require_listed(section.images, spec.corpus.source, listing)
    _find_projections(patient(spec.root), spec, model)


def _find_projections(root: Root, spec: OcclusionRun, model: Model) -> ScanPatches | None:
    """The tables of the scan whose projections are shown beside the maps; None if the spec names no scan.

    Raises:
        RunError: the run is not a published scan, or has another model, or lacks the layer.
    """
    if spec.occlude.from_run is None:
        return None
    scan = scans.read_scan(root, spec.occlude.from_run)
    scans.require_model(scan, model.fingerprint)
    scans.require_layers(scan, [spec.occlude.layer])
    parts = scan.tables[PATCHES.name]
    joint = hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest()
    return ScanPatches(tuple(part.path for part in parts), joint)
