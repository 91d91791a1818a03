"""The scan end to end on local Ray, with the network that the package ships."""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.dry_run import dry_run
from jobs.run.publish import read_manifest
from jobs.scan import scan
from jobs.watch import SilentWatcher
from tests.support import corpora
from workers.errors import RunError
from workers.spec.scan import make_spec
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
    assert planned.estimated_seconds is not None and 10 < planned.estimated_seconds < 100
    assert not (tmp_path / "empty").exists()
    done = dry_run(spec(corpus, root, run="planned"))
    assert (done.shards_done, done.estimated_bytes) == (done.shards, done.estimated_table_bytes)
    with pytest.raises(RunError, match="a different spec"):
        dry_run(spec(corpus, root, scan={"k": 4}))

    again = scan(spec(corpus, root), SilentWatcher())
    assert again.already_published and again.shards_run == 0

    with pytest.raises(RunError, match="a different spec"):
        scan(spec(corpus, root, scan={"k": 4}), SilentWatcher())

    other = scan(spec(corpus, root, run="second", resources={"actors": 1}), SilentWatcher())
    assert (other.shards_run, other.groups_run) == (0, 0)
    assert tables(root, "second") == tables(root)


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
