"""The pipeline of `synthesise`. Takes a spec, publishes the run, gives its outcome; needs no images."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial

from jobs.run import channels, plan
from jobs.run.attempt import Attempt, attempt
from jobs.run.outcome import Outcome
from jobs.run.results import StoredResults
from jobs.watch import Watcher
from workers.actors.environment import Environment
from workers.actors.job import digest
from workers.actors.shard import ChannelBatch
from workers.actors.synthesise import SynthesiseWorker, synthesise_configuration
from workers.core.network import Layer, Network
from workers.spec.lists import require_channels
from workers.spec.synthesise import SynthesisRun
from workers.store.rows import TableWriter
from workers.store.tables.synthesise import SYNTHESES


def synthesise(spec: SynthesisRun, watch: Watcher) -> Outcome:
    """Make a synthetic image for each channel of some layers, or resume where an earlier attempt stopped.

    Raises:
        UsageError: the spec is not valid; nothing was written.
        RunStopped: the run cannot continue; finished results are kept.
    """
    return attempt(spec, watch, spec.synthesise.layers, _work, check_layers=partial(_check, spec))


def _work(run: Attempt[SynthesisRun]) -> Outcome:
    environment = run.start(partial(SynthesiseWorker, run.job))
    batches = _plan(run, environment)
    missing = plan.missing(run.root, batches)
    channels.run_batches(run, "synthesise", batches, missing[::-1])  # deep layers take longest, so they run first
    stored = run.results(SynthesiseWorker)
    run.watch.phase("publish", None, "tables")
    with run.writer(SYNTHESES) as writer:
        statuses = _write(stored, batches, writer)
        parts = {SYNTHESES.name: writer.close()}
    counts = channels.counts(batches, missing)
    return channels.publish(run, parts, environment, batches, {}, **counts, statuses=statuses)


def _plan(run: Attempt[SynthesisRun], environment: Environment) -> list[ChannelBatch]:
    """Batches of channels, layer by layer."""
    section, size = run.job.spec.synthesise, run.job.spec.batch_size
    configuration = digest(synthesise_configuration(run.job, environment))
    return [
        batch
        for layer in run.layers
        for batch in channels.cut(layer, section.channels or range(layer.channels), size, configuration)
    ]


def _write(stored: StoredResults, batches: Iterable[ChannelBatch], writer: TableWriter) -> dict[str, int]:
    """Write the rows of the batches; returns the number of rows by status."""
    statuses = Counter[str]()
    for batch in batches:
        rows = stored.read(batch)
        writer.write(rows.cast(SYNTHESES.schema))
        statuses.update(rows["status"].to_pylist())
    return dict(statuses)


def _check(spec: SynthesisRun, layers: Sequence[Layer], _: Network) -> None:
    for layer in layers:
        require_channels("synthesise.channels", spec.synthesise.channels, layer.name, layer.channels)
