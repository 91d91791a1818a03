"""The pipeline of `invariance`. Takes a spec, publishes the run, gives its outcome."""

from collections.abc import Sequence
from functools import partial

from jobs.run import plan
from jobs.run.attempt import Attempt, attempt
from jobs.run.images import publish_rows, require_classifier, require_listed
from jobs.run.outcome import Outcome
from jobs.watch import Watcher
from workers.actors.invariance import InvarianceWorker, invariance_configuration
from workers.actors.job import digest
from workers.actors.occlude import target_of
from workers.core.invariance import default_layers
from workers.core.network import Network
from workers.corpus.manifest import Listing, Row
from workers.errors import SpecError
from workers.models.model import Model
from workers.spec.invariance import InvarianceRun, InvarianceSpec, Transform
from workers.store.tables.invariance import INVARIANCE


def invariance(spec: InvarianceRun, watch: Watcher) -> Outcome:
    """Translate, scale and rotate some images of a corpus, or resume where an earlier attempt stopped.

    Raises:
        UsageError: the spec is not valid; nothing was written.
        RunStopped: the run cannot continue; finished results are kept.
    """
    return attempt(spec, watch, partial(_layers, spec), _work, partial(_check, spec))


def _layers(spec: InvarianceRun, network: Network) -> Sequence[str]:
    return spec.invariance.layers or default_layers(network)


def _work(run: Attempt[InvarianceRun]) -> Outcome:
    environment = run.start(partial(InvarianceWorker, run.job))

    def configuration(row: Row) -> str:
        return digest(invariance_configuration(run.job, environment, row.label))

    section = run.job.spec.invariance
    planned = plan.plan_images(run.root, run.job.manifest, configuration, section.images, section.sample)
    done = run.run_shards("invariance", planned)
    return publish_rows(run, run.results(InvarianceWorker), INVARIANCE, done, environment)


def _check(spec: InvarianceRun, model: Model, listing: Listing) -> None:
    """Check the spec against the model and the listing."""
    section, classes = spec.invariance, require_classifier(model)
    require_inside(section, *model.preprocessing.size)
    target_of(section.target, None, model.stored.class_names, classes)
    require_listed(section.images, spec.corpus.source, listing)


def require_inside(section: InvarianceSpec, height: int, width: int) -> None:
    """Check that no shift moves the whole image out of the model's input.

    Raises:
        SpecError: one does, along a direction that the spec asks for.
    """
    sides = {Transform.TRANSLATE_Y: height, Transform.TRANSLATE_X: width}
    for transform in [transform for transform in sides if transform in section.transforms]:
        beyond = [pixels for pixels in section.translations if abs(pixels) >= sides[transform]]
        if beyond:
            limit = f"the model's input of {height} x {width} px; stay below {sides[transform]} px for {transform}"
            raise SpecError([f"invariance.translations: {beyond[0]:g} px moves the image out of {limit}"])
