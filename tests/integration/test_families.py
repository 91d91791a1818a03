"""A published scan of one network of each family, against the module itself: every image sorted, whole images differentiated.

The maps are those that hooks on the user's module see, not those of our graph.
"""

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torchvision
from PIL import Image, ImageOps
from torch import Tensor, nn

import deconvoy
from jobs.scan import scan
from jobs.watch import SilentWatcher
from tests.support import operations
from tests.support.differentiated import differentiated
from tests.support.networks import seeded
from tests.support.stored import require_projection
from workers.core.network import Layer, Network
from workers.models import model as models
from workers.models.architectures import resolve
from workers.models.families.torchvision import BARE
from workers.models.model import Model
from workers.spec.parts import Interpolation, Method, ModelSpec
from workers.spec.scan import make_spec

pytestmark = [pytest.mark.shared, pytest.mark.usefixtures("without_ray")]
PHOTOS, BATCH, K, SIDE = 24, 8, 3, 96
CHANNELS = 8  # of each layer, compared with sorting everything
DEPTHS = (0.1, 0.4, 0.7)
UNET = ("two", "up", "last")
WATCHED = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.MaxPool2d, nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish)
ROUNDING = 1e-3  # of float32 in a deep network, whose windows add up in another order than whole images
FAMILIES = (
    "torchvision://squeezenet1_1",
    "torchvision://mobilenet_v3_small",
    *(
        f"torchvision://{name}"
        for name in (
            "alexnet",
            "vgg11",
            "googlenet",
            "resnet18",
            "densenet121",
            "shufflenet_v2_x0_5",
            "mobilenet_v2",
            "efficientnet_b0",
            "efficientnet_v2_s",
            "regnet_y_400mf",
            "convnext_tiny",
            "mnasnet0_5",
            "fcn_resnet50",
        )
    ),
    "timm://nfnet_l0",
)


@pytest.fixture(scope="module")
def photos(shared, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    files = sorted((shared / "images" / "imagenet-1000-256px").glob("*.[jJ]*"))
    for file in files[:: len(files) // PHOTOS][:PHOTOS]:
        with Image.open(file) as opened:  # decoders of JPEG differ in the last bit
            ImageOps.exif_transpose(opened).convert("RGB").save(folder / f"{file.stem}.png")
    return folder


def module_of(source: str) -> nn.Module:
    """The module with random weights, none of them 0: some constructors hide a whole branch."""
    family, name = source.split("://")
    torch.manual_seed(0)
    if family == "timm":
        timm = pytest.importorskip("timm")
        module = timm.create_model(name, pretrained=False)
    else:
        kwargs = dict(BARE) if name == "googlenet" else {"weights_backbone": None} if name.startswith("fcn") else {}
        module = torchvision.models.get_model(name, weights=None, **kwargs)
    for parameter in module.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.3)
    return module.eval().requires_grad_(False)


def maps_of(module: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """What each part of a module gives at its first call, for all images in batches."""
    batches: list[dict[str, Tensor]] = []
    for part, each in module.named_modules():
        if isinstance(each, WATCHED):
            each.register_forward_hook(partial(keep, batches, part))
    with torch.inference_mode():
        for batch in inputs.split(BATCH):
            batches.append({})
            module(batch)
    return {part: torch.cat([batch[part] for batch in batches]) for part in batches[0]}


def keep(batches: list[dict[str, Tensor]], part: str, _: nn.Module, __: object, output: Tensor) -> None:
    batches[-1].setdefault(part, output.clone())


def chosen(network: Network, maps: dict[str, Tensor]) -> list[Layer]:
    """Layers at some depths, of those that are parts of the module and have several locations."""
    known = [layer for layer in network.layers if layer.name in maps and layer.height > 1 and not layer.obstacle]
    return [known[int(depth * len(known))] for depth in DEPTHS]


def inputs_of(model: Model, photos: Path) -> Tensor:
    prepared = []
    for path in sorted(photos.iterdir()):
        with Image.open(path) as opened:
            prepared.append(model.preprocessing.prepare(np.array(opened), 10**8))
    return model.preprocessing.normalise(torch.stack(prepared)).contiguous()


def compare_tops(root: Path, maps: dict[str, Tensor]) -> None:
    """Require that `top` holds what sorting the module's own maps gives."""
    rows = pq.read_table(root / "tables" / "top").to_pylist()
    for layer, map_ in maps.items():
        scores, bound = map_.amax((2, 3)), 1e-4 * float(map_.abs().max())
        best = scores.sort(0, descending=True).values
        for channel in range(min(CHANNELS, map_.shape[1])):
            own = [row for row in rows if (row["layer"], row["channel"]) == (layer, channel)]
            assert [row["rank"] for row in own] == list(range(K))
            assert len({row["image_index"] for row in own}) == K
            for row in own:
                at = map_[row["image_index"], channel, row["y"], row["x"]]
                wanted = (best[row["rank"], channel], scores[row["image_index"], channel], at)
                assert [float(value) for value in wanted] == pytest.approx([row["score"]] * 3, abs=bound)


def compare_projections(root: Path, network: Network, inputs: Tensor, layers: list[Layer]) -> None:
    """Require that some stored projections are those of whole images."""
    rows = pq.read_table(root / "tables" / "patches").to_pylist()
    for layer in layers:
        own = [row for row in rows if row["layer"] == layer.name and row["projection"] is not None]
        assert own
        for row in (own[0], own[-1]):
            place = (0, row["channel"], row["y"], row["x"])
            image = inputs[row["image_index"]][None]
            [wanted] = differentiated(network, image, layer.node, [place], Method.DECONVNET)
            require_projection(row, wanted, ROUNDING)


@pytest.mark.slow
@pytest.mark.parametrize("source", FAMILIES)
def test_a_published_scan_is_what_sorting_and_differentiating_the_module_gives(source, photos, tmp_path):
    module = module_of(source)
    torch.save(module.state_dict(), tmp_path / "weights.pth")
    given = {"source": f"{source}?weights={tmp_path / 'weights.pth'}", "resize": SIDE + 16, "crop": SIDE}
    model = models.load(ModelSpec(**given))
    inputs = inputs_of(model, photos)
    maps = maps_of(module, inputs)
    layers = chosen(model.network, maps)
    names = [layer.name for layer in layers]
    spec = {
        "run": "one",
        "root": str(tmp_path / "root"),
        "model": given,
        "corpus": {"source": str(photos)},
        "scan": {"layers": names, "batch": BATCH, "shard": 2 * BATCH, "k": K},
        "project": {"image_format": "png", "previews": False},
        "resources": {"actors": 1, "device": "cpu"},
    }
    scan(make_spec(spec), SilentWatcher())
    compare_tops(tmp_path / "root", {name: maps[name] for name in names})
    compare_projections(tmp_path / "root", model.network.to(dtype=torch.float32), inputs, layers)


def test_so_is_a_scan_of_a_u_net_of_the_users_own(photos, tmp_path):
    module = seeded(operations.unet()).float()
    preprocessing = {"resize": SIDE + 16, "crop": SIDE, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}
    deconvoy.scan(
        module,
        corpus=photos,
        root=tmp_path / "root",
        preprocessing=preprocessing,
        layers=UNET,
        run="one",
        scan={"k": K, "batch": BATCH, "shard": 2 * BATCH},
        project={"image_format": "png", "previews": False},
        resources={"actors": 1},
    )
    given = ModelSpec(source="deconvoy://zfnet-mini", interpolation=Interpolation.BILINEAR, **preprocessing)
    model = models.export(module, "unet", resolve(given)[1].preprocessing)
    inputs = inputs_of(model, photos)
    maps = maps_of(module, inputs)
    compare_tops(tmp_path / "root", {name: maps[name] for name in UNET})
    network = model.network.to(dtype=torch.float32)
    compare_projections(tmp_path / "root", network, inputs, list(network.select(UNET)))
