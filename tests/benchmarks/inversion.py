"""Speed of inversion against bare forward + backward iterations of the same sub-network and batch.

`bare` is torchvision's module up to the layer (channels last, as ours), the squared distance of its features, and the gradient
with respect to the images; no priors, no momentum, no errors kept. Both with the same threads, in one process, in alternating
rounds. The weights are seeded random ones (zfnet-mini: its own), which cost the same.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from torchvision.models.feature_extraction import create_feature_extractor

from tests.support import benchmarking
from workers.core import inversion
from workers.core.inversion import InversionProblem, Part, Scale
from workers.models import model as models
from workers.spec import recipe
from workers.spec.parts import ModelSpec
from workers.spec.recipe import Recipe

GOAL = 0.85
NETWORKS = {
    "deconvoy://zfnet-mini": ("relu1", "relu3", "relu5"),
    "alexnet": ("features.1", "features.12", "classifier.5"),
    "squeezenet1_1": ("features.1", "features.6.cat", "features.12.cat"),
    "resnet18": ("relu", "layer2.1.relu_1", "layer4.1.relu_1"),
}


def measure(name: str, batch: int, iterations: int, rounds: int, scratch: Path) -> None:
    """Print a line for each of a network's layers."""
    source = name if "://" in name else benchmarking.source(name, scratch)
    loaded = models.load(ModelSpec(source=source))
    module = loaded.module
    network, preprocessing = loaded.network.to(dtype=torch.float32), loaded.preprocessing
    for layer in network.select(NETWORKS[name]):
        part = create_feature_extractor(module.eval().requires_grad_(False), [layer.name])
        part = part.to(memory_format=torch.channels_last)
        number, nodes = layer.node, len(network.nodes)
        # A small rate: nothing may diverge, since what diverges runs twice.
        how = Recipe(recipe.tv_weight(number, nodes), 1e-6, iterations=iterations)
        problem = InversionProblem(network, Part(number), Scale.of(preprocessing.mean, preprocessing.std), how)
        images = inversion.start(preprocessing.size, [torch.Generator().manual_seed(n) for n in range(batch)])
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            wanted = problem.features(images.flip(0))

        def bare(part=part, images=images, wanted=wanted, layer=layer.name) -> Tensor:
            for _ in range(iterations):
                leaf = images.detach().requires_grad_()
                loss = (part(leaf)[layer].view_as(wanted) - wanted).square().sum()
                [gradient] = torch.autograd.grad(loss, leaf)
            return gradient

        def ours(problem=problem, images=images, wanted=wanted) -> None:
            assert not inversion.invert(problem, wanted, images).diverged.any()

        seconds = list(benchmarking.alternating(rounds, bare=bare, ours=ours))
        ratios = [each["bare"] / each["ours"] for each in seconds]
        rate = batch * iterations / sorted(each["ours"] for each in seconds)[len(seconds) // 2]
        print(
            f"{name.partition('://')[2] or name:14} {layer.name:16} {rate:6.0f} iterations/s of one image;"
            f" bare / ours {benchmarking.spread(ratios)}, goal {GOAL:g}",
            flush=True,
        )


def main() -> None:
    """Measure each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as scratch:
        for name in asked.networks:
            measure(name, asked.batch, asked.iterations, asked.rounds, Path(scratch))


if __name__ == "__main__":
    main()
