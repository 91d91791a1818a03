"""How fast a scan runs on this machine. Takes a device, gives the speed of a scan and the time of each of its parts."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor

from jobs.run import plan
from workers.actors.job import Job
from workers.actors.scan import ScanWorker, ShardScan
from workers.actors.shard import Shard
from workers.corpus import manifest
from workers.models import model as models
from workers.models.model import Model
from workers.spec.scan import RunSpec, make_spec
from workers.store import rows
from workers.store.root import Root
from workers.store.tables.scan import SHARD

IMAGES = {"cpu": 96, "cuda": 2048}
SIDE_PX = 256
NETWORK = "resnet18"
Result = TypeVar("Result")


@dataclass(frozen=True)
class Part:
    """The time of one part of a scan, if nothing else runs.

    Attributes:
        name: what it does.
        seconds: for all images.
    """

    name: str
    seconds: float


@dataclass(frozen=True)
class Speed:
    """The speed of a scan of one shard by one actor, with a ResNet-18 of random weights.

    Attributes:
        images: number of images, of 256 x 256 pixels.
        seconds: time of the whole scan.
        parts: its parts, each measured alone. Decoding overlaps with the others.
    """

    images: int
    seconds: float
    parts: tuple[Part, ...]

    @property
    def forward_share(self) -> float:
        """The share of the speed of the forward pass alone that the scan reaches."""
        return next(part.seconds for part in self.parts if part.name == "forward") / self.seconds


def measure(device: str, images: int | None = None) -> Speed:
    """Scan made-up photos with one actor, without Ray; whole, and part by part.

    Args:
        device: cpu or cuda.
        images: number of images; by default enough for some seconds.
    """
    count = images or IMAGES[device]
    with tempfile.TemporaryDirectory() as folder:
        _make_photos(Path(folder) / "photos", count)
        job = _make_job(Path(folder), device, count)
        worker, root = ScanWorker(job), Root(job.spec.root)
        shard = plan.rename_result(root, Shard(0, count, job.manifest, "shards/speed/scan.parquet"))
        worker.run(shard)  # warms up
        _, seconds = _time(device, lambda: worker.run(shard))
        return Speed(count, seconds, _measure_parts(worker, shard))


def _measure_parts(worker: ScanWorker, shard: Shard) -> tuple[Part, ...]:
    parts: list[Part] = []

    def part(name: str, work: Callable[[], Result]) -> Result:
        result, seconds = _time(worker.job.spec.resources.device, work)
        parts.append(Part(name, seconds))
        return result

    batches = part("decode", lambda: list(worker.batches([shard])))
    inputs = part("copy and normalise", lambda: [worker.input(batch.pixels()) for batch in batches])
    part("forward", lambda: _forward(worker, inputs))
    scores = part("maxima", lambda: [worker.runner.of(images) for images in inputs])
    scan = ShardScan(worker)
    for batch, each in zip(batches, scores, strict=True):
        scan.add(batch, each)
    table = part("reduce", scan.result)
    encoded = part("encode", lambda: rows.encode(SHARD, table))
    part("write", lambda: worker.root.put(f"{shard.result}.copy", encoded))
    forward = next(each.seconds for each in parts if each.name == "forward")
    return tuple(Part(each.name, max(0.0, each.seconds - forward)) if each.name == "maxima" else each for each in parts)


def _forward(worker: ScanWorker, batches: Sequence[Tensor]) -> None:
    """The forward pass alone, in the parts in which a scan runs it, with the maxima of the last layer only."""
    last = replace(worker.maxima, layers=worker.layers[-1:])
    for images in batches:
        last.of(images)


def _time(device: str, work: Callable[[], Result]) -> tuple[Result, float]:
    started = time.perf_counter()
    result = work()
    if device == "cuda":
        torch.cuda.synchronize()
    return result, time.perf_counter() - started


def _make_photos(folder: Path, count: int) -> None:
    """JPEG files that take as long to decode as photos: smooth surfaces with some noise."""
    folder.mkdir()
    chance = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(chance.integers(0, 256, (12, 12, 3), np.uint8))
        smooth = np.asarray(coarse.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC), np.int16)
        pixels = (smooth + chance.integers(-12, 13, smooth.shape, np.int16)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:05d}.jpg", quality=90)


def _make_job(folder: Path, device: str, count: int) -> Job[RunSpec]:
    """The scan of all photos in one shard."""
    torch.manual_seed(0)
    module = torchvision.models.get_model(NETWORK, weights=None).eval().requires_grad_(False)
    model = models.of_module(module, NETWORK, models.DEFAULT)
    spec = make_spec(
        {
            "root": str(folder / "root"),
            "model": {"source": model.stored.source},
            "corpus": {"source": str(folder / "photos")},
            "scan": {"shard": -(-count // 32) * 32},
            "resources": {"device": device, "threads": 1},
        }
    )
    return job_of(spec, model)


def job_of(spec: RunSpec, model: Model) -> Job[RunSpec]:
    """A job as a scan makes it, without a run; the network and the listing of the corpus are stored under the spec's root."""
    layers = tuple(layer.name for layer in model.network.select(spec.scan.layers))
    root = Root(spec.root)
    with manifest.list_corpus(spec.corpus, lambda _: None) as listing:
        return Job(spec, models.store(model, root), layers, listing.commit(root))
