"""The worker that measures what half precision costs. Takes one image, writes its scores in both number formats."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workers.actors import device
from workers.actors.job import Environment, Job, common_configuration
from workers.actors.shard import Shard
from workers.actors.single import SingleWorker
from workers.core.maxima import locate
from workers.corpus.manifest import Row
from workers.corpus.reader import PreparedImage
from workers.spec.scan import RunSpec
from workers.store.tables.scan import COMPARED

# Raise it whenever the same inputs would give other numbers: stored results of the old algorithm are then not reused.
PRECISION_ALGORITHM = 1


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
        self.rounded = device.move(job.spec.resources.device, self.network, job.spec.resources.precision)

    def compute_rows(self, picture: PreparedImage, row: Row, shard: Shard) -> Iterator[dict[str, Any]]:  # noqa: ARG002 - not needed
        """The image's only row."""
        pixels = picture.prepared[None]
        rounded, places = self._run_rounded(device.normalise(pixels, self.job, self.job.spec.resources.precision))
        scores, values = self._run_exact(self.input(pixels), places)
        yield {
            "image_index": picture.record.image_index,
            "scores": scores,
            "rounded": rounded,
            "values": values,
        }

    def _run_rounded(self, image: Tensor) -> tuple[list[float], dict[int, Tensor]]:
        """The scores of all layers' channels, and by node the position of each channel's maximum in its flattened map."""
        scores: list[float] = []
        places: dict[int, Tensor] = {}

        def visit(node: int, _: tuple[Tensor, ...], map_: Tensor) -> None:
            scores.extend(map_.amax(dim=(2, 3))[0].float().tolist())
            channels = np.arange(map_.shape[1])
            y, x = locate(map_, np.zeros_like(channels), channels)
            places[node] = torch.as_tensor(y * map_.shape[3] + x, device=map_.device)

        with torch.inference_mode():
            self.rounded.forward(image, [layer.node for layer in self.layers], visit)
        return scores, places

    def _run_exact(self, image: Tensor, places: dict[int, Tensor]) -> tuple[list[float], list[float]]:
        """The scores in float32, and the activations in float32 at the places of the rounded maxima."""
        scores: list[float] = []
        values: list[float] = []

        def visit(node: int, _: tuple[Tensor, ...], map_: Tensor) -> None:
            scores.extend(map_.amax(dim=(2, 3))[0].tolist())
            values.extend(map_[0].flatten(1).gather(1, places[node][:, None])[:, 0].tolist())

        with torch.inference_mode():
            self.network.forward(image, places, visit)
        return scores, values
