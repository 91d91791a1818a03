"""The worker that measures what half precision costs. Takes one image, writes its scores in both floating-point formats."""

from collections.abc import Iterator
from typing import Any

from workers.actors import device
from workers.actors.environment import Environment
from workers.actors.job import Job, border_configuration, common_configuration
from workers.actors.shard import Shard
from workers.actors.single import SingleWorker
from workers.core import folding
from workers.core.maxima import Maxima
from workers.corpus.batch import PreparedImage
from workers.corpus.manifest import Row
from workers.spec.scan import RunSpec
from workers.store.tables.scan import COMPARED

# Raise it whenever the same inputs would give other numbers: stored results of the old algorithm are then not reused.
PRECISION_ALGORITHM = 2


def precision_configuration(job: Job[RunSpec], environment: Environment) -> dict[str, Any]:
    """All that one image's scores depend on, except the image."""
    return {
        "job": "precision",
        "algorithm": PRECISION_ALGORITHM,
        **common_configuration(job, environment),
        "layers": job.layers,
        "precision": job.spec.resources.precision,
        **border_configuration(job),
    }


class PrecisionWorker(SingleWorker[RunSpec, Shard]):
    """Runs images in float32 and in the precision of the scan."""

    RESULT = COMPARED

    def __init__(self, job: Job[RunSpec]) -> None:
        super().__init__(job)
        folded = folding.fold(self.network, [layer.node for layer in self.layers])  # as the scan runs it
        rounded = device.move(job.spec.resources.device, folded, job.spec.resources.precision)
        inner = job.spec.scan.is_inner
        self.exact, self.rounded = (Maxima(network, self.layers, 1, inner=inner) for network in (self.network, rounded))

    def compute_rows(self, picture: PreparedImage, row: Row, shard: Shard) -> Iterator[dict[str, Any]]:  # noqa: ARG002 - not needed
        """The image's only row."""
        pixels, precision = picture.prepared[None], self.job.spec.resources.precision
        yield {
            "image_index": picture.record.image_index,
            "scores": self.exact.of(self.input(pixels))[0].tolist(),
            "rounded": self.rounded.of(device.normalise(pixels, self.job, precision))[0].tolist(),
        }
