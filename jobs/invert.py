"""The pipeline of `invert`. Takes a spec, publishes the run, gives its outcome."""

from collections.abc import Iterator, Sequence
from functools import partial

from jobs.run import plan
from jobs.run.attempt import Attempt, attempt
from jobs.run.images import publish_rows, require_listed
from jobs.run.outcome import Outcome
from jobs.run.plan import Plan
from jobs.watch import Watcher
from workers.actors.environment import Environment
from workers.actors.invert import InvertWorker, invert_configuration, part_of
from workers.actors.job import digest
from workers.actors.shard import InversionBatch, Restart
from workers.corpus import isolate
from workers.corpus.manifest import Listing, Row
from workers.corpus.row_keys import row_key
from workers.models.model import Model
from workers.spec.invert import InversionRun
from workers.store import paths
from workers.store.tables.invert import INVERSIONS


def invert(spec: InversionRun, watch: Watcher) -> Outcome:
    """Invert some images of a corpus at some layers, or resume where an earlier attempt stopped.

    Raises:
        UsageError: the spec is not valid; nothing was written.
        RunStopped: the run cannot continue; finished results are kept.
    """
    return attempt(spec, watch, spec.invert.layers, _work, partial(_check, spec))


def _work(run: Attempt[InversionRun]) -> Outcome:
    environment = run.start(partial(InvertWorker, run.job))
    done = run.run_shards("invert", _plan(run, environment), "inversions")
    return publish_rows(run, run.results(InvertWorker, done[0].works), INVERSIONS, done, environment)


def _plan(run: Attempt[InversionRun], environment: Environment) -> Plan:
    """Batches of all restarts of all images, layer by layer. Deep layers take longest, so their batches run first.

    A batch with a missing result runs as a whole. The last bits of an inversion depend on the size of its batch and its slot in
    the batch, but not on the other inversions there. So size and slot are part of a result's name.
    """
    section, root, size = run.job.spec.invert, run.root, int(run.job.spec.invert.batch)
    rows = plan.select_rows(root, run.job.manifest, section.images, section.sample)
    known = isolate.read_verdicts(root, rows, root.files(paths.VERDICTS))
    wanted = [(row, row_key(row, known), restart) for row in rows for restart in range(section.restarts)]
    batches = []
    for layer in run.layers:
        recipe = section.recipe(layer.node, len(run.model.network.nodes))
        for start in range(0, len(wanted), size):
            batch = wanted[start : start + size]
            configuration = digest(invert_configuration(run.job, environment, layer.name, recipe, len(batch)))
            batches.append(InversionBatch(tuple(_shards(run.job.manifest, configuration, batch)), layer.name))
    missing = {shard.result for shard in plan.missing(root, [shard for work in batches for shard in work.shards])}
    todo = [work for work in reversed(batches) if any(shard.result in missing for shard in work.shards)]
    return Plan(tuple(batches), tuple(todo), len(rows))


def _shards(listed: str, configuration: str, batch: Sequence[tuple[Row, str, int]]) -> Iterator[Restart]:
    """The shards of a batch of (row, key of the row, restart), in the order of its slots."""
    for slot, (row, key, restart) in enumerate(batch):
        result = paths.shard_path(configuration, key, restart, slot)
        yield Restart(row.image_index, row.image_index + 1, listed, result, restart, slot)


def _check(spec: InversionRun, model: Model, listing: Listing) -> None:
    """Check the spec against the model and the listing."""
    for layer in model.network.select(spec.invert.layers):
        part_of(spec.invert, layer)
    require_listed(spec.invert.images, spec.corpus.source, listing)
