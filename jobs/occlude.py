"""Occlusion maps from a spec to a published run: the order of things and nothing numeric. Takes a spec, gives an outcome."""

import hashlib
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pyarrow as pa

from jobs import plan, publish
from jobs.accounts import Accounts, values
from jobs.attempt import Attempt, Outcome, attempt, exit_code
from jobs.watch import Watcher
from workers.corpus import manifest
from workers.corpus.manifest import Listing
from workers.errors import ModelError, RunError, SpecError, UnknownImageError
from workers.job import Job, digest, occlude_configuration
from workers.model import Model
from workers.occlude import Beside, OccludeWorker, target_of
from workers.shard import Shard
from workers.spec import OcclusionRun
from workers.store.instruments import OCCLUSIONS
from workers.store.root import Root
from workers.store.schema import IMAGES, REJECTS


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
    configuration = digest(occlude_configuration(run.job, environment, beside.digest if beside else None))
    asked = run.job.spec.occlude
    planned = plan.singles(run.root, run.job.manifest, configuration, asked.images, asked.sample)
    planned, scanned, seconds = run.shards("occlude", planned)
    run.watch.phase("publish", None, "tables")
    images, rejects, occlusions = (run.writer(table) for table in (IMAGES, REJECTS, OCCLUSIONS))
    accounts = Accounts(run.stored(make), images, rejects)
    for shard in planned.shards:
        for row in _rows(accounts.take(shard), run, shard):
            occlusions.write(row)
    parts = {"images": images.close(), "rejects": rejects.close(), "occlusions": occlusions.close()}
    counted, rate = accounts.counted(), scanned / seconds if scanned else None
    names = [shard.result for shard in planned.shards]
    told = run.publish("occlude", parts, counted, environment, images_per_s=rate, shards=names)
    return Outcome(
        run=run.run,
        root=run.job.spec.root,
        images=counted.images,
        rejects=sum(counted.rejects.values()),
        exit_code=exit_code(told),
        already_published=False,
        seconds=time.monotonic() - run.started,
        images_per_s=rate,
        shards_run=len(planned.todo),
        shards_reused=len(planned.shards) - len(planned.todo),
        table_bytes={name: sum(part.bytes for part in files) for name, files in parts.items()},
    )


def _worker(job: Job[OcclusionRun], beside: Beside | None) -> OccludeWorker:
    return OccludeWorker(job, beside)


def _rows(result: pa.Table, run: Attempt[OcclusionRun], shard: Shard) -> Iterator[pa.Table]:
    """The rows of `occlusions` of one image: one, or none if it was rejected."""
    [listed] = manifest.rows(run.root, shard.manifest, shard.start, shard.stop)
    for found in values(result, "occlusions").to_pylist():
        row: dict[str, Any] = {"image_id": listed.image_id, "uri": listed.uri, "label": listed.label, **found}
        row |= {name: {"bytes": row[name], "path": None} for name in OCCLUSIONS.images}
        yield pa.Table.from_pylist([row], OCCLUSIONS.schema)


def _check(spec: OcclusionRun, model: Model, listing: Listing) -> None:
    """What the spec alone does not show."""
    asked, outputs = spec.occlude, model.network.nodes[-1].shape
    if outputs[1:] != (1, 1):
        raise ModelError(f"{spec.model.source} gives maps of {outputs[1]} x {outputs[2]} and no score for each class")
    layers = model.network.select([asked.layer])
    if len(layers) > 1:
        raise SpecError(
            [f"occlude.layer: {asked.layer!r} stands for {len(layers)} layers; name one, such as {layers[-1].name}"]
        )
    side = model.preprocessing.crop
    if asked.size > side:
        raise SpecError([f"occlude.size: {asked.size} px is more than the model's input, which has {side} x {side} px"])
    target_of(asked.target, None, model.stored.class_names, outputs[0])
    missing = listing.missing(asked.images)
    if missing:
        raise UnknownImageError(missing[0], spec.corpus.source, listing.some_ids())
    _beside(Root(spec.root), spec, model)


def _beside(root: Root, spec: OcclusionRun, model: Model) -> Beside | None:
    """The run whose projections stand beside.

    Raises:
        RunError: it is not published, no scan, of another model, or has not the layer.
    """
    run = spec.occlude.from_run
    if run is None:
        return None
    told = publish.published(root, run)
    if told is None or told["job"] != "scan":
        raise RunError(f"from_run {run!r} is no published scan in {spec.root!r}")
    if told["model"]["fingerprint"] != model.fingerprint:
        raise RunError(f"from_run {run!r} is of another model, {told['model']['source']}")
    if spec.occlude.layer not in [layer["name"] for layer in told["layers"]]:
        raise RunError(f"from_run {run!r} has not looked at layer {spec.occlude.layer!r}")
    parts = told["tables"]["patches"]
    joint = hashlib.sha256("".join(part["sha256"] for part in parts).encode()).hexdigest()
    return Beside(tuple(part["path"] for part in parts), joint)
