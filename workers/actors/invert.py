"""Inversions beside a device. Takes a batch of images and restarts at one layer, writes what the layer still knows of them."""

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
from workers.actors.job import Job
from workers.actors.shard import InversionBatch, Restart, ShardReport
from workers.actors.worker import Worker
from workers.core import inversion
from workers.core.display import eight_bit
from workers.core.inversion import Inverted, Part, Problem, Scale
from workers.core.network import Layer
from workers.corpus.reader import Picture
from workers.errors import NumericsError, SpecError
from workers.pictures import encode
from workers.spec.invert import InversionRun, InvertSpec
from workers.spec.recipe import Recipe
from workers.store.tables.invert import INVERTED


class InvertWorker(Worker[InversionRun]):
    """Inverts images."""

    def __init__(self, job: Job[InversionRun]) -> None:
        super().__init__(job)
        self.layer_of = {layer.name: layer for layer in self.layers}
        preprocessing = job.model.preprocessing
        self.scale = Scale.of(preprocessing.mean, preprocessing.std, job.spec.resources.device)

    def run(self, batch: InversionBatch) -> ShardReport:
        """Invert a batch at its layer and write a result for each image and restart in it."""
        started = time.monotonic()
        self.done = 0
        first = {shard.start: shard for shard in reversed(batch.shards)}
        images = {index: single.read(self.job, self.root, shard) for index, shard in first.items()}
        read = time.monotonic()
        usable = {index: picture for index, image in images.items() for picture in image.pictures}
        found = self._inverted(batch.shards, usable, self.layer_of[batch.layer]) if usable else {}
        storing = time.monotonic()
        for shard in batch.shards:
            image = images[shard.start]
            self.root.put(shard.result, image.encoded(INVERTED, found.get(shard, [])))
        self.done, ended = len(batch.shards), time.monotonic()
        rejects = sum((Counter(images[shard.start].rejects) for shard in batch.shards), Counter[str]())
        return ShardReport(batch, len(found), dict(rejects), ended - started, read - started, ended - storing)

    def _inverted(
        self, shards: Sequence[Restart], usable: Mapping[int, Picture], layer: Layer
    ) -> dict[Restart, list[dict[str, Any]]]:
        """One row of `inversions` for each shard whose image could be used."""
        problem = self._problem(layer)
        spare = next(iter(usable.values()))  # stands where an image could not be used: the batch keeps its shape
        chosen = [usable.get(shard.start, spare) for shard in shards]
        pixels = self.scale.centred(self._there(torch.stack([picture.prepared for picture in chosen]).float()))
        generators = [torch.Generator().manual_seed(self.job.spec.invert.seed + shard.restart) for shard in shards]
        with torch.no_grad():
            wanted = problem.features(pixels)
        _check_finite(wanted, chosen, layer)
        begin = self._there(inversion.start((pixels.shape[2], pixels.shape[3]), generators))
        out = inversion.invert(problem, wanted, begin, self._tick(len(shards)))
        common = {"layer": layer.name, "layer_index": layer.index}
        return {
            shard: [{**common, **_picture_columns(picture), **self._row(out, number, shard, problem.recipe)}]
            for number, (shard, picture) in enumerate(zip(shards, chosen, strict=True))
            if shard.start in usable
        }

    def _problem(self, layer: Layer) -> Problem:
        spec = self.job.spec.invert
        how = spec.recipe(layer.node, len(self.network.nodes))
        return Problem(self.network, part_of(spec, layer), self.scale, how, spec.seed)

    def _there(self, pixels: Tensor) -> Tensor:
        return pixels.to(self.job.spec.resources.device, memory_format=torch.channels_last)

    def _tick(self, count: int) -> inversion.Tick:
        def tick(share: float) -> None:
            self.done = int(share * count)

        return tick

    def _row(self, out: Inverted, number: int, shard: Restart, how: Recipe) -> dict[str, Any]:
        """What is known of one inversion."""
        told = {"restart": shard.restart, "settings": self._settings(how, retried=bool(out.retried[number]))}
        if bool(out.blank[number]):
            return {**told, "status": "blank", "error": None, "error_curve": [], "inversion": None}
        errors = out.errors[number].tolist()
        diverged, finite = bool(out.diverged[number]), [error for error in errors if math.isfinite(error)]
        return {
            **told,
            "status": "diverged" if diverged else "stuck" if errors[-1] >= errors[0] else "ok",
            "error": min(finite, default=None) if diverged else errors[-1],
            "error_curve": [error if math.isfinite(error) else None for error in errors],
            "inversion": encode.projection(eight_bit(self.scale.pixels(out.images[number : number + 1])[0]), "webp"),
        }

    def _settings(self, how: Recipe, *, retried: bool) -> str:
        """Everything that the inversion was told, as JSON; of one that was made again the lower rate."""
        spec = self.job.spec.invert
        told = asdict(how) | {"rate": how.rate * (inversion.RETRY_RATE if retried else 1.0), "retried": retried}
        told |= {"seed": spec.seed, "channels": spec.channels or None, "region": spec.region}
        return json.dumps(told, sort_keys=True)


def part_of(spec: InvertSpec, layer: Layer) -> Part:
    """What of a layer is compared.

    Raises:
        SpecError: channels or a region that the layer does not have.
    """
    beyond = [channel for channel in spec.channels if channel >= layer.channels]
    if beyond:
        raise SpecError([f"invert.channels: no channel {beyond[0]} in {layer.name}; it has 0 to {layer.channels - 1}"])
    if spec.region is not None:
        top, left, bottom, right = spec.region
        if not (0 <= top < bottom <= layer.height and 0 <= left < right <= layer.width):
            told = f"{layer.name}, whose map is {layer.height} x {layer.width}"
            raise SpecError([f"invert.region: {','.join(map(str, spec.region))} is no part of {told}"])
    return Part(layer.node, spec.channels or None, spec.region)


def _check_finite(wanted: Tensor, chosen: Sequence[Picture], layer: Layer) -> None:
    for features, picture in zip(wanted, chosen, strict=True):
        if not bool(torch.isfinite(features).all()):
            which = f"image {picture.record.image_index}, layer {layer.name}"
            raise NumericsError(f"{which}: the network gives NaN or infinity; try other weights")


def _picture_columns(picture: Picture) -> dict[str, Any]:
    return {
        "image_index": picture.record.image_index,
        "original": encode.patch(eight_bit(picture.prepared), "webp"),
    }
