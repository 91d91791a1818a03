"""Inversions from a spec to a published run: the order of things and nothing numeric. Takes a spec, gives an outcome."""

from collections.abc import Iterator, Sequence
from functools import partial

from jobs import plan
from jobs.attempt import Attempt, Outcome, attempt
from jobs.images import check_known, publish_found
from jobs.plan import Plan
from jobs.watch import Watcher
from workers.corpus import isolate
from workers.corpus.manifest import Listing, Row
from workers.instruments import InversionRun
from workers.invert import InvertWorker, part_of
from workers.job import Environment, digest, invert_configuration, rows_key
from workers.model import Model
from workers.shard import InversionBatch, Restart
from workers.store import paths
from workers.store.instruments import INVERSIONS


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

    A batch with a result that is not there runs whole, since numbers depend on a batch's shape.
    """
    asked, root = run.job.spec.invert, run.root
    rows = plan.chosen(root, run.job.manifest, asked.images, asked.sample)
    known = isolate.read_verdicts(root, rows, root.files(paths.VERDICTS))
    keys = [rows_key([row], known) for row in rows]
    batches, todo = [], []
    for layer in run.layers:
        done: dict[str, set[str]] = {}
        for stretch in plan.stretches(len(rows) * asked.restarts, int(asked.batch)):
            configuration = digest(invert_configuration(run.job, environment, layer.name, len(stretch)))
            shards = _shards(run.job.manifest, configuration, rows, keys, [divmod(n, asked.restarts) for n in stretch])
            batches.append(InversionBatch(layer.name, tuple(shards)))
            if configuration not in done:
                folder = paths.shard_folder(configuration)
                done[configuration] = {f"{folder}/{name}" for name in root.files(folder)}
            if any(shard.result not in done[configuration] for shard in batches[-1].shards):
                todo.append(batches[-1])
    return Plan(tuple(batches), tuple(reversed(todo)), len(rows))


def _shards(
    listed: str, configuration: str, rows: Sequence[Row], keys: Sequence[str], which: Sequence[tuple[int, int]]
) -> Iterator[Restart]:
    """The shards of some (row, restart)."""
    for number, restart in which:
        index = rows[number].image_index
        yield Restart(index, index + 1, listed, paths.shard_path(configuration, keys[number], restart), restart)


def _check(spec: InversionRun, model: Model, listing: Listing) -> None:
    """What the spec alone does not show."""
    for layer in model.network.select(spec.invert.layers):
        part_of(spec.invert, layer)
    check_known(spec.invert.images, spec.corpus.source, listing)
