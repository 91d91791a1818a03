"""The pipeline of `filters`. Takes a spec of networks, publishes their first convolutions; needs no images and no actors."""

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from jobs.run import publish
from jobs.run.identity import check_spec
from jobs.run.outcome import Outcome, complete_published, outcome_of
from jobs.watch import Watcher
from workers.actors.device import BACKENDS, describe
from workers.core import filters as core
from workers.core.display import colours
from workers.core.network import Layer
from workers.core.steps import Convolution
from workers.kinds import Kind
from workers.models import model as models
from workers.models.model import Model
from workers.pictures import encode
from workers.spec.filters import FiltersRun
from workers.spec.make import check_run_id
from workers.spec.plain import PlainSpec
from workers.store import verify
from workers.store.facts import ModelFacts, Totals
from workers.store.manifest import RunFacts
from workers.store.root import patient
from workers.store.rows import TableWriter
from workers.store.tables.filters import FILTERS

MEASURES = ("peak_frequency", "orientation_deg", "high_frequency_share", "aliasing_share")


def filters(spec: FiltersRun, watch: Watcher) -> Outcome:
    """Diagnose the first convolution of each network and publish the results.

    Raises:
        UsageError: the spec is not valid; nothing was written.
    """
    started = time.monotonic()
    root = patient(spec.root)
    loaded = [models.load(model, root=root) for model in spec.models]
    run = check_run_id(spec.run or f"filters-{datetime.now(UTC):%Y%m%dt%H%M%Sz}")
    watch.begin(run)
    identity = {"models": [model.model_dump(mode="json") for model in spec.models]}
    before = publish.find_or_finish(root, run)
    if before is not None:
        check_spec(run, before.identity, identity)
        if not verify.damaged_parts(root, before):
            return complete_published(root, before, started)
    root.check_writable()
    with root.scratch() as scratch:
        with TableWriter(root, FILTERS, run, scratch, staged=True) as writer:
            for index, model in enumerate(loaded):
                writer.write(pa.Table.from_pylist(list(_rows(index, model)), FILTERS.schema))
            parts = {FILTERS.name: writer.close()}
        facts = _facts(spec, loaded, identity, time.monotonic() - started)
        published = publish.publish(root, run, parts, facts, scratch)
    return outcome_of(published, spec.root, started)


def first_convolution(model: Model) -> tuple[Layer, Convolution]:
    """The first convolution of a network. Loading refuses networks without one."""
    for layer in model.network.layers:
        step = model.network.nodes[layer.node].step
        if isinstance(step, Convolution):
            return layer, step
    raise AssertionError("a network without convolution is refused when it is loaded")


def _rows(index: int, model: Model) -> Iterator[dict[str, Any]]:
    layer, step = first_convolution(model)
    diagnosis, pictures = core.diagnose(step.weight, step.stride), colours(core.pictures(step.weight).numpy())
    for channel in range(layer.channels):
        yield {
            "model": model.stored.source,
            "model_index": index,
            "layer": layer.name,
            "channel": channel,
            "kernel": {"bytes": encode.projection(np.ascontiguousarray(pictures[channel]), "png"), "path": None},
            "height": pictures.shape[1],
            "width": pictures.shape[2],
            "stride_y": step.stride[0],
            "stride_x": step.stride[1],
            "norm": float(diagnosis.norm[channel]),
            **{name: _number_or_none(getattr(diagnosis, name)[channel]) for name in MEASURES},
            "dead": bool(diagnosis.dead[channel]),
            "duplicate_of": int(diagnosis.duplicate_of[channel]) if diagnosis.duplicate_of[channel] >= 0 else None,
            "layer_aliasing_share": diagnosis.layer_aliasing_share,
        }


def _number_or_none(value: torch.Tensor) -> float | None:
    return None if bool(torch.isnan(value)) else float(value)


def _facts(spec: FiltersRun, loaded: list[Model], identity: Mapping[str, Any], seconds: float) -> RunFacts:
    layers = [first_convolution(model)[0] for model in loaded]
    channels = sum(layer.channels for layer in layers)
    return RunFacts(
        job=Kind.FILTERS,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        spec=PlainSpec.of(spec),
        identity=identity,
        model=ModelFacts(
            source=" ".join(model.stored.source for model in loaded),
            fingerprint=" ".join(model.fingerprint for model in loaded),
        ),
        corpus=None,
        totals=Totals(listed=0, images=0, rejects=0, rejects_by_reason={}, layers=len(layers), channels=channels),
        versions=describe("cpu").numerics(),
        backends=BACKENDS,
        seconds=seconds,
        images_per_s=None,
    )
