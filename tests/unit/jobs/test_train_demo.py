"""The short training: its files are a training for `evolve`, its seed decides every byte, and bad images are told."""

import hashlib
import os

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from jobs.evolve import checkpoints
from jobs.train_demo import Training, train
from service.cli.main import app
from tests.support.corpora import photos
from workers.errors import CorpusError
from workers.spec.evolve import EvolutionRun
from workers.spec.make import make, merged
from workers.spec.toml import read_toml


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Twelve photos of three classes, and one that is damaged."""
    folder = tmp_path_factory.mktemp("photos")
    photos(folder, range(12))
    whole = (folder / "class1" / "001.png").read_bytes()
    (folder / "class1" / "zzz.png").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """Two training runs with one seed, one with another: folders, outcomes and what was said."""
    found = []
    for seed in (0, 0, 1):
        folder = tmp_path_factory.mktemp("training")
        said: list[str] = []
        outcome = train(Training(str(corpus), folder, 1, "cpu", 1, seed), said.append)
        found.append((folder, outcome, said))
    return found


def test_a_training_writes_checkpoints_and_a_spec_that_evolve_takes(trained, corpus):
    folder, outcome, _ = trained[0]
    assert sorted(os.listdir(folder)) == [
        "classes.txt",
        "epoch-000.safetensors",
        "epoch-001.safetensors",
        "evolve.toml",
    ]
    assert (folder / "classes.txt").read_text().split() == ["class0", "class1", "class2"]
    assert load_file(folder / "epoch-001.safetensors").keys() == load_file(folder / "epoch-000.safetensors").keys()
    spec = make(EvolutionRun, merged(read_toml((folder / "evolve.toml").read_text(), folder), {"root": "atlas"}))
    assert spec.corpus.source == str(corpus)
    files = checkpoints.expand(spec.evolve.checkpoints)
    assert files == tuple(str(folder / f"epoch-00{n}.safetensors") for n in (0, 1))
    assert (outcome["classes"], outcome["images"]) == (3, 12)
    first, last = outcome["epochs"]
    assert first["loss"] is None and last["loss"] > 0 and 0 <= last["accuracy"] <= 1


def test_the_seed_decides_every_byte(trained):
    same, again, other = (_bytes(folder) for folder, _, _ in trained)
    assert same == again and not same & other


def test_images_that_cannot_be_used_are_counted_and_told_in_a_line(trained):
    _, outcome, said = trained[0]
    assert dict(outcome["rejects"]) == {"damaged": 1}
    assert said[:2] == ["12 images of 3 classes, 3 of them held out", "1 more could not be used: damaged 1"]
    assert [line.split()[:2] for line in said[2:]] == [["epoch", "0"], ["epoch", "1"]]


@pytest.mark.parametrize(
    ("classes", "whole", "told"),
    [
        (2, 0, "0 of 8 images can be used, and the training images cover 0 of 2 classes"),
        (2, 1, "1 of 8 images can be used, and the training images cover 0 of 2 classes"),
        (2, 2, "2 of 8 images can be used, and the training images cover 1 of 2 classes"),
        (1, 8, "has 8 labelled images of 1 classes"),
        (0, 0, "has 0 labelled images of 0 classes"),
    ],
)
def test_too_little_to_learn_from_is_one_line_and_nothing_is_written(tmp_path, classes, whole, told):
    (tmp_path / "photos").mkdir()
    for number in range(8 if classes else 0):
        folder = tmp_path / "photos" / f"class{number % classes}"
        photos(tmp_path / "made", range(number, number + 1))
        [made] = (tmp_path / "made").rglob(f"{number:03}.png")
        folder.mkdir(exist_ok=True)
        (folder / made.name).write_bytes(made.read_bytes() if number < whole else b"\x89PNG\r\n\x1a\n")
    output = tmp_path / "training"
    command = ["train-demo", "--corpus", str(tmp_path / "photos"), "-o", str(output), "--device", "cpu"]
    found = CliRunner().invoke(app, command)
    assert found.exit_code == 2 and told in found.stderr and len(found.stderr.splitlines()) == 1
    assert not output.exists()
    with pytest.raises(CorpusError):
        train(Training(str(tmp_path / "photos"), output, 1, "cpu", 1), lambda _: None)


def _bytes(folder) -> set[str]:
    return {hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("*.safetensors")}


def test_a_folder_that_holds_a_training_is_left_alone(trained, corpus):
    folder, _, _ = trained[0]
    before = _bytes(folder)
    done = CliRunner().invoke(app, ["train-demo", "--corpus", str(corpus), "-o", str(folder), "--epochs", "1"])
    assert done.exit_code == 2 and "already contains a training run (epoch-001.safetensors)" in done.stderr
    assert _bytes(folder) == before
