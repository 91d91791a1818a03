"""Speed of occlusion against running every occluded image whole, and against Captum's Occlusion at its best batch.

A square of 32 px every 8 px on 224 px: 625 positions. `whole` runs the same network, channels last, on batches of 32 occluded
images. Captum runs torchvision's module; its time is that of the fastest number of perturbations per call among some. All of
them with the same threads, in one process, in alternating rounds; random weights, which cost the same.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import torch
from captum.attr import Occlusion
from torch import Tensor, nn

from tests.support import benchmarking
from tests.support.occluded import occluded
from workers.core.network import Network
from workers.core.occlusion import Squares, occlude
from workers.models import model as models
from workers.spec.parts import ModelSpec

GOAL = 4.0
PER_CALL = (8, 32)
GREY = torch.zeros(3, 1, 1)


def captums(module: nn.Module, image: Tensor, squares: Squares, per_call: int) -> None:
    """Captum's Occlusion with the same square and stride, towards one class."""
    method = Occlusion(module)
    with torch.inference_mode():
        method.attribute(
            image,
            strides=(3, squares.stride, squares.stride),
            sliding_window_shapes=(3, squares.size, squares.size),
            baselines=0,
            target=0,
            perturbations_per_eval=per_call,
        )


def whole(network: Network, image: Tensor, number: int, squares: Squares) -> None:
    """Every occluded image through the whole network."""
    with torch.inference_mode():
        occluded(network, image, number, 0, squares, GREY)


def measure(name: str, squares: Squares, rounds: int, scratch: Path) -> None:
    """Print one line."""
    loaded = models.load(ModelSpec(source=benchmarking.source(name, scratch)))
    module = loaded.module
    network = loaded.network.to(dtype=torch.float32)
    number = network.select(["auto"])[-1].node
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    ours = image.contiguous(memory_format=torch.channels_last)
    sides = {f"captum {count}": partial(captums, module, image, squares, count) for count in PER_CALL}
    seconds = list(
        benchmarking.alternating(
            rounds,
            ours=lambda: occlude(network, ours, number, squares, GREY),
            whole=partial(whole, network, ours, number, squares),
            **sides,
        )
    )
    best = [min(each[side] for side in sides) for each in seconds]
    print(
        f"{name:14} {benchmarking.spread([each['ours'] for each in seconds])} s;"
        f" whole / ours {benchmarking.spread([each['whole'] / each['ours'] for each in seconds])};"
        f" captum / ours {benchmarking.spread([b / each['ours'] for b, each in zip(best, seconds, strict=True)])}, goal {GOAL:g}",
        flush=True,
    )


def main() -> None:
    """Measure each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stride", type=int, default=8, help="larger for a quicker look")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--networks", nargs="+", default=["alexnet", "resnet18", "squeezenet1_1", "vgg16"])
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as scratch:
        for name in asked.networks:
            measure(name, Squares(32, asked.stride, 224, 224), asked.rounds, Path(scratch))


if __name__ == "__main__":
    main()
