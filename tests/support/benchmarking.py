"""What benchmarks share. Takes names, gives photos, networks with seeded weights, jobs in a temporary root, and ratios."""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import safetensors.torch
import torch
import torchvision

from jobs import demo, speed
from workers.actors.job import Job
from workers.actors.shard import Shard
from workers.models import model as models
from workers.models.model import Model
from workers.spec.scan import RunSpec, make_spec
from workers.store import rows
from workers.store.root import Root


def shared() -> Path | None:
    """The shared folder of real weights and photos, or None."""
    folder = Path(os.environ.get("DECONVOY_SHARED", Path(__file__).parents[3] / "shared")) / "data"
    return folder if folder.is_dir() else None


def photos(scratch: Path) -> str:
    """1,000 photos of ImageNet's classes, else the demo's tiles."""
    found = shared()
    if found:
        return str(found / "images" / "imagenet-1000-256px")
    demo.corpus(scratch / "tiles")
    return str(scratch / "tiles")


def source(name: str, scratch: Path) -> str:
    """A torchvision network with seeded random weights, which cost the same time as trained ones."""
    file = scratch / f"{name}.safetensors"
    if not file.exists():
        torch.manual_seed(0)
        safetensors.torch.save_file(torchvision.models.get_model(name, weights=None).state_dict(), file)
    return f"torchvision://{name}?weights={file}"


def prepared(
    model: str, corpus: str, scratch: Path, images: int, device: str = "cpu", **scan: object
) -> tuple[Job, Model]:
    """A job as the driver makes it, with one thread, without Ray; its shard holds `images` images."""
    spec: RunSpec = make_spec(
        {
            "root": str(scratch / "root"),
            "model": {"source": model},
            "corpus": {"source": corpus},
            "scan": {"shard": images, "engine": "eager", **scan},
            "resources": {"device": device, "threads": 1},
        }
    )
    loaded = models.load(spec.model)
    return speed.job_of(spec, loaded), loaded


def hashes(root: Root, shard: Shard) -> dict[int, str]:
    """The SHA-256 of the images of a scanned shard, by image index."""
    images = rows.values(rows.read_table(root, shard.result, ["images"]), "images").to_pylist()
    return {image["image_index"]: image["sha256"] for image in images}


def alternating(rounds: int, **sides: Callable[[], object]) -> Iterator[dict[str, float]]:
    """Seconds of each side, round by round; the order turns, and an uncounted round warms up."""
    names = list(sides)
    for number in range(rounds + 1):
        seconds = {}
        for name in names if number % 2 else reversed(names):
            started = time.perf_counter()
            sides[name]()
            seconds[name] = time.perf_counter() - started
        if number:
            yield seconds


def spread(values: list[float]) -> str:
    """Median, and the extremes."""
    return f"{statistics.median(values):5.2f} ({min(values):.2f} to {max(values):.2f})"
