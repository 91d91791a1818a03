"""Inversions from a spec to a published run: the order of things and nothing numeric. Takes a spec, gives an outcome."""

from functools import partial

from jobs import plan
from jobs.attempt import Attempt, Outcome, attempt
from jobs.images import check_known, publish_found
from jobs.plan import Plan
from jobs.watch import Watcher
from workers.corpus.manifest import Listing
from workers.invert import InvertWorker, part_of
from workers.job import Environment, digest, invert_configuration
from workers.model import Model
from workers.shard import LayerShard
from workers.spec import InversionRun
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
    done = run.shards("invert", _planned(run, environment))
    return publish_found(run, run.stored(InvertWorker), INVERSIONS, done, environment)


def _planned(run: Attempt[InversionRun], environment: Environment) -> Plan:
    """One shard for each image and layer, image by image."""
    asked = run.job.spec.invert
    shards, todo, images = [], set[str](), 0
    for layer in run.layers:
        configuration = digest(invert_configuration(run.job, environment, layer.name))
        found = plan.singles(run.root, run.job.manifest, configuration, asked.images, asked.sample)
        shards += [LayerShard(**vars(shard), layer=layer.name) for shard in found.shards]
        todo |= {shard.result for shard in found.todo}
        images = found.images
    order = {layer.name: layer.index for layer in run.layers}
    shards.sort(key=lambda shard: (shard.start, order[shard.layer]))
    return Plan(tuple(shards), tuple(shard for shard in shards if shard.result in todo), images)


def _check(spec: InversionRun, model: Model, listing: Listing) -> None:
    """What the spec alone does not show."""
    for layer in model.network.select(spec.invert.layers):
        part_of(spec.invert, layer)
    check_known(spec.invert.images, spec.corpus.source, listing)
