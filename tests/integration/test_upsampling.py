"""A network that upsamples, scanned as a module of the user's own: strides are fractions, and tables agree with the module."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

import deconvoy
from service.query import catalog
from service.query.layers import read_layer
from tests.support import corpora
from tests.support.asking import atlas_of
from tests.support.differentiated import differentiated
from workers.core.display import undisplay
from workers.core.graph import trace
from workers.core.network import Network
from workers.spec.parts import Method
from workers.store.root import Root

PHOTOS, K, SIDE = 14, 3, 32
STRIDES = {"merged": 1.0, "fine": 0.5}  # of the rectifiers that the wanted layers are


class Unet(nn.Module):
    """One level down, up again with a skip connection, and up once more, beyond the resolution of the image."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.low = nn.Conv2d(6, 8, 3, padding=1)
        self.merge = nn.Conv2d(14, 5, 3, padding=1)
        self.detail = nn.Conv2d(5, 4, 3, padding=1)
        self.merged, self.fine = nn.ReLU(), nn.ReLU()
        self.pool = pool

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        first = torch.relu(self.first(x))
        low = torch.relu(self.low(self.pool(first)))
        merged = self.merged(self.merge(torch.cat([functional.interpolate(low, scale_factor=2), first], 1)))
        fine = self.fine(self.detail(functional.interpolate(merged, scale_factor=2)))
        return {"merged": merged, "fine": fine}


def reach(name: str, y: int, x: int) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of the pixels with an influence, where all maps are positive and no maximum is taken."""
    module = Unet(nn.AvgPool2d(2))
    for weight in module.parameters():
        nn.init.ones_(weight)
    image = torch.ones(1, 3, SIDE, SIDE, requires_grad=True)
    module(image)[name][0, 0, y, x].backward()
    assert image.grad is not None
    rows, columns = (image.grad[0, 0].sum(axis).nonzero().flatten().tolist() for axis in (1, 0))
    return rows[0], columns[0], rows[-1] + 1, columns[-1] + 1


@pytest.fixture(scope="module")
def module() -> Unet:
    torch.manual_seed(3)
    return Unet(nn.MaxPool2d(2)).eval()


@pytest.fixture(scope="module")
def place(tmp_path_factory, module, without_ray) -> Path:  # noqa: ARG001 - a way to run
    folder = tmp_path_factory.mktemp("unet")
    corpora.photos(folder / "photos", range(PHOTOS))
    deconvoy.scan(
        module,
        corpus=folder / "photos",
        root=folder / "root",
        preprocessing={"resize": SIDE, "crop": SIDE, "mean": [0.5] * 3, "std": [0.5] * 3},
        layers=list(STRIDES),
        run="unet",
        scan={"k": K},
        project={"image_format": "png"},
        resources={"actors": 1, "device": "cpu"},
    )
    return folder


@pytest.fixture(scope="module")
def run(place) -> deconvoy.Run:
    return deconvoy.open(place / "root").run("unet")


@pytest.fixture(scope="module")
def pixels(run, place) -> Tensor:
    """uint8 (images, 3, side, side), by image index."""
    from torchvision.transforms.v2 import functional as transforms

    prepared = []
    for row in run.table("images").sort_by("image_index").to_pylist():
        with Image.open(place / "photos" / row["image_id"]) as opened:
            image = torch.from_numpy(np.array(opened)).permute(2, 0, 1)
        resized = transforms.resize(image, [SIDE, int(SIDE * 90 / 80)], antialias=True)
        prepared.append(transforms.center_crop(resized, [SIDE, SIDE]))
    return torch.stack(prepared)


@pytest.fixture(scope="module")
def images(pixels) -> Tensor:
    return (pixels.float() / 255 - 0.5) / 0.5


def test_strides_below_one_are_fractions(run):
    for name, stride in STRIDES.items():
        facts = run.layer(name).about
        assert (facts.stride_y, facts.stride_x, facts.gated, facts.obstacle) == (stride, stride, False, "")
        for row in run.layer(name).table("units").to_pylist():
            assert (row["row_stride"], row["column_stride"]) == (stride, stride)
            assert row["stride_y"] == row["stride_x"] == (1 if stride == 1 else None)


def test_the_top_is_that_of_sorting_every_image(run, module, images):
    with torch.inference_mode():
        maps = module(images)
    for name in STRIDES:
        rows = iter(run.layer(name).table("top").to_pylist())
        for channel in range(maps[name].shape[1]):
            scores = maps[name][:, channel].flatten(1).amax(1).tolist()
            for rank, index in enumerate(sorted(range(PHOTOS), key=lambda n: (-scores[n], n))[:K]):
                row = next(rows)
                assert (row["channel"], row["rank"], row["image_index"]) == (channel, rank, index)
                assert row["score"] == pytest.approx(scores[index], rel=1e-5)
                assert float(maps[name][index, channel, row["y"], row["x"]]) == pytest.approx(scores[index], rel=1e-5)
        assert next(rows, None) is None


def test_the_units_of_a_channel_are_the_statistics_of_all_scores(run, module, images):
    with torch.inference_mode():
        maps = module(images)
    for name in STRIDES:
        scores = maps[name].amax((2, 3)).double()
        for row in run.layer(name).table("units").to_pylist():
            of_channel = scores[:, row["channel"]]
            assert row["images"] == PHOTOS and row["max"] == pytest.approx(float(of_channel.max()), rel=1e-5)
            assert row["mean"] == pytest.approx(float(of_channel.mean()), rel=1e-5)
            assert row["active_share"] == pytest.approx(float((of_channel > 0).double().mean()))


def test_boxes_hold_all_pixels_with_an_influence_and_are_as_large_as_the_largest_of_these_sets(run):
    for name in STRIDES:
        facts = run.layer(name).about
        middle = facts.height // 2
        seen = [reach(name, y, middle) for y in range(middle, middle + 4)]  # a period of units, away from the borders
        assert max(bottom - top for top, _, bottom, _ in seen) == facts.field_height == facts.field_width
        for row in run.layer(name).table("top").to_pylist():
            top, left, bottom, right = reach(name, row["y"], row["x"])
            assert row["box_top"] <= top and row["box_left"] <= left
            assert bottom <= row["box_bottom"] == row["box_top"] + facts.field_height
            assert right <= row["box_right"] == row["box_left"] + facts.field_width


def picture(column: dict) -> np.ndarray:
    with Image.open(io.BytesIO(column["bytes"])) as opened:
        return np.array(opened)


def test_patches_and_projections_are_those_of_the_whole_image(run, module, pixels, images):
    network = Network(trace(module, (SIDE, SIDE)))
    numbers = {layer.name: layer.node for layer in network.layers}
    rows = [row for name in STRIDES for row in run.layer(name).table("patches").to_pylist() if row["score"] > 0]
    assert len(rows) > 10
    for row in rows:
        top, left = max(row["box_top"], 0), max(row["box_left"], 0)
        seen = slice(top, min(row["box_bottom"], SIDE)), slice(left, min(row["box_right"], SIDE))
        index = row["image_index"]
        assert np.array_equal(picture(row["patch"]), pixels[index][:, *seen].permute(1, 2, 0).numpy())
        unit = (0, row["channel"], row["y"], row["x"])
        [wanted] = differentiated(network, images[index][None], numbers[row["layer"]], [unit], Method.DECONVNET)
        inside, scale = wanted[:, *seen].numpy(), row["projection_scale"]
        assert float(wanted.abs().sum()) == pytest.approx(np.abs(inside).sum(), rel=1e-5)
        assert scale == pytest.approx(float(np.abs(inside).max()), rel=1e-4)
        step = np.sqrt(np.abs(inside) / scale) / 127.5 + 1 / 255**2
        assert (np.abs(undisplay(picture(row["projection"]), scale) - inside) <= scale * (step + 1e-4)).all()


def test_pages_show_the_fraction(place):
    root = Root(str(place / "root"))
    client = atlas_of(root)
    page = client.get("/runs/unet/layers/fine")
    assert page.status_code == 200 and "stride 0.5" in page.text
    assert client.get("/runs/unet/layers/fine.json").json()["layer"]["stride_y"] == 0.5
    assert client.get("/runs/unet").status_code == client.get("/runs/unet/layers/fine/channels/0").status_code == 200
    unit = read_layer(catalog.find(root), "fine").channels[0]
    assert (unit.stride_y, unit.row_stride, unit.column_stride) == (None, 0.5, 0.5)
