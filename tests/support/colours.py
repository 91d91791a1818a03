"""A network whose channels each see one colour, and photos of these colours. Takes folders, writes photos and a scan."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from jobs.scan import scan
from jobs.watch import SilentWatcher
from tests.support.in_process import here
from tests.support.tiny_clip import COLOURS
from workers.core.preprocess import Preprocessing
from workers.models import model as models
from workers.spec.parts import Interpolation
from workers.spec.scan import make_spec

NAMES = tuple(COLOURS)
DEAD = len(NAMES)  # the last channel of each layer
SIDE_PX, OF_EACH = 24, 3
FIRST, SECOND = "first_relu", "second_relu"


class Colours(nn.Module):
    """Channel n of the first layer sees colour n; the second layer has the channels in reverse order, the dead one last again."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.first_relu = nn.Conv2d(3, DEAD + 1, 8, stride=4), nn.ReLU()
        self.second, self.second_relu = nn.Conv2d(DEAD + 1, DEAD + 1, 1, bias=False), nn.ReLU()
        signs = torch.tensor([[1.0 if value > 127 else -1.0 for value in colour] for colour in COLOURS.values()])
        with torch.no_grad():
            self.first.weight.copy_(torch.cat([signs, torch.zeros(1, 3)])[:, :, None, None] / 64)
            self.first.bias.fill_(-1.5)
            order = torch.eye(DEAD + 1)[[*reversed(range(DEAD)), DEAD]]
            self.second.weight.copy_(order[:, :, None, None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images to maps."""
        return self.second_relu(self.second(self.first_relu(self.first(x))))


def write_photos(folder: Path) -> None:
    """A few noisy photos of each colour."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        for number in range(OF_EACH):
            pixels = noise.normal(colour, 12, (SIDE_PX, SIDE_PX, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{name}{number}.png")


def publish_scan(root: Path, photos: Path, run: str = "colours") -> None:
    """Scan the photos."""
    model = models.export(
        Colours(), "colours", Preprocessing(SIDE_PX, SIDE_PX, (0.5,) * 3, (0.5,) * 3, Interpolation.BILINEAR)
    )
    how = {"resize": SIDE_PX, "crop": SIDE_PX, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}
    values = {
        "run": run,
        "root": str(root),
        "corpus": {"source": str(photos), "label": "none"},
        "model": {"source": model.stored.source, **how},
        "scan": {"k": OF_EACH, "layers": [FIRST, SECOND]},
        "resources": {"actors": 1, "device": "cpu"},
    }
    here(scan)(make_spec(values), SilentWatcher())
