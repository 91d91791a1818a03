"""The scan on a GPU, in under six minutes: how close it comes to its slower part, and whether its answers agree.

For each network in float32 and bfloat16: the rate of the scan over the lower of two rates, decoding alone and the forward pass
alone; whether a second scan writes the same bytes; and the share of channels whose nine best images are those of a scan on the
CPU. On a machine without a GPU, `--device cpu` runs the same steps.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch

from jobs.run import plan
from tests.benchmarks.figures import Figure
from tests.support import benchmarking
from workers.actors.job import Job
from workers.actors.scan import ScanWorker
from workers.actors.shard import Shard, ShardBatch
from workers.core.topk import Rows
from workers.spec.parts import Precision
from workers.store import rows
from workers.store.root import Root

NETWORKS = ("alexnet", "resnet18", "resnet50")
GOAL = 0.9
Best = dict[tuple[int, int], frozenset[int]]
COMPARED = 128  # images that the CPU scans, too
TOGETHER = 4  # shards in an item of work, as a run gives them to an actor
RESIDENT = 8  # batches on the device for the forward pass alone


def figures(network: str, corpus: str, asked: argparse.Namespace, scratch: Path) -> Iterator[Figure]:
    """The figures of one network."""
    source = benchmarking.source(network, scratch)
    job, _ = benchmarking.prepared(source, corpus, scratch, asked.images, asked.device, batch=asked.batch)
    expected = _best(_with(job, device="cpu", readers=0), COMPARED)
    for precision in (Precision.FLOAT32, Precision.BFLOAT16):
        changed = _with(job, precision=precision, readers=asked.readers)
        for figure in _of_precision(changed, expected, asked):
            yield replace(figure, what=f"{network}, {precision}: {figure.what}")


def _of_precision(job: Job[Any], expected: Best, asked: argparse.Namespace) -> Iterator[Figure]:
    worker, shard = ScanWorker(job), _shard(job, asked.images)
    forward = _forward_rate(worker, shard, asked)
    decode, scan = partial(_decode, worker, shard), partial(worker.run, ShardBatch((shard,) * TOGETHER))
    decode()  # starts the readers
    decoding = asked.images / min(_seconds(asked.device, decode) for _ in range(asked.rounds))
    worker.run(shard)
    first = worker.root.read(shard.result)
    rates = tuple(
        TOGETHER * asked.images / _fresh_seconds(worker, shard, asked.device, scan) for _ in range(asked.rounds)
    )
    yield Figure("decoding alone", "images/s", (decoding,))
    yield Figure("forward pass alone", "images/s", (forward,))
    yield Figure("scan", "images/s", rates)
    yield Figure("scan / slower part", "", tuple(rate / min(decoding, forward) for rate in rates), GOAL)
    yield Figure("scans that give the same bytes", "", (float(worker.root.read(shard.result) == first),), 1.0)
    best = _best(job, COMPARED)
    same = sum(best[unit] == images for unit, images in expected.items()) / len(expected)
    is_exact = job.spec.resources.precision is Precision.FLOAT32
    yield Figure("channels with the CPU's best images", "", (same,), 0.99 if is_exact else None)


def _decode(worker: ScanWorker, shard: Shard) -> None:
    for _ in worker.batches([shard]):
        pass


def _fresh_seconds(worker: ScanWorker, shard: Shard, device: str, scan: Callable[[], object]) -> float:
    """Seconds of a scan whose results do not exist."""
    worker.root.delete(shard.result)
    return _seconds(device, scan)


def make_corpus(folder: Path, images: int) -> str:
    """As many photos as asked for; each is linked several times if there are fewer."""
    source = benchmarking.photos(folder.parent)
    files = sorted(path for path in Path(source).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    folder.mkdir()
    for number, file in zip(range(images), cycle(files), strict=False):
        (folder / f"{number:06d}{file.suffix}").symlink_to(file)
    return str(folder)


def _with(job: Job[Any], **resources: object) -> Job[Any]:
    changed = job.spec.resources.model_copy(update=resources)
    return replace(job, spec=job.spec.model_copy(update={"resources": changed}))


def _shard(job: Job[Any], images: int) -> Shard:
    resources = job.spec.resources
    name = f"shards/gpu/{resources.device}-{resources.precision}-{images}.parquet"
    return plan.rename_result(Root(job.spec.root), Shard(0, images, job.manifest, name))


def _best(job: Job[Any], images: int) -> Best:
    """The best images of each channel, by layer and channel."""
    worker, shard = ScanWorker(job), _shard(job, images)
    worker.run(shard)
    top = Rows.from_arrow(rows.values(rows.read_table(worker.root, shard.result, ["top"]), "top"))
    best: dict[tuple[int, int], set[int]] = {}
    for layer, channel, image in zip(
        top.layer_index.tolist(), top.channel.tolist(), top.image_index.tolist(), strict=True
    ):
        best.setdefault((layer, channel), set()).add(image)
    return {unit: frozenset(images) for unit, images in best.items()}


def _forward_rate(worker: ScanWorker, shard: Shard, asked: argparse.Namespace) -> float:
    """Images per second of the forward pass, of inputs that are on the device."""
    batches = [worker.input(batch.pixels()) for batch in islice(worker.batches([shard]), RESIDENT)]
    last = replace(worker.maxima, layers=worker.layers[-1:])

    def run() -> None:
        for images in batches:
            last.of(images)

    run()
    return len(batches) * asked.batch / min(_seconds(asked.device, run) for _ in range(3))


def _seconds(device: str, work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--images", type=int, default=4096, help="images of a shard, a multiple of the batch")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--readers", default="auto", help="see `deconvoy scan --readers`")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    asked = parser.parse_args()
    asked.readers = asked.readers if asked.readers == "auto" else int(asked.readers)
    with tempfile.TemporaryDirectory() as scratch:
        corpus = make_corpus(Path(scratch) / "photos", asked.images)
        for network in asked.networks:
            for figure in figures(network, corpus, asked, Path(scratch)):
                print(figure, flush=True)


if __name__ == "__main__":
    main()
