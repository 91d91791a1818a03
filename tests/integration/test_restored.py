"""A published run that has lost files: the same command puts them back byte for byte, from shard results or anew."""

import random
import shutil
from pathlib import Path

import pytest

from jobs.filters import filters
from jobs.scan import scan
from jobs.watch import SilentWatcher
from tests.support import corpora
from workers.spec.filters import FiltersRun
from workers.spec.make import make
from workers.spec.scan import make_spec
from workers.store import verify
from workers.store.root import Root

pytestmark = pytest.mark.usefixtures("without_ray")


def files(root: Path) -> dict[str, bytes]:
    """What a published run consists of."""
    below = [root / name for name in ("tables", "runs", "corpora", "models")]
    return {str(path): path.read_bytes() for folder in below for path in sorted(folder.rglob("*")) if path.is_file()}


def findings(root: Path, run: str) -> list[verify.FileProblem]:
    return list(verify.verify(Root(str(root)), run))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[random.Random(0).randrange(len(data))] ^= 1
    path.write_bytes(data)


def test_a_scan_is_restored_by_the_same_command(tmp_path):
    corpora.photos(tmp_path / "photos", range(24))
    root = tmp_path / "root"
    spec = make_spec(
        {
            "run": "first",
            "root": str(root),
            "model": {"source": "deconvoy://zfnet-mini"},
            "corpus": {"source": str(tmp_path / "photos"), "label": "none"},
            "scan": {"layers": ["relu1"], "batch": 8, "shard": 8, "k": 2},
            "resources": {"actors": 1, "device": "cpu"},
        }
    )
    assert not scan(spec, SilentWatcher()).already_published
    before = files(root)
    assert scan(spec, SilentWatcher()).already_published and not findings(root, "first")

    shutil.rmtree(root / "tables" / "patches")
    again = scan(spec, SilentWatcher())
    assert not again.already_published and (again.shards_run, again.groups_run) == (0, 0)
    assert files(root) == before

    for table in ("units", "top", "images"):
        flip(next((root / "tables" / table / "run=first").iterdir()))
    for path in (root / "shards").rglob("*.parquet"):
        path.unlink()
    flip(next((root / "models").iterdir()))
    (root / "runs" / "first" / "spec.json").write_bytes(b"")
    assert {each.path.split("/")[1] for each in findings(root, "first") if each.path.startswith("tables")} == {
        "units", "top", "images"
    }  # fmt: skip
    again = scan(spec, SilentWatcher())
    assert again.shards_run == 3 and again.groups_run > 0
    assert files(root) == before and not findings(root, "first")


def test_filters_are_restored_by_the_same_command(tmp_path):
    spec = make(FiltersRun, {"run": "kernels", "root": str(tmp_path), "models": [{"source": "deconvoy://zfnet-mini"}]})
    filters(spec, SilentWatcher())
    before = files(tmp_path)
    flip(next((tmp_path / "tables" / "filters" / "run=kernels").iterdir()))
    shutil.rmtree(tmp_path / "tables" / "runs")
    assert len([each for each in findings(tmp_path, "kernels") if each.damage]) == 2
    assert not filters(spec, SilentWatcher()).already_published
    assert files(tmp_path) == before and filters(spec, SilentWatcher()).already_published
