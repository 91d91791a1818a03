"""A LeNet on grey images, some of 16 bits, and a U-Net on letterboxed rectangles, both scanned from a script.

Other roads: Pillow's own grey, torchvision's resize, sorting the scores of the modules, and automatic differentiation of whole
images.
"""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2 import functional

import deconvoy
from tests.support import scripts
from tests.support.differentiated import differentiated
from tests.support.in_process import jobs_run_here
from workers.core.display import undisplay
from workers.core.graph import trace
from workers.core.network import Network
from workers.spec.parts import Method

FILES = 24
K = 3
SCRIPT = """
import torch
from torch import nn

import deconvoy


class LeNet(nn.Sequential):
    def __init__(self):
        first, second = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 8, 5)
        body = [first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU(), nn.MaxPool2d(2)]
        super().__init__(*body, nn.Flatten(), nn.Linear(200, 32), nn.ReLU(), nn.Linear(32, 10))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.pool = nn.Conv2d(3, 6, 3, padding=1), nn.MaxPool2d(2)
        self.deep = nn.Conv2d(6, 8, 3, padding=1)
        self.up = nn.Upsample(scale_factor=2)
        self.last = nn.Conv2d(14, 5, 3, padding=1)

    def forward(self, x):
        x = torch.relu(self.down(x))
        y = self.up(torch.relu(self.deep(self.pool(x))))
        return torch.relu(self.last(torch.cat([x, y], 1)))


def main(corpus, root):
    common = {"corpus": corpus, "root": root, "resources": {"actors": 1}, "project": {"image_format": "png"}}
    for run, make, layers, preprocessing in (
        ("lenet", LeNet, ["1", "4", "8"], {"resize": 28, "crop": 28, "mean": [0.1307], "std": [0.3081]}),
        ("deep", LeNet, ["4"], {"resize": 28, "crop": 28, "mean": [0.1307], "std": [0.3081], "bits": 16}),
        ("unet", UNet, ["relu_1", "relu_2"], {"resize": [24, 40], "fit": "letterbox", "pad": 9, "mean": [0.5] * 3, "std": [0.25] * 3}),
    ):
        torch.manual_seed(5)
        module = make()
        deconvoy.scan(module, run=run, layers=layers, preprocessing=preprocessing, scan={"k": 3, "batch": 8, "shard": 8}, **common)
        torch.save(module.state_dict(), f"{root}/{run}.pt")
"""  # noqa: E501


def write_corpus(folder: Path) -> None:
    """Blobs on grey: grey PNG, colour JPEG and 16-bit PNG in turn, of several sizes."""
    folder.mkdir()
    for number in range(FILES):
        random = np.random.default_rng(number)
        height, width = (int(side) for side in random.integers(28, 70, 2))
        y, x = np.mgrid[:height, :width]
        blob = np.exp(-((y - random.uniform(0, height)) ** 2 + (x - random.uniform(0, width)) ** 2) / 60)
        grey = np.clip(blob + 0.15 * random.random((height, width)), 0, 1)
        if number % 3 == 0:
            Image.fromarray((grey * 255).astype(np.uint8)).save(folder / f"{number:02d}.png")
        elif number % 3 == 1:
            colours = (grey[..., None] * random.uniform(0.3, 1, 3) * 255).astype(np.uint8)
            Image.fromarray(colours).save(folder / f"{number:02d}.jpg")
        else:
            Image.fromarray((grey * 65535).astype(np.uint16)).save(folder / f"{number:02d}.png")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_corpus(folder / "images")
    (folder / "nets.py").write_text(SCRIPT)
    with jobs_run_here():
        scripts.load(folder / "nets.py").main(str(folder / "images"), str(folder / "root"))
    return folder


def module_of(place: Path, run: str) -> nn.Module:
    nets = scripts.load(place / "nets.py")
    module: nn.Module = (nets.UNet if run == "unet" else nets.LeNet)().eval().requires_grad_(False)
    module.load_state_dict(torch.load(place / "root" / f"{run}.pt", weights_only=True))
    return module


def samples(path: Path, mode: str) -> Tensor:
    """An image in 8 bits, uint8 (bands, height, width), by Pillow's own conversion but for 16 bits, which it would clip."""
    with Image.open(path) as opened:
        shallow = np.rint(np.asarray(opened) / 257).astype(np.uint8) if opened.mode == "I;16" else np.asarray(opened)
        pixels = torch.from_numpy(np.array(Image.fromarray(shallow).convert(mode)))
    return pixels[None] if mode == "L" else pixels.permute(2, 0, 1)


def cropped(image: Tensor) -> Tensor:
    height, width = image.shape[1:]
    size = [28, int(28 * width / height)] if height <= width else [int(28 * height / width), 28]
    return functional.center_crop(functional.resize(image, size, antialias=True), [28, 28])


def prepared(path: Path, run: str) -> Tensor:
    """The model's input (channels, height, width), in 0 to 255."""
    if run == "lenet":
        return cropped(samples(path, "L"))
    if run == "deep":
        with Image.open(path) as opened:
            if opened.mode == "I;16":
                return cropped(torch.from_numpy(np.asarray(opened).astype(np.float32) / 257)[None])
        return cropped(samples(path, "L").float())
    image = samples(path, "RGB")
    ratio = max(image.shape[1] / 24, image.shape[2] / 40)
    size = [round(side / ratio) for side in image.shape[1:]]
    framed = torch.full((3, 24, 40), 9, dtype=torch.uint8)
    top, left = (24 - size[0]) // 2, (40 - size[1]) // 2
    framed[:, top : top + size[0], left : left + size[1]] = functional.resize(image, size, antialias=True)
    return framed


def inputs(place: Path, run: str) -> Tensor:
    mean, std = (0.5, 0.25) if run == "unet" else (0.1307, 0.3081)
    images = torch.stack([prepared(path, run) for path in sorted((place / "images").iterdir())])
    return (images.float() / 255 - mean) / std


def network_of(module: nn.Module, images: Tensor) -> Network:
    channels, height, width = images.shape[1:]
    return Network(trace(module, (height, width), channels))


RUNS = ("lenet", "deep", "unet")


@pytest.mark.parametrize("run", RUNS)
def test_its_tops_are_those_of_sorting_every_image(place, run):
    images, module = inputs(place, run), module_of(place, run)
    network = network_of(module, images)
    published = deconvoy.open(place / "root").run(run)
    wanted, maps = {layer.name: layer.node for layer in network.layers}, dict[int, Tensor]()
    names = [layer.name for layer in published.layers]
    network.forward(
        images, [wanted[name] for name in names], lambda number, _, map_: maps.update({number: map_.clone()})
    )
    rows = published.table("top").to_pylist()
    assert len(rows) == K * sum(len(layer.channels) for layer in published.layers)
    for row in rows:
        scores = maps[wanted[row["layer"]]][:, row["channel"]].flatten(1).amax(1)
        order = sorted(range(FILES), key=lambda n: (-float(scores[n]), n))
        expected = float(scores[order[row["rank"]]])
        assert row["score"] == pytest.approx(expected, rel=1e-4, abs=1e-5)
        assert float(scores[row["image_index"]]) == pytest.approx(expected, rel=1e-4, abs=1e-5)
        height, width = sizes(place)[row["image_index"]]
        seen = published_box(row, run, height, width)
        assert (row["source_top"], row["source_left"], row["source_bottom"], row["source_right"]) == seen


def sizes(place: Path) -> list[tuple[int, int]]:
    opened = [Image.open(path) for path in sorted((place / "images").iterdir())]
    return [(image.height, image.width) for image in opened]


def published_box(row: dict, run: str, height: int, width: int) -> tuple[int, int, int, int]:
    """The receptive field in the source, from the formulas of both resizes."""
    if run == "unet":
        ratio = max(height / 24, width / 40)
        new = round(height / ratio), round(width / ratio)
        origin = -((24 - new[0]) // 2), -((40 - new[1]) // 2)
    else:
        new = (28, int(28 * width / height)) if height <= width else (int(28 * height / width), 28)
        origin = round((new[0] - 28) / 2), round((new[1] - 28) / 2)
    top, left = (row["box_top"] + origin[0]) * height // new[0], (row["box_left"] + origin[1]) * width // new[1]
    bottom = -(-(row["box_bottom"] + origin[0]) * height // new[0])
    return top, left, bottom, -(-(row["box_right"] + origin[1]) * width // new[1])


def picture(column: dict) -> np.ndarray:
    with Image.open(io.BytesIO(column["bytes"])) as opened:
        return np.array(opened)


@pytest.mark.parametrize("run", RUNS)
def test_its_projections_and_patches_are_those_of_whole_images(place, run):
    images, module = inputs(place, run), module_of(place, run)
    network, (height, width) = network_of(module, images), images.shape[2:]
    numbers = {layer.name: layer.node for layer in network.layers}
    rows = [row for row in deconvoy.open(place / "root").run(run).table("patches").to_pylist() if row["projection"]]
    paths = sorted((place / "images").iterdir())
    assert len(rows) > 10
    for row in rows[::5]:
        image, unit = row["image_index"], (0, row["channel"], row["y"], row["x"])
        top, left = max(row["box_top"], 0), max(row["box_left"], 0)
        part = slice(top, min(row["box_bottom"], height)), slice(left, min(row["box_right"], width))
        shown, pixels = picture(row["patch"]), prepared(paths[image], run)[:, *part].float()
        assert np.abs(shown - pixels.expand(3, -1, -1).permute(1, 2, 0).numpy()).max() <= 0.51
        [wanted] = differentiated(network, images[image : image + 1], numbers[row["layer"]], [unit], Method.DECONVNET)
        inside = wanted[:, *part].numpy()
        assert float(wanted.abs().sum()) == pytest.approx(np.abs(inside).sum(), rel=1e-5)
        scale = row["projection_scale"]
        assert scale == pytest.approx(float(np.abs(inside).max()), rel=1e-3)
        got = undisplay(picture(row["projection"]), scale)
        assert got.shape[0] == 3 and (run == "unet" or (got == got[:1]).all())
        step = np.sqrt(np.abs(inside) / scale) / 127.5 + 1 / 255**2
        assert (np.abs(got - inside) <= scale * (step + 1e-3)).all()


def test_16_bits_make_a_difference_and_enter_the_identity(place):
    first, second = (deconvoy.open(place / "root").run(run).table("top") for run in ("lenet", "deep"))
    eight = [row["score"] for row in first.to_pylist() if row["layer"] == "4"]
    assert eight != [row["score"] for row in second.to_pylist()]
    assert eight == pytest.approx([row["score"] for row in second.to_pylist()], abs=0.02)  # as 8 bits are rounded
