"""The pipeline of `sanity`, the randomisation check. Takes a spec, publishes the run, gives its outcome."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from jobs.run import decoding, plan, scans
from jobs.run.attempt import Attempt, attempt
from jobs.run.images import publish_rows, require_listed
from jobs.run.outcome import Outcome
from jobs.run.plan import Plan
from jobs.watch import Watcher
from workers.actors.environment import Environment
from workers.actors.job import digest
from workers.actors.sanity import SanityWorker, sanity_configuration
from workers.actors.shard import ImageUnits, TopUnit
from workers.core import randomisation
from workers.core.network import Layer
from workers.corpus import isolate
from workers.corpus.manifest import Listing
from workers.corpus.row_keys import row_key
from workers.errors import RunError, SpecError
from workers.models.model import Model
from workers.spec.lists import require_channels
from workers.spec.parts import Precision
from workers.spec.sanity import SanityRun
from workers.store import paths, rows
from workers.store.facts import PreprocessingFacts
from workers.store.manifest import Manifest
from workers.store.root import Root, patient
from workers.store.tables.sanity import SANITY
from workers.store.tables.scan import TOP

UnitsByImage = Mapping[str, Sequence[TopUnit]]  # by image id
_UNIT = ["layer_index", "channel", "rank", "y", "x", "score", "image_id"]


def sanity(spec: SanityRun, watch: Watcher) -> Outcome:
    """Project units of a scan again with random weights, or resume where an earlier attempt stopped.

    Raises:
        UsageError: the spec is not valid; nothing was written.
        RunStopped: the run cannot continue; finished results are kept.
    """
    scan = scans.read_scan(patient(spec.root), spec.sanity.from_run)
    layers = spec.sanity.layers or tuple(layer.name for layer in scan.layers)
    return attempt(spec, watch, layers, partial(_work, scan=scan), partial(_check, spec, scan, layers))


def _work(run: Attempt[SanityRun], scan: Manifest) -> Outcome:
    precision = scan.sections.resources.precision
    tolerances = scan.precision.tolerances if scan.precision else {}
    make = partial(SanityWorker, scanned_in=precision, tolerances=tolerances)
    environment = run.start(partial(make, run.job))
    names = [layer.name for layer in run.layers]
    units = _select_units(run.job.spec, scan, names)
    done = run.run_shards("sanity", _plan(run, environment, precision, units))
    return publish_rows(run, run.results(make), SANITY, done, environment)


def _plan(run: Attempt[SanityRun], environment: Environment, precision: Precision, by_image: UnitsByImage) -> Plan:
    """One shard for each image with selected units."""
    root, listed = run.root, run.job.manifest
    configuration = digest(sanity_configuration(run.job, environment, precision))
    selected = plan.select_rows(root, listed, list(by_image), 0)
    known = isolate.read_verdicts(root, selected, root.files(paths.VERDICTS))
    shards = []
    for row in selected:
        units = tuple(sorted(by_image[row.image_id]))
        mark = digest([asdict(unit) | {"score": unit.score.hex()} for unit in units])
        result = paths.shard_path(configuration, row_key(row, known), mark)
        shards.append(ImageUnits(row.image_index, row.image_index + 1, listed, result, units, mark))
    return Plan(tuple(shards), tuple(plan.missing(root, shards)), len(shards))


def _check_ranks(spec: SanityRun, scan: Manifest) -> None:
    k = scan.sections.scan.k if scan.sections.scan else 0
    if spec.sanity.ranks > k:
        raise SpecError(
            [f"sanity.ranks: {spec.sanity.ranks} is more than the {k} images per channel that the scan has"]
        )


def _check(spec: SanityRun, scan: Manifest, layers: Sequence[str], model: Model, listing: Listing) -> None:
    """Check the spec against the scan, the model and the listing.

    Raises:
        RunError: the scan has another model or corpus, or lacks a layer.
        SpecError: a channel does not exist or is dead.
    """
    run, source = spec.sanity.from_run, scan.corpus.source if scan.corpus else ""
    scans.require_model(scan, model.fingerprint)
    if scan.model.preprocessing != PreprocessingFacts(**asdict(model.preprocessing)):
        raise RunError(
            f"from_run {run!r} preprocesses images differently: {_plain(scan.model.preprocessing)}; "
            "leave out --model and its preprocessing flags to use the scan's"
        )
    decoding.require_same(spec, scan)
    if source != spec.corpus.source:
        raise RunError(f"from_run {run!r} is a scan of another corpus, {source!r}")
    _check_ranks(spec, scan)
    selected = model.network.select(layers)
    names = [layer.name for layer in selected]
    scans.require_layers(scan, names)
    for layer in selected:
        _check_layer(spec, layer, model)
    require_listed(list(_select_units(spec, scan, names)), source, listing)


def _check_layer(spec: SanityRun, layer: Layer, model: Model) -> None:
    if layer.obstacle:
        raise SpecError([f"sanity.layers: {layer.name!r} has no projections, because of {layer.obstacle}"])
    if not randomisation.stages(model.network, layer.node, spec.sanity.stages):
        raise SpecError([f"sanity.layers: {layer.name!r} has no weights at or below it to randomise"])
    require_channels("sanity.channels", spec.sanity.channels, layer.name, layer.channels)


def _select_units(spec: SanityRun, scan: Manifest, layers: Sequence[str]) -> UnitsByImage:
    """The units to check, by image.

    Raises:
        SpecError: a channel of the spec is dead, or all channels of a layer are.
    """
    section, by_image = spec.sanity, defaultdict[str, list[TopUnit]](list)
    for layer in layers:
        living = _read_living(patient(spec.root), scan, layer)
        dead = [channel for channel in section.channels if channel not in living]
        if dead:
            raise SpecError([f"sanity.channels: channel {dead[0]} of {layer} is dead: it has no projection"])
        if not living:
            raise SpecError([f"sanity.layers: all channels of {layer} are dead: they have no projections"])
        for channel in section.channels or _sample_channels(layer, living, section.sample):
            for image_id, unit in living[channel][: section.ranks]:
                by_image[image_id].append(unit)
    return by_image


def _read_living(root: Root, scan: Manifest, layer: str) -> Mapping[int, list[tuple[str, TopUnit]]]:
    """The units of a layer's top with a positive score, by channel: (image id, unit), best first."""
    by_channel = defaultdict[int, list[tuple[str, TopUnit]]](list)
    for row in _read_top(root, scan, layer):
        by_channel[row["channel"]].append((row.pop("image_id"), TopUnit(**row)))
    return {channel: sorted(units, key=lambda entry: entry[1].rank) for channel, units in by_channel.items()}


def _read_top(root: Root, scan: Manifest, layer: str) -> Iterator[dict[str, Any]]:
    wanted = [("layer", "==", layer), ("score", ">", 0)]
    for part in scan.tables[TOP.name]:
        yield from rows.read_table(root, part.path, _UNIT, wanted).to_pylist()


def _sample_channels(layer: str, channels: Mapping[int, Any], sample: int) -> list[int]:
    """The channels with the smallest hashes, so that a larger sample contains a smaller one."""
    return sorted(channels, key=lambda channel: hashlib.sha256(f"{layer} {channel}".encode()).digest())[:sample]


def _plain(preprocessing: PreprocessingFacts | None) -> object:
    return preprocessing and preprocessing.model_dump(mode="json")
