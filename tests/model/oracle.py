"""What a scan must find, by the shortest way: run the module on every image, sort every channel. Uses no code of a scan."""

import hashlib
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torchvision.transforms import v2

from workers.models import zfnet

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PREPARE = v2.Compose(
    [
        v2.PILToTensor(),
        v2.Resize(184, v2.InterpolationMode.BICUBIC, antialias=True),
        v2.CenterCrop(160),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(MEAN, STD),
    ]
)


def usable_images(corpus: Path) -> list[tuple[str, str, torch.Tensor]]:
    """Path, hash and input of every image, in the order of their paths; what Pillow cannot open is left out."""
    images = []
    for path in sorted(corpus.rglob("*.*"), key=lambda file: file.relative_to(corpus).as_posix()):
        try:
            with Image.open(path) as opened:
                pixels = PREPARE(opened.convert("RGB"))
        except OSError:
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        images.append((path.relative_to(corpus).as_posix(), digest, pixels))
    return images


def maps(images: list[torch.Tensor], layers: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Feature maps (images, channels, height, width) of layers."""
    module = zfnet.zfnet_mini()
    module.load_state_dict(load_file(str(resources.files("workers") / "pretrained/zfnet-mini/model.safetensors")))
    kept: dict[str, torch.Tensor] = {}
    for name, part in module.named_modules():
        if name in layers:
            part.register_forward_hook(lambda *given, name=name: kept.update({name: given[2].clone()}))
    with torch.inference_mode():
        module.eval()(torch.stack(images))
    return kept


def top(corpus: Path, layers: tuple[str, ...], k: int) -> list[tuple[Any, ...]]:
    """(layer, channel, rank, image id, y, x, score) of the strongest images; equal files count once."""
    images = usable_images(corpus)
    rows = []
    for layer, values in maps([pixels for _, _, pixels in images], layers).items():
        scores = values.flatten(2).amax(2)
        for channel in range(values.shape[1]):
            order = sorted(range(len(images)), key=lambda image: (-scores[image, channel].item(), image))
            firsts: dict[str, int] = {}
            for image in order:
                firsts.setdefault(images[image][1], image)
            for rank, image in enumerate(list(firsts.values())[:k]):
                y, x = np.unravel_index(int(values[image, channel].argmax()), values.shape[2:])
                rows.append((layer, channel, rank, images[image][0], int(y), int(x), scores[image, channel].item()))
    return rows


def statistics(corpus: Path, layers: tuple[str, ...]) -> dict[tuple[str, int], tuple[int, float, float, float]]:
    """(images, mean, largest, share of images above 0) of the scores of a layer's channel."""
    images = usable_images(corpus)
    about = {}
    for layer, values in maps([pixels for _, _, pixels in images], layers).items():
        for channel, scores in enumerate(values.flatten(2).amax(2).double().T):
            active = (scores > 0).double().mean().item()
            about[layer, channel] = len(scores), scores.mean().item(), scores.max().item(), active
    return about
