"""The page on the method: its commands run in this process, over stand-ins for its photos, and what it says of `relu1` holds."""

import re
import shlex
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from typer.testing import CliRunner

import deconvoy
from service.cli.main import app
from tests.support.in_process import jobs_run_here

PAGE = (Path(__file__).parents[2] / "docs" / "method.md").read_text()
SHORTER = {
    "scan": "--k 3",
    "train-demo": "--epochs 1",
    "evolve": "--layers relu1 --layers relu5 --k 3",
    "occlude": "--stride 64",
    "invariance": "--translations -7,7 --scales 1.1 --rotations 90",
    "correspondence": "--draws 1",
    "invert": "--iterations 2",
    "synthesise": "--steps 2",
}  # options that are appended to commands; the last one counts


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def photo(number: int) -> Image.Image:
    """Stripes of two colours, whose width and direction follow from the number, under noise; as large as the page's faces."""
    random = np.random.default_rng(number)
    rows, columns = np.mgrid[:260, :230]
    stripes = np.sin((rows * np.sin(number) + columns * np.cos(number)) / (2 + number % 7))[..., None]
    colours = random.integers(0, 256, (2, 3))
    pixels = np.where(stripes > 0, *colours) + random.normal(0, 20, (260, 230, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    """The folder where the page's commands have run."""
    folder = tmp_path_factory.mktemp("desk")
    named = set(re.findall(r"\w+/image_\d+\.jpg", PAGE))
    more = {f"{name.partition('/')[0]}/more_{number}.jpg" for name in named for number in range(3)}
    for number, name in enumerate(sorted(named | more)):
        (folder / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        photo(number).save(folder / "photos" / name)
    [parts] = blocks("csv")
    (folder / "parts.csv").write_text(parts)
    with pytest.MonkeyPatch.context() as patch, jobs_run_here():
        patch.chdir(folder)
        for line in "".join(blocks("console")).splitlines():
            run(line.removeprefix("$ deconvoy "))
    return folder


@pytest.fixture(scope="module")
def kernels() -> np.ndarray:
    """The kernels of zfnet-mini's first layer, (channels, colours, height, width)."""
    weights = resources.files("workers") / "pretrained/zfnet-mini/model.safetensors"
    return load_file(str(weights))["conv1.weight"].astype(np.float64)


def run(command: str) -> None:
    words = shlex.split(command)
    done = CliRunner().invoke(app, words + SHORTER.get(words[0], "").split())
    assert done.exit_code == 0, f"$ deconvoy {command}\n{done.output}\n{done.exception!r}"


def test_every_command_of_the_page_draws_its_figure(desk):
    drawn = re.findall(r" -o (\S+\.png)", PAGE)
    assert len(drawn) == len(set(drawn)) == 13
    for name in drawn:
        with Image.open(desk / name) as picture:
            assert min(picture.size) > 200


def test_every_kind_of_job_of_the_page_has_a_run(desk):
    kinds = {run.kind for run in deconvoy.open(str(desk / "atlas")).runs}
    assert kinds == {*SHORTER, "filters"} - {"train-demo"}


def test_the_projections_of_a_channel_of_the_first_layer_are_its_kernel(desk, kernels):
    """The page says that they are the same picture, as no pooling layer lies below. The kernels are read from the weights."""
    layer = deconvoy.open(str(desk / "atlas")).run("photos").layer("relu1")
    patches = [(channel, patch) for channel in (0, 4, 9, 22) for patch in layer.channel(channel).patches]
    whole = [(channel, patch) for channel, patch in patches if patch.signal().shape == (3, 7, 7)]
    assert len(whole) >= 6
    for channel, patch in whole:
        kernel = kernels[channel] * patch.score
        np.testing.assert_allclose(patch.signal(), kernel, atol=0.01 * abs(kernel).max())  # pictures have 8 bits


def test_the_page_gives_the_share_of_energy_that_strides_of_2_and_4_alias(kernels):
    """By the autocorrelation of the kernels, whose Fourier transform the energy is, and not by their transform."""
    text = " ".join(PAGE.split())
    trained, at_4 = map(int, re.findall(r"After training it is (\d+) %.*?it would be (\d+) %", text)[0])
    for stride, share in ((2, trained), (4, at_4)):
        assert round(100 * (1 - kept_energy(kernels, stride))) == share


def kept_energy(kernels: np.ndarray, stride: int) -> float:
    """The share of energy at frequencies that a stride can represent, by the midpoints of 1,024 intervals in each direction."""
    places, half = np.arange(kernels.shape[-1]), 512 // stride
    lags = (places[:, None] - places)[..., None] * (np.arange(-half, half) + 0.5)
    weights = np.cos(2 * np.pi * lags / 1024).sum(-1) / 1024  # of each product of two pixels, by their distance
    return float(np.einsum("kcij,kcab,ia,jb->", kernels, kernels, weights, weights) / (kernels**2).sum())
