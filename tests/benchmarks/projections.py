"""Speed of projections against Captum's NeuronDeconvolution: the top nine of each channel, one thread.

Captum gets each channel's nine photos as one batch and runs the whole network forward and backward on them. We run each
photo once for all of its units and carry each unit down on its cone. Both start from the same top rows; Captum is timed on
some channels of each layer, spread evenly, and its time per row counts for the whole layer. `encoded` adds what a stored row
needs: the 8-bit display, the lossless projection and the patch.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from captum.attr import NeuronDeconvolution
from numpy.typing import NDArray
from torch import Tensor, nn

from jobs import project
from jobs.run import plan
from jobs.run.results import StoredResults
from tests.benchmarks.figures import Figure
from tests.support import benchmarking
from workers.actors import device
from workers.actors.job import Job
from workers.actors.project import ProjectWorker, _GroupBatch
from workers.actors.scan import ScanWorker
from workers.actors.shard import Group, Shard
from workers.core import deconvnet, recording
from workers.core.topk import Rows
from workers.corpus import manifest, reader
from workers.models.model import Model
from workers.spec.parts import Method, Pair, Precision
from workers.store.root import Root
from workers.store.rows import read_table

GOAL = 8.0  # with encoding and writing


@dataclass(frozen=True)
class Side:
    """Rows that were projected, and how long that took."""

    rows: int
    seconds: float

    @property
    def rate(self) -> float:
        """Rows per second."""
        return self.rows / self.seconds


def scanned(job: Job, images: int) -> Group:
    """The top rows of a shard, as one group of the second pass."""
    shard = plan.rename_result(Root(job.spec.root), Shard(0, images, job.manifest, "shards/benchmark/scan.parquet"))
    ScanWorker(job).run(shard)
    found = read_table(Root(job.spec.root), shard.result, ["top"])["top"].combine_chunks().flatten()
    hashes = benchmarking.hashes(Root(job.spec.root), shard)
    [group] = project.groups(Rows.from_arrow(found), [shard], "benchmark", hashes, {})
    return group


def ours(worker: ProjectWorker, group: Group) -> Side:
    """All rows of all layers, from decoded photos to float projections."""
    spent, spec = 0.0, worker.job.spec
    for batch in worker._batches(group, set(group.rows.image_index.tolist())):
        work = _GroupBatch(worker, group, batch)
        started = time.perf_counter()
        by_layer = [(layer, work.top.layer_index == layer) for layer in sorted(set(work.top.layer_index.tolist()))]
        wanted = {worker.network.layers[layer].node: work._channels(work.top.take(here)) for layer, here in by_layer}
        images = device.normalise(batch.pixels(), worker.job, Precision.FLOAT32)
        tape = recording.record(worker.network, images, wanted, spec.project.projection)
        for number, some in tape.units.items():
            size = deconvnet.chunk_size(worker.network, number)
            for start in range(0, len(some), size):
                part = slice(start, start + size)
                deconvnet.project(tape, number, some.part(part), tape.values[number][part])
        spent += time.perf_counter() - started
    return Side(len(group.rows), spent)


def encoded(worker: ProjectWorker, group: Group) -> Side:
    """The whole second pass: reading, decoding, projecting, encoding, writing."""
    started = time.perf_counter()
    worker.run(group)
    return Side(len(group.rows), time.perf_counter() - started)


def captums(
    loaded: Model, group: Group, places: pa.Table, pictures: dict[int, Tensor], channels: int
) -> dict[int, Side]:
    """Some channels of each layer, by layer index; `places` has the rows' `y` and `x`."""
    module = loaded.module
    for each in module.modules():
        if isinstance(each, nn.ReLU):
            each.inplace = False
    module.requires_grad_(False)
    found = {}
    for layer in sorted(set(group.rows.layer_index.tolist())):
        is_here = group.rows.layer_index == layer
        here = group.rows.take(is_here)
        y, x = (torch.from_numpy(places[name].to_numpy()[is_here]).long() for name in ("y", "x"))
        name = loaded.network.layers[layer].name
        method = NeuronDeconvolution(module, module.get_submodule(name))
        known = sorted(set(here.channel.tolist()))
        found[layer] = _channels(method, here, (y, x), pictures, known[:: max(1, len(known) // channels)])
    return found


def _channels(
    method: NeuronDeconvolution,
    rows: Rows,
    places: tuple[Tensor, Tensor],
    pictures: dict[int, Tensor],
    channels: Sequence[int],
) -> Side:
    count, started = 0, time.perf_counter()
    for channel in channels:
        is_mine = rows.channel == channel
        mine = rows.take(is_mine)
        images = torch.stack([pictures[index] for index in mine.image_index.tolist()]).requires_grad_()
        y, x = (each[torch.from_numpy(is_mine)] for each in places)

        def unit(map_: Tensor, channel: int = channel, y: Tensor = y, x: Tensor = x) -> Tensor:
            return map_[torch.arange(len(map_)), channel, y, x]

        method.attribute(images, unit)
        count += len(mine)
    return Side(count, time.perf_counter() - started)


def photos_of(job: Job, group: Group) -> dict[int, Tensor]:
    """Model inputs by image index."""
    wanted = set(group.rows.image_index.tolist())
    listed = [r for r in manifest.rows(Root(job.spec.root), job.manifest, 0, group.stop) if r.image_index in wanted]

    def prepare(pixels: NDArray[np.uint8], *, size: Pair) -> Tensor:
        return job.model.preprocessing.prepare(pixels, job.spec.limits.pixels, size)

    batches = reader.batches(listed, 32, prepare, reader.ReadOptions(job.spec.limits))
    return {
        picture.record.image_index: image
        for batch in batches
        for picture, image in zip(batch.pictures, device.normalise(batch.pixels(), job, Precision.FLOAT32), strict=True)
    }


def figures(network: str, images: int, channels: int, rounds: int) -> Iterator[Figure]:
    """Our rates, Captum's, and the ratios."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        source = benchmarking.source(network, scratch)
        job, loaded = benchmarking.prepared(source, benchmarking.photos(scratch), scratch, images)
        assert job.spec.project.projection is Method.DECONVNET
        group = scanned(job, images)
        pictures, worker = photos_of(job, group), ProjectWorker(job)
        rates: dict[str, list[float]] = {"projected": [], "encoded": [], "Captum": []}
        for _ in range(rounds):
            rates["encoded"].append(encoded(worker, group).rate)
            rates["projected"].append(ours(worker, group).rate)
            places = project.places(StoredResults(worker.root, worker.run), [group])
            theirs = captums(loaded, group, places, pictures, channels)
            seconds = sum(int((group.rows.layer_index == layer).sum()) / side.rate for layer, side in theirs.items())
            rates["Captum"].append(len(group.rows) / seconds)
    for name, values in rates.items():
        yield Figure(f"{network}: projections, {name}", "rows/s", tuple(values))
    for name, goal in (("projected", None), ("encoded", GOAL)):
        ratios = tuple(own / other for own, other in zip(rates[name], rates["Captum"], strict=True))
        yield Figure(f"{network}: projections, {name} / Captum", "", ratios, goal)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="alexnet")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--channels", type=int, default=8, help="channels of each layer that Captum projects")
    parser.add_argument("--rounds", type=int, default=3)
    for figure in figures(**vars(parser.parse_args())):
        print(figure, flush=True)


if __name__ == "__main__":
    main()
