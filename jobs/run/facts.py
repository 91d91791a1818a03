"""What every manifest.json says beside its files. Takes an attempt and its accounts, gives facts."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jobs.run.accounts import Counted
from workers.actors.device import BACKENDS
from workers.actors.job import Environment
from workers.core import network
from workers.models.model import Model
from workers.store.manifest import CorpusFacts, Layer, ModelFacts, Preprocessing, RunFacts, Totals

if TYPE_CHECKING:
    from jobs.run.attempt import Attempt


def of_run(run: "Attempt[Any]", counted: Counted, environment: Environment, **more: Any) -> RunFacts:  # noqa: ANN401
    """The facts of a run: what was asked, of which model and corpus, with which software, and how many images there were.

    `reduced_batch` is there only if memory ran out and the run took smaller batches than it was asked to.

    Args:
        run: the attempt.
        counted: its images.
        environment: the software that all actors had.
        more: further facts.
    """
    spec, used = run.asked, run.job.spec.batch_size
    if used != spec.batch_size:
        more["reduced_batch"] = used
    return RunFacts(
        job=run.kind,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        spec=spec.model_dump(mode="json"),
        identity=spec.identity(),
        model=_model(run.model),
        corpus=CorpusFacts(source=spec.corpus.source, manifest=run.job.manifest),
        totals=_totals(counted, run.layers),
        layers=tuple(map(_layer, run.layers)),
        input=run.model.network.nodes[0].shape,
        versions=environment.numerics(),
        backends=BACKENDS,
        **more,
    )


def _model(model: Model) -> ModelFacts:
    return ModelFacts(
        source=model.stored.source,
        fingerprint=model.fingerprint,
        preprocessing=Preprocessing(**asdict(model.preprocessing)),
        class_names=model.stored.class_names,
    )


def _totals(counted: Counted, layers: tuple[network.Layer, ...]) -> Totals:
    return Totals(
        listed=counted.listed,
        images=counted.images,
        rejects=sum(counted.rejects.values()),
        rejects_by_reason=counted.rejects,
        layers=len(layers),
        channels=sum(layer.channels for layer in layers),
    )


def _layer(layer: network.Layer) -> Layer:
    return Layer(
        index=layer.index,
        name=layer.name,
        channels=layer.channels,
        height=layer.height,
        width=layer.width,
        field_height=layer.field.height,
        field_width=layer.field.width,
        stride_y=layer.field.stride_y,
        stride_x=layer.field.stride_x,
    )
