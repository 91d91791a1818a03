"""The scan end to end on local Ray, with the network that the package ships."""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.cost import Cost
from jobs.dry_run import dry_run
from jobs.measurement import Measurement
from jobs.ray import cluster
from jobs.run.publish import read_manifest
from jobs.scan import scan
from jobs.watch import SilentWatcher
from tests.support import corpora
from workers.actors.job import Job
from workers.corpus import isolate
from workers.corpus.manifest import Row
from workers.errors import Reason, RunError
from workers.spec.scan import RunSpec, make_spec
from workers.store.root import Root

IMAGES = 48


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Small photos of noise and stripes, two of them equal; files that cannot be used, and one that is not listed."""
    folder = tmp_path_factory.mktemp("corpus")
    corpora.photos(folder, range(IMAGES - 1))
    (folder / "class0" / "twin.png").write_bytes((folder / "class0" / "000.png").read_bytes())
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_bytes(b"no image")
    (folder / "cut.png").write_bytes((folder / "class0" / "000.png").read_bytes()[:400])
    (folder / "huge.png").write_bytes(huge_png())
    (folder / "notes.txt").write_bytes(b"not listed")
    return folder


def huge_png() -> bytes:
    """A few bytes that say that they are 60,000 x 60,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    end = b"\0\0\0\0IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + end


def spec(corpus: Path, root: Path, **over):
    values: dict[str, Any] = {
        "run": "first",
        "root": str(root),
        "model": {"source": "deconvoy://zfnet-mini"},
        "corpus": {"source": str(corpus)},
        "scan": {"layers": ["relu1", "relu3"], "batch": 8, "shard": 16, "k": 3, "max_reject_share": 0.5},
        "project": {},
        "resources": {"actors": 2, "device": "cpu"},
    }
    for key, value in over.items():
        values[key] = {**values[key], **value} if isinstance(value, dict) else value
    return make_spec(values)


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def tables(root: Path, run: str = "first") -> dict[str, list[str]]:
    """Names of the published files, which hold the hash of their content."""
    told = json.loads((root / "runs" / run / "manifest.json").read_text())
    return {name: [Path(part["path"]).name for part in parts] for name, parts in told["tables"].items()}


@pytest.mark.ray
@pytest.mark.usefixtures("measured")
def test_a_corpus_is_scanned_published_reused_and_extended(corpus, tmp_path):
    root = tmp_path / "root"
    outcome = scan(spec(corpus, root), SilentWatcher())
    assert (outcome.images, outcome.rejects, outcome.exit_code) == (IMAGES, 4, 0)
    rejects = pq.read_table(root / "tables" / "rejects").to_pylist()
    assert {row["image_id"]: row["reason"] for row in rejects} == {
        "cut.png": "damaged", "empty.jpg": "empty", "huge.png": "too_many_pixels", "text.jpg": "not_an_image"
    }  # fmt: skip
    patches = pq.read_table(root / "tables" / "patches").to_pylist()
    assert len(patches) == (40 + 160) * 3
    assert all((row["projection"] is None) == (row["score"] <= 0) for row in patches)

    manifest = read_manifest(Root(str(root)), "first")
    results = size(root / "shards")
    written = sum(part.bytes for parts in manifest.tables.values() for part in parts)
    planned = dry_run(spec(corpus, tmp_path / "empty"))
    assert planned.estimated_table_bytes == pytest.approx(written, rel=0.25) and not planned.not_measured
    assert planned.estimated_bytes == pytest.approx(written + results, rel=0.25) and not planned.warning
    assert planned.estimated_seconds is not None and 1 < planned.estimated_seconds < 300
    assert not (tmp_path / "empty").exists()
    done = dry_run(spec(corpus, root, run="planned"))
    assert (done.shards_done, done.estimated_bytes) == (done.shards, done.estimated_table_bytes)
    same = dry_run(spec(corpus, root))
    new = dry_run(spec(corpus, root, run="planned", project={"method": "gradient"}))
    assert (same.estimated_bytes, same.estimated_seconds, same.not_measured) == (0, 0.0, "the run is already published")
    assert new.shards_done == new.shards and new.estimated_bytes > 1.6 * new.estimated_table_bytes
    assert done.estimated_seconds is not None and new.estimated_seconds is not None
    assert done.estimated_seconds > 0
    with pytest.raises(RunError, match="a different spec"):
        dry_run(spec(corpus, root, scan={"k": 4}))

    again = scan(spec(corpus, root), SilentWatcher())
    assert again.already_published and again.shards_run == 0

    with pytest.raises(RunError, match=r"a different spec \(scan.k was 3 and is now 4\); choose another --run"):
        scan(spec(corpus, root, scan={"k": 4}), SilentWatcher())

    other = scan(spec(corpus, root, run="second", resources={"actors": 1}), SilentWatcher())
    assert (other.shards_run, other.groups_run) == (0, 0)
    assert tables(root, "second") == tables(root)


def test_a_plan_for_a_gpu_that_is_elsewhere_has_sizes_and_no_time(corpus, tmp_path, monkeypatch):
    asked: list[Job[RunSpec]] = []

    def measure(job: Job[RunSpec], _: object) -> Measurement:
        asked.append(job)
        return Measurement({1: 1e6}, 0.0, Cost(1.0))

    monkeypatch.setattr(cluster, "resolve_device", lambda _: "cuda")
    monkeypatch.setattr(cluster, "initial_actors", lambda *_: 3)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("jobs.dry_run.measure", measure)
    planned = dry_run(spec(corpus, tmp_path / "root", resources={"device": "cuda", "precision": "float16"}))
    assert (planned.device, planned.actors, planned.estimated_seconds) == ("cuda", 3, None)
    assert (
        planned.not_measured == "the time: this machine has no GPU that torch can use" and planned.estimated_bytes > 0
    )
    resources = asked[0].spec.resources
    assert (resources.device, resources.precision) == ("cpu", "float32")


def test_a_plan_for_the_cpu_is_measured_on_it_though_there_is_a_gpu(corpus, tmp_path, monkeypatch):
    asked: list[Job[RunSpec]] = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("jobs.dry_run.measure", lambda job, _: asked.append(job) or "not here")
    dry_run(spec(corpus, tmp_path / "root"))
    assert asked[0].spec.resources.device == "cpu"


def test_files_that_scans_leave_out_are_not_measured(corpus, tmp_path, monkeypatch):
    asked: list[list[Row]] = []
    monkeypatch.setattr("jobs.dry_run.measure", lambda _, rows: asked.append(rows) or "not here")
    root = Root(str(tmp_path / "root"))
    dry_run(spec(corpus, tmp_path / "root"))
    crashing = asked[0][5]
    isolate.write_verdict(root, crashing, isolate.Verdict(Reason.DECODER_CRASH, "signal 11"))
    assert dry_run(spec(corpus, tmp_path / "root")).not_measured == "not here"
    assert asked[1] == [row for row in asked[0] if row != crashing]


@pytest.mark.slow
@pytest.mark.ray
def test_the_tables_do_not_depend_on_the_number_of_actors(corpus, tmp_path):
    for actors in (1, 2):
        scan(spec(corpus, tmp_path / str(actors), resources={"actors": actors}), SilentWatcher())
    assert tables(tmp_path / "1") == tables(tmp_path / "2")


@pytest.mark.slow
@pytest.mark.usefixtures("without_ray")
def test_top_does_not_depend_on_the_shard_size(corpus, tmp_path):
    for shard in (8, 64):
        scan(spec(corpus, tmp_path / str(shard), scan={"shard": shard}), SilentWatcher())
    assert tables(tmp_path / "8")["top"] == tables(tmp_path / "64")["top"]
