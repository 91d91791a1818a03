"""Inversions from a spec to a published run: the order of things and nothing numeric. Takes a spec, gives an outcome."""

from collections.abc import Iterator, Sequence
from functools import partial

from jobs.run import plan
from jobs.run.attempt import Attempt, attempt
from jobs.run.images import check_known, publish_found
from jobs.run.outcome import Outcome
from jobs.run.plan import Plan
from jobs.watch import Watcher
from workers.actors.invert import InvertWorker, part_of
from workers.actors.job import Environment, digest, invert_configuration, rows_key
from workers.actors.shard import InversionBatch, Restart
from workers.corpus import isolate
from workers.corpus.manifest import Listing, Row
from workers.models.model import Model
from workers.spec.invert import InversionRun
from workers.store import paths
from workers.store.tables.invert import INVERSIONS


def invert(spec: InversionRun, watch: Watcher) -> Outcome:
    """Invert some images of a corpus at some layers, or go on where an earlier attempt stopped.

    Raises:
        UsageError: something is wrong with the spec; nothing was written.
        RunStopped: the run cannot go on; what is finished stays.
    """
    return attempt(spec, watch, spec.invert.layers, _work, partial(_check, spec))


def _work(run: Attempt[InversionRun]) -> Outcome:
    environment = run.pool.start(partial(InvertWorker, run.job))
    done = run.shards("invert", _planned(run, environment), "inversions")
    return publish_found(run, run.stored(InvertWorker, done[0].works), INVERSIONS, done, environment)


def _planned(run: Attempt[InversionRun], environment: Environment) -> Plan:
    """Batches of every restart of every image, layer by layer; those of deep layers take longest and run first.

    A batch with a result that is not there runs whole: the last bits of numbers depend on a batch's size and on the place
    in it, but not on the neighbours, so both are a part of a result's name.
    """
    asked, root, size = run.job.spec.invert, run.root, int(run.job.spec.invert.batch)
    rows = plan.chosen(root, run.job.manifest, asked.images, asked.sample)
    known = isolate.read_verdicts(root, rows, root.files(paths.VERDICTS))
    wanted = [(row, rows_key([row], known), restart) for row in rows for restart in range(asked.restarts)]
    batches, done = [], set[str]()
    for layer in run.layers:
        how = asked.recipe(layer.node, len(run.model.network.nodes))
        for start in range(0, len(wanted), size):
            stretch = wanted[start : start + size]
            configuration = digest(invert_configuration(run.job, environment, layer.name, how, len(stretch)))
            batches.append(InversionBatch(tuple(_shards(run.job.manifest, configuration, stretch)), layer.name))
            if start == 0 or len(stretch) < size:
                folder = paths.shard_folder(configuration)
                done |= {f"{folder}/{name}" for name in root.files(folder)}
    todo = [batch for batch in reversed(batches) if any(shard.result not in done for shard in batch.shards)]
    return Plan(tuple(batches), tuple(todo), len(rows))


def _shards(listed: str, configuration: str, stretch: Sequence[tuple[Row, str, int]]) -> Iterator[Restart]:
    """The shards of some (row, its key, restart) by slot."""
    for slot, (row, key, restart) in enumerate(stretch):
        result = paths.shard_path(configuration, key, restart, slot)
        yield Restart(row.image_index, row.image_index + 1, listed, result, restart, slot)


def _check(spec: InversionRun, model: Model, listing: Listing) -> None:
    """What the spec alone does not show."""
    for layer in model.network.select(spec.invert.layers):
        part_of(spec.invert, layer)
    check_known(spec.invert.images, spec.corpus.source, listing)
