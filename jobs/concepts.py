"""The pipeline of `concepts`. Takes a spec, embeds a scan's channels, publishes the run, gives its outcome."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from jobs.run import channels, plan, publish, scans
from jobs.run.attempt import Attempt, attempt
from jobs.run.identity import check_weights
from jobs.run.outcome import Outcome
from jobs.run.results import StoredResults
from jobs.watch import Watcher
from workers.actors.concepts import ConceptsWorker, concepts_configuration
from workers.actors.environment import Environment
from workers.actors.job import digest
from workers.actors.shard import ChannelBatch
from workers.core.concepts import map_of
from workers.core.network import Layer, Network
from workers.errors import RunError
from workers.models.encoders import encoder as encoders
from workers.models.encoders import stored
from workers.spec import families
from workers.spec.concepts import ConceptsRun
from workers.spec.parts import Fit, ModelSpec
from workers.store.facts import EncoderFacts, content_of
from workers.store.manifest import Manifest
from workers.store.root import Root, patient
from workers.store.tables.concepts import CONCEPTS
from workers.store.tables.scan import PATCHES


def concepts(spec: ConceptsRun, watch: Watcher) -> Outcome:
    """Embed the channels of a scan with an image-text model, or resume where an earlier attempt stopped.

    Raises:
        UsageError: the spec is not valid; nothing was written.
        RunStopped: the run cannot continue; finished results are kept.
    """
    root = patient(spec.root)
    scan = scans.read_scan(root, spec.concepts.from_run)
    spec = spec.model_copy(update={"model": _model_of(scan)})
    layers = spec.concepts.layers or tuple(layer.name for layer in scan.layers)
    with stored.opened(spec.concepts.encoder) as (encoder, folder):
        _check_published(root, spec, scan, encoder)
        # loaded before anything is written, so that a user's mistake leaves nothing behind
        library = encoders.load(folder, encoder.source).library

        def work(run: Attempt[ConceptsRun]) -> Outcome:
            if not run.watch.is_dry:
                stored.write(run.root, encoder, folder)
            return _work(run, scan, encoder, library)

        return attempt(spec, watch, layers, work, check_layers=partial(_check_layers, scan))


def _work(run: Attempt[ConceptsRun], scan: Manifest, encoder: EncoderFacts, library: str) -> Outcome:
    make = partial(ConceptsWorker, encoder=encoder, scan=scan)
    environment = run.start(partial(make, run.job), encoder=library)
    batches = _plan(run, scan, environment, encoder)
    missing = plan.missing(run.root, batches)
    channels.run_batches(run, "embed", batches, missing)
    results = run.results(make)
    run.watch.phase("map", len(run.layers), "layers")
    with run.writer(CONCEPTS) as writer:
        for number, table in enumerate(_tables(run, results, batches), 1):
            writer.write(table)
            run.watch.advance(number)
        parts = {CONCEPTS.name: writer.close()}
    run.watch.phase("publish", None, "tables")
    facts = {"encoder": encoder, "patches": content_of(scan.tables[PATCHES.name])}
    return channels.publish(run, parts, environment, batches, facts, **channels.counts(batches, missing))


def _plan(
    run: Attempt[ConceptsRun], scan: Manifest, environment: Environment, encoder: EncoderFacts
) -> list[ChannelBatch]:
    """Batches of channels, layer by layer. Their results are named by the files of the scan's patches, too."""
    configuration = digest(concepts_configuration(run.job, environment, encoder))
    shown, size = [part.sha256 for part in scan.tables[PATCHES.name]], run.job.spec.batch_size
    return [
        batch
        for layer in run.layers
        for batch in channels.cut(layer, range(layer.channels), size, configuration, files=shown)
    ]


def _tables(run: Attempt[ConceptsRun], results: StoredResults, batches: Sequence[ChannelBatch]) -> Iterator[pa.Table]:
    """The rows of each layer, with its map."""
    for layer in run.layers:
        parts = [results.read(batch) for batch in batches if batch.layer == layer.name]
        rows = pa.concat_tables(parts)
        yield _with_map(rows, run.job.spec.concepts.seed)


def _with_map(rows: pa.Table, seed: int) -> pa.Table:
    """The rows of a layer with their places in its map; channels without patches have none."""
    living = rows["patches"].to_numpy() > 0
    vectors = np.array(rows["embedding"].filter(pa.array(living)).to_pylist(), np.float32)
    places = np.full((len(rows), 2), np.nan, np.float32)
    if len(vectors):
        places[living] = map_of(vectors, seed)
    columns = {name: pa.array(places[:, axis], mask=~living) for axis, name in enumerate(("map_x", "map_y"))}
    return pa.table({**{name: rows[name] for name in rows.column_names}, **columns}, schema=CONCEPTS.schema)


def _model_of(scan: Manifest) -> ModelSpec:
    """The scan's network, as the root holds it."""
    source = families.stored_source(families.model_of(scan.model.source) or "network", scan.model.fingerprint)
    assert scan.model.preprocessing is not None  # noqa: S101 - a scan has one network
    values = scan.model.preprocessing.model_dump()
    if values["fit"] != Fit.LETTERBOX:
        del values["pad"]
    return ModelSpec(source=source, **values)


def _check_published(root: Root, spec: ConceptsRun, scan: Manifest, encoder: EncoderFacts) -> None:
    """Refuse a published run whose image-text model has changed since, or whose scan.

    Raises:
        RunError: one has.
    """
    published, source = publish.read_manifest(root, spec.run) if spec.run else None, spec.concepts.encoder
    section = published.sections.concepts if published else None
    if published and published.encoder and section and section.encoder == source:
        check_weights(published.run, source, published.encoder.fingerprint, encoder.fingerprint)
        if section.from_run == scan.run and published.patches != content_of(scan.tables[PATCHES.name]):
            raise RunError(
                f"run {published.run!r} was already published, and another scan has the id {scan.run!r} now; choose another --run"
            )


def _check_layers(scan: Manifest, layers: Sequence[Layer], _: Network) -> None:
    scans.require_layers(scan, [layer.name for layer in layers])
