"""Speed of the first pass against what one would use instead: the same photos, networks and two cores.

Each tool finds the strongest images of each channel. Deconvoy records all layers of `auto`, the others the outputs of the
blocks, and nothing of what else a scan keeps (statistics, duplicates, hashes of the files). zennit-crp also computes relevance,
as its documentation does, and so gets fewer images.
"""

import argparse
import contextlib
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from jobs.run import plan
from tests.benchmarks.figures import Figure
from tests.support import benchmarking
from workers.actors.job import Job
from workers.actors.scan import ScanWorker
from workers.actors.shard import Shard
from workers.store.root import Root

CORES, BATCH, K = 2, 32, 9
BLOCKS = {
    "alexnet": [f"features.{number}" for number in (1, 4, 7, 9, 11)],
    "squeezenet1_1": [f"features.{number}" for number in (1, 3, 4, 6, 7, 9, 10, 11, 12)],
    "resnet18": [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)],
    "resnet50": [
        f"layer{stage}.{block}" for stage, count in ((1, 3), (2, 4), (3, 6), (4, 3)) for block in range(count)
    ],
}
GOALS = {"alexnet": 2.2, "squeezenet1_1": 3.0, "resnet18": 3.0, "resnet50": 3.0}
CRP_GOAL, CRP_SHARE = 10.0, 8
TRANSFORM = v2.Compose(
    [
        v2.Resize(256, antialias=True),
        v2.CenterCrop(224),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
)


class Photos(Dataset[tuple[Tensor, int]]):
    """The first photos of a folder, as a classifier takes them."""

    name = "photos"

    def __init__(self, folder: str, count: int) -> None:
        files = sorted(str(path) for path in Path(folder).rglob("*") if path.is_file())
        self.files = [file for file in files if file.lower().endswith((".jpg", ".jpeg", ".png"))][:count]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.files[index]) as image:
            return TRANSFORM(image.convert("RGB")), 0


@dataclass(frozen=True)
class Task:
    """What all tools get.

    Attributes:
        network: name of the network.
        photos: the images.
        scratch: temporary folder.
    """

    network: str
    photos: Photos
    scratch: Path

    @property
    def blocks(self) -> list[str]:
        """Names of the modules whose outputs are recorded."""
        return BLOCKS[self.network]

    def module(self) -> nn.Module:
        """torchvision's module, with seeded random weights."""
        torch.manual_seed(0)
        return torchvision.models.get_model(self.network, weights=None).eval()

    def loader(self) -> DataLoader[tuple[Tensor, int]]:
        """Batches, decoded in processes that live until the loader ends."""
        return DataLoader(self.photos, BATCH, num_workers=CORES, persistent_workers=True)


Round = Callable[[], int]


@contextlib.contextmanager
def ours(task: Task, corpus: str, images: int, actors: int = CORES) -> Iterator[Round]:
    """The workers of some actors, each with one thread, as Ray would run them; each scans its share of the images."""
    job, _ = benchmarking.prepared(benchmarking.source(task.network, task.scratch), corpus, task.scratch, images)
    share = images // actors
    names = [f"shards/rivals{actors}/{task.network}-{part}.parquet" for part in range(actors)]
    parts = [Shard(part * share, (part + 1) * share, job.manifest, name) for part, name in enumerate(names)]
    shards = [plan.rename_result(Root(job.spec.root), part) for part in parts]
    with ProcessPoolExecutor(actors, get_context("spawn"), _hire, (job,)) as pool:
        yield lambda: sum(pool.map(_scan, shards))


def _hire(job: Job[Any]) -> None:
    globals()["WORKER"] = ScanWorker(job)


def _scan(shard: Shard) -> int:
    report = globals()["WORKER"].run(shard)
    return int(report.images)


@contextlib.contextmanager
def hooks(task: Task) -> Iterator[Round]:
    """Forward hooks and a DataLoader: what one would write by hand."""
    module, maxima, loader = task.module(), dict[str, list[Tensor]](), task.loader()
    for name in task.blocks:
        module.get_submodule(name).register_forward_hook(partial(_keep_maximum, maxima.setdefault(name, [])))

    def run() -> int:
        with torch.inference_mode():
            for images, _ in loader:
                module(images)
        return _top(maxima.values())

    yield run


def _keep_maximum(kept: list[Tensor], module: nn.Module, inputs: object, output: Tensor) -> None:
    del module, inputs
    kept.append(output.amax((2, 3)))


def _top(maxima: Any) -> int:
    """Select the best images of each channel; gives the number of images."""
    count = 0
    for kept in maxima:
        scores = torch.cat(kept)
        torch.topk(scores, min(K, len(scores)), 0)
        count = len(scores)
        kept.clear()
    return count


@contextlib.contextmanager
def captum(task: Task) -> Iterator[Round]:
    """Captum's LayerActivation, and top-k."""
    from captum.attr import LayerActivation

    module, loader = task.module(), task.loader()
    layers = LayerActivation(module, [module.get_submodule(name) for name in task.blocks])

    def run() -> int:
        maxima: list[list[Tensor]] = [[] for _ in task.blocks]
        with torch.no_grad():
            for images, _ in loader:
                for kept, activation in zip(maxima, layers.attribute(images), strict=True):
                    kept.append(activation.amax((2, 3)))
        return _top(maxima)

    yield run


@contextlib.contextmanager
def semanticlens(task: Task) -> Iterator[Round]:
    """semanticlens' ActivationComponentVisualizer."""
    from semanticlens.component_visualization import ActivationComponentVisualizer, aggregators

    module = task.module()
    vars(module)["name"] = task.network
    kept = {"aggregate_fn": aggregators.aggregate_conv_max, "num_samples": K}

    def run() -> int:
        finder = ActivationComponentVisualizer(module, task.photos, task.photos, task.blocks, **kept)
        finder.run(BATCH, CORES)
        return len(task.photos)

    yield run


@contextlib.contextmanager
def zennit_crp(task: Task) -> Iterator[Round]:
    """zennit-crp's FeatureVisualization, as documented."""
    from crp.attribution import CondAttribution
    from crp.concepts import ChannelConcept
    from crp.helper import get_layer_names
    from crp.visualization import FeatureVisualization
    from zennit.canonizers import SequentialMergeBatchNorm
    from zennit.composites import EpsilonPlusFlat
    from zennit.torchvision import ResNetCanonizer

    module, count = task.module(), len(task.photos) // CRP_SHARE
    canonizers = [ResNetCanonizer() if task.network.startswith("resnet") else SequentialMergeBatchNorm()]
    layers = dict.fromkeys(get_layer_names(module, [nn.Conv2d]), ChannelConcept())

    def run() -> int:
        folder = task.scratch / "crp"
        shutil.rmtree(folder, ignore_errors=True)
        finder = FeatureVisualization(CondAttribution(module), task.photos, layers, path=str(folder))
        finder.run(EpsilonPlusFlat(canonizers), 0, count, BATCH, count)
        return count

    yield run


@contextlib.contextmanager
def ray_data(task: Task) -> Iterator[Round]:
    """Ray Data: `read_images`, then `map_batches` with hooks in one actor per core."""
    import ray

    ray.init(address="local", num_cpus=CORES + 1, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False

    def run() -> int:
        images = ray.data.read_images(task.photos.files, size=(256, 256), mode="RGB")
        size = {"batch_size": BATCH, "num_cpus": 1, "concurrency": CORES}
        found = images.map_batches(_Hooked, fn_constructor_args=(task.network,), **size)
        batches = list(found.iter_batches(batch_size=None, batch_format="numpy"))
        return _top([[torch.as_tensor(batch[name]) for batch in batches] for name in task.blocks])

    try:
        yield run
    finally:
        ray.shutdown()


class _Hooked:
    """Finds the maxima of batches, in an actor."""

    def __init__(self, network: str) -> None:
        torch.set_num_threads(1)
        self.task = Task(network, Photos("/nowhere", 0), Path())
        self.module, self.maxima = self.task.module(), dict[str, list[Tensor]]()
        for name in self.task.blocks:
            hook = partial(_keep_maximum, self.maxima.setdefault(name, []))
            self.module.get_submodule(name).register_forward_hook(hook)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        images = torch.from_numpy(batch["image"].copy()).permute(0, 3, 1, 2)[:, :, 16:240, 16:240]
        with torch.inference_mode():
            self.module(TRANSFORM.transforms[-1](images.float() / 255))
        return {name: kept.pop().numpy() for name, kept in self.maxima.items()}


RIVALS = {
    "hooks": (hooks, "torch"),
    "captum": (captum, "captum"),
    "semanticlens": (semanticlens, "semanticlens"),
    "ray_data": (ray_data, "ray"),
    "zennit_crp": (zennit_crp, "crp"),
}


SLOW = ("ray_data", "zennit_crp")


def figures(networks: Sequence[str], images: int, rounds: int) -> Iterator[Figure]:
    """The rates of all tools that are installed, and ours over each, round by round."""
    torch.set_num_threads(CORES)
    with tempfile.TemporaryDirectory() as scratch:
        corpus = benchmarking.photos(Path(scratch))
        for network in networks:
            task = Task(network, Photos(corpus, images), Path(scratch))
            rates = _rates(task, corpus, rounds)
            for name, values in rates.items():
                yield Figure(f"{network}: {name}", "images/s", tuple(values))
            mine = rates.pop("deconvoy")
            goal = {name: CRP_GOAL if name == "zennit_crp" else GOALS[network] for name in rates}
            for name, values in rates.items():
                ratios = tuple(own / other for own, other in zip(mine, values, strict=True))
                yield Figure(f"{network}: deconvoy / {name}", "", ratios, goal[name])


def _rates(task: Task, corpus: str, rounds: int) -> dict[str, list[float]]:
    """Images per second of each tool; their order turns, and an uncounted round warms up all but the slowest."""
    rates: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        runs = {"deconvoy": stack.enter_context(ours(task, corpus, len(task.photos)))}
        for name, (rival, package) in RIVALS.items():
            if find_spec(package):
                runs[name] = stack.enter_context(rival(task))
        for number in range(rounds + 1):
            for name in list(runs) if number % 2 else reversed(runs):
                if not number and name in SLOW:
                    continue
                with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
                    started = time.perf_counter()
                    count = runs[name]()
                    seconds = time.perf_counter() - started
                if number:
                    rates.setdefault(name, []).append(count / seconds)
    return {name: rates[name] for name in runs}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=256, help="images in one round, a multiple of 64")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", nargs="+", default=["alexnet", "squeezenet1_1", "resnet18"], choices=list(BLOCKS))
    asked = parser.parse_args()
    os.environ.setdefault("TQDM_DISABLE", "1")
    for figure in figures(asked.networks, asked.images, asked.rounds):
        print(figure, flush=True)


if __name__ == "__main__":
    main()
