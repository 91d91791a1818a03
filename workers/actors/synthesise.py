"""The synthesis worker. Takes channels of a layer, writes their synthetic images."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from workers.actors.environment import Environment
from workers.actors.job import Job, network_configuration
from workers.actors.reports import GroupReport
from workers.actors.shard import ChannelBatch
from workers.actors.worker import Worker
from workers.core import synthesis
from workers.core.display import eight_bit
from workers.core.network import Layer
from workers.core.synthesis import Ascent, Synthesised, SynthesisProblem
from workers.errors import NumericsError
from workers.pictures import encode
from workers.spec.synthesise import SynthesiseSpec, SynthesisRun
from workers.store import rows
from workers.store.tables.synthesise import SYNTHESISED

# Raise it whenever the same inputs would give other numbers: stored results of the old algorithm are then not reused.
SYNTHESISE_ALGORITHM = 1


def synthesise_configuration(job: Job[SynthesisRun], environment: Environment) -> dict[str, Any]:
    """All that the synthetic images of a batch of channels depend on, except the layer and the channels."""
    return {
        "job": "synthesise",
        "algorithm": SYNTHESISE_ALGORITHM,
        **network_configuration(job, environment),
        "ascent": asdict(ascent_of(job.spec.synthesise)),
    }


def ascent_of(spec: SynthesiseSpec) -> Ascent:
    """How images are optimised."""
    return Ascent(spec.steps, spec.rate, spec.seed)


class SynthesiseWorker(Worker[SynthesisRun]):
    """Optimises images for channels."""

    def __init__(self, job: Job[SynthesisRun]) -> None:
        super().__init__(job)
        self.layer_of = {layer.name: layer for layer in self.layers}
        self.ascent = ascent_of(job.spec.synthesise)

    def run(self, batch: ChannelBatch) -> GroupReport:
        """Optimise the images of a batch of channels, and write its result."""
        started = time.monotonic()
        self.done = 0
        layer = self.layer_of[batch.layer]
        problem = SynthesisProblem(self.network, layer.node, self.job.model.preprocessing, self.ascent)

        def tick(share: float) -> None:
            self.done = int(share * len(batch.channels))

        made = synthesis.synthesise(problem, batch.channels, tick)
        table = pa.Table.from_pylist(list(self._rows(layer, batch, made)), SYNTHESISED)
        self.root.put(batch.result, rows.encode(SYNTHESISED, table))
        self.done = len(batch.channels)
        return GroupReport(batch.result, len(table), len(batch.channels), time.monotonic() - started)

    def _rows(self, layer: Layer, batch: ChannelBatch, made: Synthesised) -> Iterator[dict[str, Any]]:
        """The rows of a batch.

        Raises:
            NumericsError: an activation is not finite.
        """
        if not bool(made.curves.isfinite().all() and made.means.isfinite().all()):
            raise NumericsError(
                f"layer {layer.name}: an activation is NaN or infinity; try other weights or a smaller --rate"
            )
        settings = json.dumps({**asdict(self.ascent), "size": len(batch.channels)}, sort_keys=True)
        for number, channel in enumerate(batch.channels):
            score = float(made.maxima[number])
            picture = encode.projection(eight_bit(made.pixels[number].float()), "webp") if score > 0 else None
            yield {
                "layer": layer.name,
                "layer_index": layer.index,
                "channel": channel,
                "status": "ok" if score > 0 else "inactive",
                "score": score,
                "mean": float(made.means[number]),
                "curve": made.curves[number].tolist(),
                "synthesis": picture and {"bytes": picture, "path": None},
                "settings": settings,
            }
