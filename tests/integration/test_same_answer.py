"""P1 and P2: whoever runs, in whatever order and however often, the tables have the same bytes."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import ray
from PIL import Image, PngImagePlugin

import jobs.run.attempt
from jobs.ray.pool import Pool
from jobs.scan import scan
from jobs.watch import SilentWatcher
from tests.support import corpora
from tests.support.engines import ENGINE
from tests.support.in_process import here
from workers.spec.scan import make_spec

pytestmark = pytest.mark.ray
IMAGES = 40
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def four_cpus():
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    corpora.photos(folder, range(IMAGES))
    return folder


@pytest.fixture(scope="module")
def calm(corpus, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("calm")
    here(scan)(make_spec(values(corpus, root, 1)), SilentWatcher())
    return root


def values(corpus: Path, root: Path, actors: int):
    return {
        "run": "one",
        "root": str(root),
        "model": {"source": "deconvoy://zfnet-mini"},
        "corpus": {"source": str(corpus)},
        "scan": {"layers": ["relu2", "relu5"], "batch": 4, "shard": 8, "k": 3, "engine": ENGINE},
        "resources": {"actors": actors, "device": "cpu"},
    }


def parts(root: Path, run: str = "one") -> dict[str, list[tuple[str, str]]]:
    """Name and hash of every published file."""
    told = json.loads((root / "runs" / run / "manifest.json").read_text())
    return {
        name: [(Path(part["path"]).name, part["sha256"]) for part in found] for name, found in told["tables"].items()
    }


class Shuffled(Pool):
    """Gives work out in another order, and reports in another order than it was finished in."""

    def run(self, items, progress, poison):
        items = list(items)
        random.Random(5).shuffle(items)
        reports = list(super().run(items, progress, poison))
        random.Random(7).shuffle(reports)
        yield from reports


def test_four_actors_in_shuffled_order_publish_the_same_bytes_as_one(corpus, calm, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs.run.attempt, "Pool", Shuffled)
    outcome = scan(make_spec(values(corpus, tmp_path, 4)), SilentWatcher())
    assert outcome.shards_run == IMAGES // 8
    assert parts(tmp_path) == parts(calm)


def test_images_decoded_in_processes_give_the_same_bytes(corpus, calm, tmp_path):
    spec = values(corpus, tmp_path, 1)
    scan(make_spec(spec | {"resources": spec["resources"] | {"readers": 2}}), SilentWatcher())
    assert parts(tmp_path) == parts(calm)


def test_shards_that_run_together_give_the_same_bytes(corpus, calm, tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.scan._at_once", lambda *_: 3)
    outcome = scan(make_spec(values(corpus, tmp_path, 2)), SilentWatcher())
    assert outcome.shards_run == IMAGES // 8
    assert parts(tmp_path) == parts(calm)


class Thief(SilentWatcher):
    """Takes one result away and damages another when a phase begins: after the plan has seen them."""

    def __init__(self, root: Path, phase: str) -> None:
        self.root = root
        self.at = phase
        self.lines: list[str] = []

    def phase(self, name, total, unit):
        del total, unit
        if name == self.at:
            shards, groups = sorted(
                self.root.glob("shards/[0-9a-f]*"),
                key=lambda folder: min(file.stat().st_mtime_ns for file in folder.iterdir()),
            )
            gone, damaged, *_ = sorted((shards if name == "scan" else groups).iterdir())
            gone.unlink()
            data = bytearray(damaged.read_bytes())
            data[len(data) // 3] ^= 0xFF
            damaged.write_bytes(data)

    def say(self, line, **about):
        del about
        self.lines.append(line)


@pytest.mark.parametrize("phase", ["scan", "project"])
def test_results_that_vanish_or_rot_during_a_run_are_made_again(corpus, calm, tmp_path, phase):
    root = tmp_path / "root"
    shutil.copytree(calm, root)
    thief = Thief(root, phase)
    shutil.rmtree(root / "shards" / "merges")  # else the root of the merges is read, and no shard
    outcome = here(scan)(make_spec(values(corpus, root, 2) | {"run": "two"}), thief)
    assert (outcome.shards_run, outcome.groups_run) == (0, 0)  # as planned; what was stolen comes on top
    assert sum("computing it again" in line for line in thief.lines) == 2
    assert parts(root, "two") == parts(calm)


def drivers(spec, count: int, **environment: str) -> list[tuple[int, str]]:
    """Exit code and standard error of some drivers that run the same spec at once, each with a Ray of its own."""
    command = [sys.executable, "-m", "tests.support.driver", json.dumps(spec)]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    started = [
        subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY,
            env={**clean, **environment},
        )
        for _ in range(count)
    ]  # fmt: skip
    ended = [(driver.communicate()[1], driver.returncode) for driver in started]
    return [(code, told) for told, code in ended]


@pytest.mark.slow  # in `make test`, lives and rounds of chaos have a second driver
def test_two_drivers_that_race_for_a_run_id_publish_it_once(corpus, calm, tmp_path):
    for code, told in drivers(values(corpus, tmp_path, 1), 2):
        assert code == 0, told
    assert parts(tmp_path) == parts(calm)
    assert len(list((tmp_path / "tables" / "runs" / "run=one").glob("*.parquet"))) == 1
    assert {path.parent.parent.name for path in (tmp_path / "tables").rglob("*.parquet")} == {*parts(calm), "runs"}


@pytest.mark.parametrize(
    ("readers", "said"), [(0, "lost an actor"), pytest.param(2, "lost the readers", marks=pytest.mark.slow)]
)
def test_images_that_kill_decoders_in_either_pass_are_found_and_rejected_and_the_others_are_scanned(
    tmp_path, readers, said
):
    folder, root = tmp_path / "photos", tmp_path / "root"
    corpora.photos(folder, range(24))
    poisoned = {"class1/010.png": "poison", "class2/023.png": "late-poison"}  # the second one is in `top`
    for name, kind in poisoned.items():
        mark = PngImagePlugin.PngInfo()
        mark.add_text("Comment", f"deconvoy-test-{kind}")
        with Image.open(folder / name) as photo:
            photo.save(folder / name, pnginfo=mark)
    path = os.pathsep.join([str(REPOSITORY / "tests" / "support" / "poison"), str(REPOSITORY)])
    spec = values(folder, root, 2) | {"scan": {"layers": ["relu1"], "batch": 4, "shard": 8, "k": 3}}
    spec["resources"] = spec["resources"] | {"readers": readers}
    [(code, told)] = drivers(spec, 1, PYTHONPATH=path, DECONVOY_TEST_DECODED=str(tmp_path / "decoded"))
    assert code == 0 and said in told and ("lost an actor" in told) == (readers == 0), told
    rejects = pq.read_table(root / "tables" / "rejects").to_pylist()
    assert [(row["image_id"], row["reason"]) for row in rejects] == [(name, "decoder_crash") for name in poisoned]
    assert all("signal 11" in row["detail"] for row in rejects)
    assert told.count("planning again") == 1
    assert pq.read_table(root / "tables" / "images").num_rows == 22
