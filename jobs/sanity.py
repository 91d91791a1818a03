"""The randomisation check from a spec to a published run: the order of things. Takes a spec, gives an outcome."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from jobs.run import plan, publish
from jobs.run.attempt import Attempt, attempt
from jobs.run.images import check_known, publish_found
from jobs.run.outcome import Outcome
from jobs.run.plan import Plan
from jobs.watch import Watcher
from workers.actors.job import Environment, Job, digest, rows_key, sanity_configuration
from workers.actors.sanity import SanityWorker
from workers.actors.shard import ImageUnits, TopUnit
from workers.core import randomisation
from workers.corpus import isolate
from workers.corpus.manifest import Listing
from workers.errors import RunError, SpecError
from workers.kinds import Kind
from workers.models.model import Model
from workers.spec.parts import Precision
from workers.spec.sanity import SanityRun
from workers.store import paths, rows
from workers.store.manifest import Manifest, Preprocessing
from workers.store.root import Root, patient
from workers.store.tables.sanity import SANITY
from workers.store.tables.scan import TOP

Chosen = Mapping[str, Sequence[TopUnit]]  # by image id
_UNIT = ["layer_index", "channel", "rank", "y", "x", "score", "image_id"]


def sanity(spec: SanityRun, watch: Watcher) -> Outcome:
    """Project units of a scan again with random weights, or go on where an earlier attempt stopped.

    Raises:
        UsageError: something is wrong with the spec; nothing was written.
        RunStopped: the run cannot go on; what is finished stays.
    """
    scan = _scan(spec)
    layers = spec.sanity.layers or tuple(layer.name for layer in scan.layers)
    return attempt(spec, watch, layers, partial(_work, scan=scan), partial(_check, spec, scan, layers))


def _work(run: Attempt[SanityRun], scan: Manifest) -> Outcome:
    precision = scan.asked.resources.precision
    make = partial(_worker, precision=precision)
    environment = run.pool.start(partial(make, run.job))
    names = [layer.name for layer in run.layers]
    done = run.shards("sanity", _planned(run, environment, precision, _chosen(run.job.spec, scan, names)))
    return publish_found(run, run.stored(make), SANITY, done, environment)


def _worker(job: Job[SanityRun], precision: Precision) -> SanityWorker:
    return SanityWorker(job, precision)


def _planned(run: Attempt[SanityRun], environment: Environment, precision: Precision, chosen: Chosen) -> Plan:
    """A shard for each image that has units."""
    root, listed = run.root, run.job.manifest
    configuration = digest(sanity_configuration(run.job, environment, precision))
    every = plan.chosen(root, listed, list(chosen), 0)
    known = isolate.read_verdicts(root, every, root.files(paths.VERDICTS))
    done, shards = root.files(paths.shard_folder(configuration)), []
    for row in every:
        units = tuple(sorted(chosen[row.image_id]))
        mark = digest([asdict(unit) | {"score": unit.score.hex()} for unit in units])
        result = paths.shard_path(configuration, rows_key([row], known), mark)
        shards.append(ImageUnits(row.image_index, row.image_index + 1, listed, result, units, mark))
    todo = tuple(shard for shard in shards if shard.result.rpartition("/")[2] not in done)
    return Plan(tuple(shards), todo, len(shards))


def _check_ranks(spec: SanityRun, scan: Manifest) -> None:
    kept = scan.asked.scan.k if scan.asked.scan else 0
    if spec.sanity.ranks > kept:
        raise SpecError([f"sanity.ranks: {spec.sanity.ranks} is more than the scan keeps, which is {kept}"])


def _check(spec: SanityRun, scan: Manifest, layers: Sequence[str], model: Model, listing: Listing) -> None:
    """What the spec alone does not show.

    Raises:
        RunError: the scan is of another model or corpus, or has not looked at a layer.
        SpecError: a channel is not there, or dead.
    """
    run, source = spec.sanity.from_run, scan.corpus.source if scan.corpus else ""
    if scan.model.fingerprint != model.fingerprint:
        raise RunError(f"from_run {run!r} is of another model, {scan.model.source}")
    if scan.model.preprocessing != Preprocessing(**asdict(model.preprocessing)):
        raise RunError(f"from_run {run!r} prepares images otherwise: {_shown(scan.model.preprocessing)}")
    if source != spec.corpus.source:
        raise RunError(f"from_run {run!r} is of another corpus, {source!r}")
    _check_ranks(spec, scan)
    scanned = [layer.name for layer in scan.layers]
    names = [layer.name for layer in model.network.select(layers)]
    for layer in model.network.select(layers):
        if layer.name not in scanned:
            raise RunError(f"from_run {run!r} has not looked at layer {layer.name!r}")
        if not randomisation.stages(model.network, layer.node, spec.sanity.stages):
            raise SpecError([f"sanity.layers: {layer.name!r} has no weights below it that could be random"])
        beyond = [channel for channel in spec.sanity.channels if channel >= layer.channels]
        if beyond:
            has = f"it has 0 to {layer.channels - 1}"
            raise SpecError([f"sanity.channels: no channel {beyond[0]} in {layer.name}; {has}"])
    check_known(list(_chosen(spec, scan, names)), source, listing)


def _scan(spec: SanityRun) -> Manifest:
    """The manifest of the scan.

    Raises:
        RunError: there is no such scan.
    """
    scan = publish.published(patient(spec.root), spec.sanity.from_run)
    if scan is None or scan.job is not Kind.SCAN:
        raise RunError(f"from_run {spec.sanity.from_run!r} is no published scan in {spec.root!r}")
    return scan


def _chosen(spec: SanityRun, scan: Manifest, layers: Sequence[str]) -> Chosen:
    """The units to look at, by image.

    Raises:
        SpecError: a channel that is named is dead, or a layer has no other.
    """
    asked, found = spec.sanity, defaultdict[str, list[TopUnit]](list)
    for layer in layers:
        living = _living(patient(spec.root), scan, layer)
        dead = [channel for channel in asked.channels if channel not in living]
        if dead:
            raise SpecError([f"sanity.channels: channel {dead[0]} of {layer} is dead: it has no projection"])
        if not living:
            raise SpecError([f"sanity.layers: all channels of {layer} are dead: they have no projections"])
        for channel in asked.channels or _sampled(layer, living, asked.sample):
            for image_id, unit in living[channel][: asked.ranks]:
                found[image_id].append(unit)
    return found


def _living(root: Root, scan: Manifest, layer: str) -> Mapping[int, list[tuple[str, TopUnit]]]:
    """The units of a layer's top whose score is positive, each with its image's id, best first, by channel."""
    found = defaultdict[int, list[tuple[str, TopUnit]]](list)
    for row in _top(root, scan, layer):
        found[row["channel"]].append((row.pop("image_id"), TopUnit(**row)))
    return {channel: sorted(units, key=lambda each: each[1].rank) for channel, units in found.items()}


def _top(root: Root, scan: Manifest, layer: str) -> Iterator[dict[str, Any]]:
    wanted = [("layer", "==", layer), ("score", ">", 0)]
    for part in scan.tables[TOP.name]:
        yield from rows.read_table(root, part.path, _UNIT, wanted).to_pylist()


def _sampled(layer: str, channels: Mapping[int, Any], sample: int) -> list[int]:
    """The channels with the smallest hashes, so that a larger sample keeps those of a smaller one."""
    return sorted(channels, key=lambda channel: hashlib.sha256(f"{layer} {channel}".encode()).digest())[:sample]


def _shown(preprocessing: Preprocessing | None) -> object:
    return preprocessing and preprocessing.model_dump(mode="json")
