"""Speed of the scan against decoding and the forward pass alone: same photos, batches and thread, in one process.

`plain` decodes as the scan does and runs torchvision's module, channels last, up to the last scanned layer; `steps` runs our
own list of steps without looking at a map. All three overlap decoding with the forward pass in the same way.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from jobs.run import plan
from tests.benchmarks.figures import Figure
from tests.support import benchmarking
from workers.actors import device, reading
from workers.actors.job import Job
from workers.actors.scan import ScanWorker
from workers.actors.shard import Shard
from workers.corpus import manifest
from workers.models.model import Model
from workers.spec.parts import Precision
from workers.store.root import Root

GOALS = {"alexnet": 0.95, "resnet18": 0.95, "squeezenet1_1": 0.9, "resnet50": 0.95}


def plain(loaded: Model, layers: Sequence[str], where: str) -> Callable[[Tensor], object]:
    """torchvision's own module, channels last; without its classifier if no layer of that is scanned."""
    module = loaded.module
    needs_all = any(name.startswith("classifier") for name in layers)
    features: nn.Module = module if needs_all else getattr(module, "features", module)
    return features.to(memory_format=torch.channels_last).to(where)


def steps(worker: ScanWorker) -> Callable[[Tensor], object]:
    """Our own steps, nothing looked at."""
    last = worker.layers[-1].node
    return lambda images: worker.network.forward(images, [last], lambda *_: None, overwrite=True)


def forward_only(job: Job, images: int, run: Callable[[Tensor], object]) -> None:
    """Decode and run, and keep nothing."""
    listed = manifest.rows(Root(job.spec.root), job.manifest, 0, images)
    with torch.inference_mode():
        for batch in reading.batches(job, listed, job.spec.scan.batch):
            run(device.normalise(batch.pixels(), job, Precision.FLOAT32))
    if job.spec.resources.device == "cuda":
        torch.cuda.synchronize()


def figures(name: str, asked: argparse.Namespace, scratch: Path) -> Iterator[Figure]:
    """The ratios of one network, and its rate."""
    images, where = asked.images, asked.device
    model, corpus = benchmarking.source(name, scratch), benchmarking.photos(scratch)
    how = {"batch": asked.batch, "engine": asked.engine}
    job, loaded = benchmarking.prepared(model, corpus, scratch, images, where, **how)
    worker = ScanWorker(job)
    shard = plan.rename_result(Root(job.spec.root), Shard(0, images, job.manifest, f"shards/{name}/scan.parquet"))
    sides: dict[str, Callable[[], object]] = {
        "plain": partial(forward_only, job, images, plain(loaded, job.layers, where)),
        "steps": partial(forward_only, job, images, steps(worker)),
        "scan": lambda: worker.run(shard),
    }
    seconds = list(benchmarking.alternating(asked.rounds, **sides))
    plainly = tuple(each["plain"] / each["scan"] for each in seconds)
    yield Figure(f"{name}: scan / (decode + torchvision's forward), {asked.engine}", "", plainly, GOALS[name])
    yield Figure(f"{name}: scan / (decode + our steps)", "", tuple(each["steps"] / each["scan"] for each in seconds))
    yield Figure(f"{name}: scan, one thread", "images/s", tuple(images / each["scan"] for each in seconds))


def arguments() -> argparse.ArgumentParser:
    """The flags, with their defaults."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=512, help="images in one round, a multiple of 32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--engine", choices=("eager", "compiled"), default="eager")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--networks", nargs="+", default=list(GOALS), choices=list(GOALS))
    return parser


def main() -> None:
    """Measure each network."""
    asked = arguments().parse_args()
    how = f"batch {asked.batch}, {asked.device}, float32, {asked.engine}"
    print(f"{asked.images} photos, {asked.rounds} rounds, {how}; median (least to most)")
    with tempfile.TemporaryDirectory() as scratch:
        for name in asked.networks:
            for figure in figures(name, asked, Path(scratch)):
                print(figure, flush=True)


if __name__ == "__main__":
    main()
