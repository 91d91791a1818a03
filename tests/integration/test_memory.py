"""Memory that runs out: the run takes smaller batches, says so, and its tables are those of a run that asked for them."""

import json
from pathlib import Path

import pytest

from jobs.scan import scan
from jobs.watch import SilentWatcher
from tests.support import corpora
from tests.support.greedy import LARGEST_BATCH, Greedy
from tests.support.heard import Heard
from tests.support.in_process import jobs_run_here
from workers.spec.scan import make_spec

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("two_cpus")]


def values(corpus: Path, root: Path, batch: int):
    return {
        "run": "one",
        "root": str(root),
        "model": {"source": "deconvoy://zfnet-mini"},
        "corpus": {"source": str(corpus)},
        "scan": {"layers": ["relu1", "relu5"], "batch": batch, "shard": 32, "k": 3},
        "resources": {"actors": 2, "device": "cpu"},
    }


def manifest(root: Path):
    return json.loads((root / "runs" / "one" / "manifest.json").read_text())


def test_a_run_without_memory_for_its_batches_takes_smaller_ones_and_records_it(tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.scan.ScanWorker", Greedy)
    monkeypatch.setattr("jobs.ray.seats.MEMORY_PAUSE_S", 0.1)
    corpora.photos(tmp_path / "photos", range(40))
    watch = Heard()
    scan(make_spec(values(tmp_path / "photos", tmp_path / "short", 32)), watch)
    assert [line.rpartition("; ")[2] for line in watch.said if "out of memory" in line and "again" in line] == [
        "running everything again in batches of 16",
        f"running everything again in batches of {LARGEST_BATCH}",
    ]
    with jobs_run_here():
        scan(make_spec(values(tmp_path / "photos", tmp_path / "enough", LARGEST_BATCH)), SilentWatcher())
    short, enough = manifest(tmp_path / "short"), manifest(tmp_path / "enough")
    assert (short["reduced_batch"], short["spec"]["scan"]["batch"]) == (LARGEST_BATCH, 32)
    assert "reduced_batch" not in enough
    assert short["tables"] == enough["tables"]
