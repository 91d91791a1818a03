"""A published run against the slow road: every score of every image computed and sorted, every picture cut out again."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from jobs.scan import scan
from jobs.watch import SilentWatcher
from tests.support import corpora
from tests.support.differentiated import differentiated
from tests.support.engines import ENGINE
from tests.support.in_process import here
from tests.support.stored import picture, require_projection
from workers.models import model as models
from workers.models.model import Model
from workers.spec.parts import Method
from workers.spec.scan import RunSpec, make_spec

BATCH, K, LAYERS = 8, 5, ("relu2", "relu4")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Photos, flat ones whose every location ties, equal bytes, and equal pixels in other bytes, whose scores tie."""
    folder = tmp_path_factory.mktemp("photos")
    corpora.photos(folder, range(30))
    for number in range(0, 30, 5):
        file = folder / f"class{number % 3}" / f"{number:03d}.png"
        (folder / f"twin{number:03d}.png").write_bytes(file.read_bytes())
        with Image.open(file) as photo:
            photo.save(folder / f"alike{number:03d}.png", compress_level=0)
    for number, colour in enumerate(("white", "black", "red")):
        Image.new("RGB", (200, 210), colour).save(folder / f"flat{number}.png")
    return folder


@pytest.fixture(scope="module")
def spec(corpus, tmp_path_factory) -> RunSpec:
    return make_spec(
        {
            "run": "one",
            "root": str(tmp_path_factory.mktemp("root")),
            "model": {"source": "deconvoy://zfnet-mini"},
            "corpus": {"source": str(corpus)},
            "scan": {"layers": LAYERS, "batch": BATCH, "shard": 2 * BATCH, "k": K, "engine": ENGINE},
            "project": {"image_format": "png"},
            "resources": {"actors": 1, "device": "cpu"},
        }
    )


@pytest.fixture(scope="module")
def root(spec) -> Path:
    here(scan)(spec, SilentWatcher())
    return Path(spec.root)


@pytest.fixture(scope="module")
def model(spec) -> Model:
    return models.load(spec.model)


@pytest.fixture(scope="module")
def files(corpus) -> list[Path]:
    return sorted(corpus.rglob("*.png"), key=lambda path: path.relative_to(corpus).as_posix())


@pytest.fixture(scope="module")
def inputs(files, model) -> torch.Tensor:
    """uint8 (images, 3, side, side)."""
    return torch.stack([model.preprocessing.prepare(np.array(Image.open(f).convert("RGB")), 10**8) for f in files])


@pytest.fixture(scope="module")
def maps(inputs, model) -> dict[str, torch.Tensor]:
    """Every feature map of every image, in batches as the scan has them, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    network = model.network.to(dtype=torch.float32)
    wanted = {layer.node: layer.name for layer in network.select(LAYERS)}
    found: dict[str, list[torch.Tensor]] = {name: [] for name in LAYERS}
    for part in inputs.split(BATCH):
        images = model.preprocessing.normalise(part)
        network.forward(images, list(wanted), lambda number, _, map_: found[wanted[number]].append(map_.clone()))
    torch.set_num_threads(threads)
    return {name: torch.cat(parts) for name, parts in found.items()}


def table(root: Path, name: str) -> list[dict]:
    return pq.read_table(root / "tables" / name, filters=[("run", "==", "one")]).to_pylist()


def test_top_is_what_sorting_everything_gives(root, files, corpus, maps):
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    rows = iter(table(root, "top"))
    tied = 0
    for layer, each in maps.items():
        for channel in range(each.shape[1]):
            scores = each[:, channel].flatten(1).max(dim=1).values.tolist()
            order = sorted(range(len(files)), key=lambda index: (-scores[index], index))
            firsts = {digests[index]: index for index in reversed(order)}
            best = [index for index in order if firsts[digests[index]] == index][:K]
            tied += len({scores[index] for index in best}) < K
            for rank, index in enumerate(best):
                row = next(rows)
                assert (row["layer"], row["channel"], row["rank"]) == (layer, channel, rank)
                assert (row["image_index"], row["score"]) == (index, scores[index] + 0.0)
                assert row["image_id"] == files[index].relative_to(corpus).as_posix()
                place = int(np.argmax(each[index, channel].flatten().numpy()))
                assert (row["y"], row["x"]) == divmod(place, each.shape[3])
    assert next(rows, None) is None
    assert tied > 10


def test_units_are_the_statistics_of_all_scores(root, maps):
    rows = {(row["layer"], row["channel"]): row for row in table(root, "units")}
    for layer, each in maps.items():
        for channel in range(each.shape[1]):
            scores = np.sort(each[:, channel].flatten(1).max(dim=1).values.double().numpy())
            row = rows.pop((layer, channel))
            assert row["images"] == len(scores) and row["max"] == np.float32(scores[-1])
            assert row["mean"] == pytest.approx(scores.mean(), rel=1e-9)
            assert row["std"] == pytest.approx(scores.std(), rel=1e-6, abs=1e-9)
            assert row["active_share"] == (scores > 0).mean() and row["dead"] == (scores[-1] <= 0)
            assert sum(row["counts"]) == len(scores)
            middle = scores[int(np.ceil(len(scores) / 2)) - 1]
            assert row["q50"] == pytest.approx(middle, rel=0.01)
    assert not rows


def test_a_patch_is_the_input_inside_the_receptive_field(root, inputs):
    side = inputs.shape[2]
    for row in table(root, "patches"):
        top, left = max(row["box_top"], 0), max(row["box_left"], 0)
        wanted = inputs[row["image_index"], :, top : min(row["box_bottom"], side), left : min(row["box_right"], side)]
        assert np.array_equal(picture(row["patch"]), wanted.permute(1, 2, 0).numpy())


def test_a_stored_projection_is_the_one_of_the_whole_image(root, inputs, model):
    network = model.network.to(dtype=torch.float32)
    numbers = {layer.name: layer.node for layer in network.layers}
    rows = [row for row in table(root, "patches") if row["projection"] is not None][::97]
    assert len(rows) > 10
    for row in rows:
        images = model.preprocessing.normalise(inputs[row["image_index"]][None])
        place = (0, row["channel"], row["y"], row["x"])
        [wanted] = differentiated(network, images, numbers[row["layer"]], [place], Method.DECONVNET)
        require_projection(row, wanted)
