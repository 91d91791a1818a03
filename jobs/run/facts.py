"""The facts in every manifest.json. Takes an attempt and its image counts, gives RunFacts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jobs.run.tally import ImageCounts
from workers.actors.device import BACKENDS
from workers.actors.environment import Environment
from workers.core import network
from workers.core.receptive_field import Field
from workers.models.model import Model
from workers.spec.parts import JobSpec
from workers.spec.plain import PlainSpec
from workers.store.facts import CorpusFacts, LayerFacts, ModelFacts, PreprocessingFacts, Totals
from workers.store.manifest import RunFacts

if TYPE_CHECKING:
    from jobs.run.attempt import Attempt


def of_run(run: "Attempt[Any]", counts: ImageCounts, environment: Environment, **more: Any) -> RunFacts:  # noqa: ANN401
    """The facts of a run: its spec, model, corpus, software and image counts.

    `reduced_batch` is set only if memory ran out and the run used smaller batches than requested, `depth` only if it was chosen.

    Args:
        run: the attempt.
        counts: its images.
        environment: the software of all actors.
        more: further facts.
    """
    spec, used = run.requested, run.job.spec.batch_size
    if used != spec.batch_size:
        more["reduced_batch"] = used
    has_corpus = isinstance(spec, JobSpec)
    if has_corpus and run.job.spec.decode.depth != spec.decode.depth:
        more["depth"] = run.job.spec.decode.depth
    return RunFacts(
        job=run.kind,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        spec=PlainSpec.of(spec),
        identity=spec.identity(),
        model=_model(run.model),
        corpus=CorpusFacts(source=spec.corpus.source, manifest=run.job.manifest) if has_corpus else None,
        totals=_totals(counts, run.passed_over, run.layers),
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
        preprocessing=PreprocessingFacts(**asdict(model.preprocessing)),
        class_names=model.stored.class_names,
        notes=model.notes,
        **({"class_words": model.class_words} if model.class_words else {}),
    )


def _totals(counts: ImageCounts, passed_over: Mapping[str, int], layers: tuple[network.Layer, ...]) -> Totals:
    return Totals(
        listed=counts.listed,
        images=counts.images,
        rejects=sum(counts.rejects.values()),
        rejects_by_reason=counts.rejects,
        passed_over=dict(passed_over),
        layers=len(layers),
        channels=sum(layer.channels for layer in layers),
    )


def _layer(layer: network.Layer) -> LayerFacts:
    return LayerFacts(
        index=layer.index,
        name=layer.name,
        channels=layer.channels,
        height=layer.height,
        width=layer.width,
        field_height=layer.field.height,
        field_width=layer.field.width,
        stride_y=layer.field.stride_y,
        stride_x=layer.field.stride_x,
        gated=layer.gated,
        obstacle=layer.obstacle,
        **_least(layer.fields.fields),
    )


def _least(fields: Sequence[Field]) -> dict[str, int]:
    """The smallest field of a channel, if the layer's channels have different ones."""
    if len(fields) == 1:
        return {}
    return {
        "least_field_height": min(field.height for field in fields),
        "least_field_width": min(field.width for field in fields),
    }
