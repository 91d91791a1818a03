"""The same images as a folder and as archives give the same tables, but for uris."""

import gzip
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.scan import scan
from jobs.watch import SilentWatcher
from tests.integration.test_scan import spec, tables
from tests.support import corpora

IMAGES = 24


@pytest.fixture
def photos(tmp_path) -> Path:
    """Photos in folders, in an archive and in a compressed one."""
    corpora.photos(tmp_path / "photos", range(IMAGES))
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        for path in sorted((tmp_path / "photos").rglob("*.png")):
            archive.add(path, path.relative_to(tmp_path / "photos"))
    (tmp_path / "photos.tar.gz").write_bytes(gzip.compress((tmp_path / "photos.tar").read_bytes()))
    return tmp_path


def rows(root: Path, table: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "uri"} for row in read(root, table)]


def read(root: Path, table: str) -> list[dict[str, Any]]:
    return pq.read_table(root / "tables" / table).to_pylist()


@pytest.mark.ray
@pytest.mark.usefixtures("two_cpus")
def test_archives_give_the_tables_of_the_folder_and_a_lost_shard_is_read_by_its_place(photos):
    for name in ("photos", "photos.tar", "photos.tar.gz"):
        outcome = scan(spec(photos / name, photos / f"root-{name}"), SilentWatcher())
        assert (outcome.images, outcome.rejects) == (IMAGES, 0)
    for table in ("top", "patches", "units", "images", "previews"):
        expected = rows(photos / "root-photos", table)
        assert expected and rows(photos / "root-photos.tar", table) == expected
        assert rows(photos / "root-photos.tar.gz", table) == expected
    assert {row["uri"].partition("::")[2].partition("#")[0] for row in read(photos / "root-photos.tar", "images")} == {
        str(photos / "photos.tar")
    }
    root = photos / "root-photos.tar"
    before = tables(root)
    shutil.rmtree(root / "runs")
    [lost, *_] = sorted((root / "shards").rglob("*.parquet"))
    lost.unlink()
    outcome = scan(spec(photos / "photos.tar", root), SilentWatcher())
    assert outcome.shards_run == 1 and {**tables(root), "runs": []} == {**before, "runs": []}
