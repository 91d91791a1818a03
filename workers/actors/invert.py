"""The inversion worker. Takes a batch of images and restarts at one layer, writes the inverted images."""

import json
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from workers.actors import single
from workers.actors.environment import Environment
from workers.actors.job import Job, common_configuration
from workers.actors.reports import ShardReport
from workers.actors.shard import InversionBatch, Restart
from workers.actors.worker import Worker
from workers.core import inversion
from workers.core.display import eight_bit
from workers.core.inversion import InversionProblem, Inverted, Part, Scale
from workers.core.network import Layer
from workers.corpus.batch import PreparedImage
from workers.errors import NumericsError, SpecError
from workers.pictures import encode
from workers.spec.invert import InversionRun, InvertSpec
from workers.spec.lists import require_channels
from workers.spec.recipe import SCHEDULE, Recipe
from workers.store.tables.invert import INVERTED

# Raise it whenever the same inputs would give other numbers: stored results of the old algorithm are then not reused.
INVERT_ALGORITHM = 2


def invert_configuration(
    job: Job[InversionRun], environment: Environment, layer: str, recipe: Recipe, size: int
) -> dict[str, Any]:
    """All that one restart of one image at a layer depends on, except the image and the restart's number.

    `recipe` is the layer's recipe; `size` is the number of inversions in its batch, whose shape the numbers depend on.
    """
    spec = job.spec.invert
    return {
        "job": "invert",
        "algorithm": INVERT_ALGORITHM,
        **common_configuration(job, environment),
        "layer": layer,
        "size": size,
        "recipe": asdict(recipe),
        "schedule": SCHEDULE,
        "invert": {"seed": spec.seed, "channels": spec.channels, "region": spec.region},
    }


class InvertWorker(Worker[InversionRun]):
    """Inverts images."""

    def __init__(self, job: Job[InversionRun]) -> None:
        super().__init__(job)
        self.layer_of = {layer.name: layer for layer in self.layers}
        preprocessing = job.model.preprocessing
        self.scale = Scale.of(preprocessing.mean, preprocessing.std, job.spec.resources.device)

    def run(self, batch: InversionBatch) -> ShardReport:
        """Invert a batch at its layer, and write a result for each image and restart."""
        started = time.monotonic()
        self.done = 0
        first = {shard.start: shard for shard in reversed(batch.shards)}
        images = {index: single.read(self.job, self.root, shard) for index, shard in first.items()}
        read = time.monotonic()
        usable = {index: picture for index, image in images.items() for picture in image.pictures}
        results = self._invert(batch.shards, usable, self.layer_of[batch.layer]) if usable else {}
        storing = time.monotonic()
        for shard in batch.shards:
            image = images[shard.start]
            self.root.put(shard.result, image.encode(INVERTED, results.get(shard, [])))
        self.done, ended = len(batch.shards), time.monotonic()
        rejects = sum((Counter(images[shard.start].rejects) for shard in batch.shards), Counter[str]())
        return ShardReport(batch, len(results), dict(rejects), ended - started, read - started, ended - storing)

    def _invert(
        self, shards: Sequence[Restart], usable: Mapping[int, PreparedImage], layer: Layer
    ) -> dict[Restart, list[dict[str, Any]]]:
        """One row of `inversions` for each shard whose image can be used."""
        problem = self._problem(layer)
        substitute = next(
            iter(usable.values())
        )  # takes the place of unusable images, so that the batch keeps its shape
        pictures = [usable.get(shard.start, substitute) for shard in shards]
        pixels = self.scale.centred(self._move(torch.stack([picture.prepared for picture in pictures]).float()))
        generators = [torch.Generator().manual_seed(self.job.spec.invert.seed + shard.restart) for shard in shards]
        with torch.no_grad():
            wanted = problem.features(pixels)
        _require_finite(wanted, pictures, layer)
        start = self._move(inversion.start((pixels.shape[2], pixels.shape[3]), generators, pixels.shape[1]))
        inverted = inversion.invert(problem, wanted, start, self._tick(len(shards)))
        common = {"layer": layer.name, "layer_index": layer.index}
        return {
            shard: [{**common, **_picture_columns(picture), **self._row(inverted, number, shard, problem.recipe)}]
            for number, (shard, picture) in enumerate(zip(shards, pictures, strict=True))
            if shard.start in usable
        }

    def _problem(self, layer: Layer) -> InversionProblem:
        spec = self.job.spec.invert
        recipe = spec.recipe(layer.node, len(self.network.nodes))
        return InversionProblem(self.network, part_of(spec, layer), self.scale, recipe, spec.seed)

    def _move(self, pixels: Tensor) -> Tensor:
        """Move pixels to the device."""
        return pixels.to(self.job.spec.resources.device, memory_format=torch.channels_last)

    def _tick(self, count: int) -> inversion.Tick:
        """A callback that updates the progress of `count` inversions."""

        def tick(share: float) -> None:
            self.done = int(share * count)

        return tick

    def _row(self, inverted: Inverted, number: int, shard: Restart, recipe: Recipe) -> dict[str, Any]:
        """The columns of one inversion."""
        columns = {
            "restart": shard.restart,
            "settings": self._settings(recipe, retried=bool(inverted.retried[number])),
        }
        if bool(inverted.blank[number]):
            return {**columns, "status": "blank", "error": None, "error_curve": [], "inversion": None}
        errors = inverted.errors[number].tolist()
        diverged, finite = bool(inverted.diverged[number]), [error for error in errors if math.isfinite(error)]
        pixels = self.scale.pixels(inverted.images[number : number + 1])[0]
        return {
            **columns,
            "status": "diverged" if diverged else "stuck" if errors[-1] >= errors[0] else "ok",
            "error": min(finite, default=None) if diverged else errors[-1],
            "error_curve": [error if math.isfinite(error) else None for error in errors],
            "inversion": encode.projection(eight_bit(pixels), "webp"),
        }

    def _settings(self, recipe: Recipe, *, retried: bool) -> str:
        """All settings of an inversion, as JSON; a retried inversion has the lower rate."""
        spec = self.job.spec.invert
        rate = recipe.rate * (inversion.RETRY_RATE if retried else 1.0)
        settings = asdict(recipe) | {"rate": rate, "retried": retried}
        settings |= {"seed": spec.seed, "channels": spec.channels or None, "region": spec.region}
        return json.dumps(settings, sort_keys=True)


def part_of(spec: InvertSpec, layer: Layer) -> Part:
    """The part of a layer that is matched.

    Raises:
        SpecError: the layer does not have these channels or this region.
    """
    require_channels("invert.channels", spec.channels, layer.name, layer.channels)
    if spec.region is not None:
        top, left, bottom, right = spec.region
        if not (0 <= top < bottom <= layer.height and 0 <= left < right <= layer.width):
            region, map_ = ",".join(map(str, spec.region)), f"{layer.height} x {layer.width}"
            raise SpecError([f"invert.region: {region} is not inside the map of {layer.name}, which is {map_}"])
    return Part(layer.node, spec.channels or None, spec.region)


def _require_finite(wanted: Tensor, pictures: Sequence[PreparedImage], layer: Layer) -> None:
    for features, picture in zip(wanted, pictures, strict=True):
        if not bool(torch.isfinite(features).all()):
            place = f"image {picture.record.image_index}, layer {layer.name}"
            raise NumericsError(f"{place}: the network outputs NaN or infinity; try other weights")


def _picture_columns(picture: PreparedImage) -> dict[str, Any]:
    return {
        "image_index": picture.record.image_index,
        "original": encode.patch(eight_bit(picture.prepared), "webp"),
    }
