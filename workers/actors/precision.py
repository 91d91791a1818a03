"""The worker that measures what half precision costs. Takes one image, writes its scores in both number formats."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from workers.actors import device
from workers.actors.environment import Environment
from workers.actors.job import Job, common_configuration
from workers.actors.shard import Shard
from workers.actors.single import SingleWorker
from workers.core import folding
from workers.core.network import Network
from workers.corpus.manifest import Row
from workers.corpus.reader import PreparedImage
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
    }


class PrecisionWorker(SingleWorker[RunSpec, Shard]):
    """Runs images in float32 and in the precision of the scan."""

    RESULT = COMPARED

    def __init__(self, job: Job[RunSpec]) -> None:
        super().__init__(job)
        folded = folding.fold(self.network, [layer.node for layer in self.layers])  # as the scan runs it
        self.rounded = device.move(job.spec.resources.device, folded, job.spec.resources.precision)

    def compute_rows(self, picture: PreparedImage, row: Row, shard: Shard) -> Iterator[dict[str, Any]]:  # noqa: ARG002 - not needed
        """The image's only row."""
        pixels = picture.prepared[None]
        yield {
            "image_index": picture.record.image_index,
            "scores": self._scores(self.network, self.input(pixels)),
            "rounded": self._scores(
                self.rounded, device.normalise(pixels, self.job, self.job.spec.resources.precision)
            ),
        }

    def _scores(self, network: Network, image: Tensor) -> list[float]:
        """The scores of all layers' channels."""
        scores: list[float] = []

        def visit(_: int, __: tuple[Tensor, ...], map_: Tensor) -> None:
            scores.extend(map_.amax(dim=(2, 3))[0].float().tolist())

        with torch.inference_mode():
            network.forward(image, [layer.node for layer in self.layers], visit)
        return scores
