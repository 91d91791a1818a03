"""Inversions beside a device. Takes one image and one layer, writes what the layer still knows of it; keeps nothing between."""

import json
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workers import device, pictures, single
from workers.core import inversion
from workers.core.inversion import Inverted, Part, Problem, Recipe, Scale
from workers.core.network import Layer
from workers.corpus.reader import Picture
from workers.errors import SpecError
from workers.job import Environment, Job
from workers.model import restore
from workers.scan import ShardReport
from workers.shard import LayerShard
from workers.spec import InversionRun, InvertSpec, Precision
from workers.store.results import INVERTED
from workers.store.root import Root


class InvertWorker:
    """Inverts images with one network on one device. Any worker gives the same bytes for the same image and layer."""

    def __init__(self, job: Job[InversionRun]) -> None:
        self.job = job
        self.root = Root(job.spec.root)
        self.done = 0
        resources = job.spec.resources
        device.settle(resources.device, resources.threads)
        self.network = device.network_on(resources.device, restore(job.model, self.root), Precision.FLOAT32)
        self.layers = {layer.name: layer for layer in self.network.select(job.layers)}

    def check(self) -> Environment:
        """Prove that this node reaches the root and the corpus, and say what software it runs."""
        return device.check(self.job, self.root)

    def run(self, shard: LayerShard) -> ShardReport:
        """Invert the one image of a shard at its layer, all restarts in one batch, and write the result."""
        started = time.monotonic()
        self.done = 0
        image = single.read(self.job, self.root, shard)
        found = [row for picture in image.pictures for row in self._inverted(picture, self.layers[shard.layer])]
        self.root.put(shard.result, image.encoded(INVERTED, found))
        self.done = 1
        return ShardReport(shard, len(image.pictures), image.rejects, time.monotonic() - started, 0.0)

    def _inverted(self, picture: Picture, layer: Layer) -> list[dict[str, Any]]:
        spec, where = self.job.spec.invert, self.job.spec.resources.device
        recipe = recipe_of(spec, layer.index + 1, len(self.network.nodes))
        preprocessing = self.job.model.preprocessing
        scale = Scale(preprocessing.mean, preprocessing.std)
        problem = Problem(self.network, part_of(spec, layer), scale, recipe, spec.seed)
        pixels = picture.prepared[None].float().to(where)
        generators = [torch.Generator().manual_seed(spec.seed + restart) for restart in range(spec.restarts)]
        extent = pixels.shape[2], pixels.shape[3]
        begin = inversion.start(spec.restarts, extent, generators).to(where, memory_format=torch.channels_last)
        with torch.no_grad():
            wanted = problem.features(scale.centred(pixels)).expand(spec.restarts, -1)
        out = inversion.invert(problem, wanted, begin)
        told = spec.model_dump(mode="json", exclude={"layers", "images", "sample"}) | {"tv_weight": recipe.tv_weight}
        settings = json.dumps(told, sort_keys=True)
        original = pictures.projection(_shown(picture.prepared.float()), "webp")
        common = {"image_index": picture.record.image_index, "layer": layer.name, "layer_index": layer.index}
        return [
            {**common, **_row(out, scale, restart), "original": original, "settings": settings}
            for restart in range(spec.restarts)
        ]


def recipe_of(spec: InvertSpec, number: int, nodes: int) -> Recipe:
    """How a node is inverted."""
    weight = inversion.tv_weight(number, nodes) if spec.tv_weight is None else spec.tv_weight
    return Recipe(
        iterations=spec.iterations,
        rate=spec.rate,
        alpha_weight=spec.alpha_weight,
        tv_weight=weight,
        jitter_px=spec.jitter,
        bounded=spec.bounded,
    )


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
            raise SpecError(
                [
                    f"invert.region: {spec.region} is no part of {layer.name}, whose map is {layer.height} x {layer.width}"
                ]
            )
    return Part(layer.index + 1, spec.channels or None, spec.region)


def _row(out: Inverted, scale: Scale, restart: int) -> dict[str, Any]:
    curve = out.errors[restart].tolist()
    finite = [error for error in curve if np.isfinite(error)]
    diverged = bool(out.diverged[restart])
    return {
        "restart": restart,
        "status": "diverged" if diverged else "ok",
        "error": min(finite, default=float("nan")) if diverged else curve[-1],
        "error_curve": curve,
        "inversion": pictures.projection(_shown(scale.pixels(out.images)[restart]), "webp"),
    }


def _shown(pixels: Tensor) -> np.ndarray[Any, Any]:
    """Pixels (3, height, width) as uint8 (height, width, 3), cut to 0 to 255."""
    return np.ascontiguousarray(pixels.clamp(0, 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy())
