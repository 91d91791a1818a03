"""How features bear transforms, from a spec to a published run: the order of things. Takes a spec, gives an outcome."""

from collections.abc import Sequence
from functools import partial

from jobs.run import plan
from jobs.run.attempt import Attempt, attempt
from jobs.run.images import check_classifies, check_known, publish_found
from jobs.run.outcome import Outcome
from jobs.watch import Watcher
from workers.actors.invariance import InvarianceWorker
from workers.actors.job import digest, invariance_configuration
from workers.actors.occlude import target_of
from workers.core.invariance import usual_layers
from workers.core.network import Network
from workers.corpus.manifest import Listing, Row
from workers.errors import SpecError
from workers.models.model import Model
from workers.spec.invariance import InvarianceRun, Transform
from workers.store.tables.invariance import INVARIANCE


def invariance(spec: InvarianceRun, watch: Watcher) -> Outcome:
    """Move, enlarge and turn some images of a corpus, or go on where an earlier attempt stopped.

    Raises:
        UsageError: something is wrong with the spec; nothing was written.
        RunStopped: the run cannot go on; what is finished stays.
    """
    return attempt(spec, watch, partial(_layers, spec), _work, partial(_check, spec))


def _layers(spec: InvarianceRun, network: Network) -> Sequence[str]:
    return spec.invariance.layers or usual_layers(network)


def _work(run: Attempt[InvarianceRun]) -> Outcome:
    environment = run.pool.start(partial(InvarianceWorker, run.job))

    def configuration(row: Row) -> str:
        return digest(invariance_configuration(run.job, environment, row.label))

    asked = run.job.spec.invariance
    planned = plan.singles(run.root, run.job.manifest, configuration, asked.images, asked.sample)
    done = run.shards("invariance", planned)
    return publish_found(run, run.stored(InvarianceWorker), INVARIANCE, done, environment)


def _check(spec: InvarianceRun, model: Model, listing: Listing) -> None:
    """What the spec alone does not show."""
    asked, side = spec.invariance, model.preprocessing.crop
    classes = check_classifies(model)
    beyond = [pixels for pixels in asked.amounts(Transform.TRANSLATE_Y, side) if abs(pixels) >= side]
    if beyond:
        told = f"{beyond[0]:g} px leaves nothing of the model's input, which has {side} x {side} px"
        raise SpecError([f"invariance.translations: {told}"])
    target_of(asked.target, None, model.stored.class_names, classes)
    check_known(asked.images, spec.corpus.source, listing)
