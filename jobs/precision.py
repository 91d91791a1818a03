"""What half precision costs a scan. Takes an attempt, runs a sample of its corpus in both formats, gives figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from jobs.run import plan
from jobs.run.attempt import Attempt
from workers.actors.job import digest
from workers.actors.precision import PrecisionWorker, precision_configuration
from workers.core.agreement import TOP, differing_sets, relative_difference
from workers.core.network import Layer
from workers.spec.parts import Precision
from workers.spec.scan import RunSpec
from workers.store.facts import PrecisionFacts
from workers.store.rows import values

SAMPLE = 64  # images, chosen by the hashes of their ids
MARGIN = 4.0  # the passes may differ by this multiple of the largest difference in the sample

_COLUMNS = ("scores", "rounded")


@dataclass(frozen=True)
class Cost:
    """What half precision costs.

    Attributes:
        images: images of the sample that could be used.
        sets: channels whose best images were compared; 0 if there are too few images for a difference to show.
        differing: channels whose best images differ.
        differences: by layer index, the largest difference between a score and the one in float32, relative to the layer's
            largest magnitude.
    """

    images: int
    sets: int
    differing: int
    differences: Mapping[int, float]

    @property
    def finding(self) -> str:
        """The figures in words."""
        if not self.sets:
            return (
                f"too few images to compare with float32: {self.images} of the sample could be used, "
                f"and {TOP + 1} are needed for the top-{TOP} images to differ"
            )
        return (
            f"{self.differing} of {self.sets} channels have different top-{TOP} images than in float32, "
            f"in a sample of {self.images} images"
        )

    def tolerances(self, scales: Mapping[int, float]) -> dict[int, float]:
        """By layer index, how much the two passes may differ, if the layers' scores have these magnitudes."""
        return {layer: MARGIN * self.differences[layer] * scale for layer, scale in scales.items()}

    def facts(self, layers: Sequence[Layer], tolerances: Mapping[int, float]) -> PrecisionFacts:
        """The figures for the manifest."""
        named = {layer.name: tolerances[layer.index] for layer in layers if layer.index in tolerances}
        return PrecisionFacts(images=self.images, sets=self.sets, differing=self.differing, tolerances=named)


def measure(run: Attempt[RunSpec]) -> Cost | None:
    """Compare the scan's precision with float32 on a sample of the corpus; None for a scan in float32."""
    precision = run.job.spec.resources.precision
    if precision is Precision.FLOAT32:
        return None
    environment = run.pool.start(partial(PrecisionWorker, run.job))
    configuration = digest(precision_configuration(run.job, environment))
    planned, _, _ = run.run_shards("precision", plan.plan_images(run.root, run.job.manifest, configuration, (), SAMPLE))
    stored = run.results(PrecisionWorker)
    found = [values(stored.read(shard, ["found"]), "found") for shard in planned.shards]
    rows = [row for row in found if len(row)]
    cost = compare(run.layers, *(_matrix(rows, name, run.layers) for name in _COLUMNS))
    run.watch.say(f"{precision}: {cost.finding}")
    return cost


def compare(layers: Sequence[Layer], scores: Any, rounded: Any) -> Cost:  # noqa: ANN401 - arrays
    """Compare the scores of some images.

    Args:
        layers: the layers.
        scores: float32 scores (images, channels of all layers).
        rounded: scores in the other format.
    """
    stops = np.cumsum([layer.channels for layer in layers])
    parts = {layer.index: slice(stop - layer.channels, stop) for layer, stop in zip(layers, stops, strict=True)}
    differences = {index: relative_difference(scores[:, part], rounded[:, part]) for index, part in parts.items()}
    sets = scores.shape[1] if len(scores) > TOP else 0
    return Cost(len(scores), sets, differing_sets(scores, rounded), differences)


def _matrix(rows: Sequence[Any], name: str, layers: Sequence[Layer]) -> Any:  # noqa: ANN401 - an array
    """One list of each row as a matrix (images, channels of all layers)."""
    lists = [row.field(name).flatten().to_numpy() for row in rows]
    return np.array(lists, np.float32).reshape(len(rows), sum(layer.channels for layer in layers))
