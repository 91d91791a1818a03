"""A corpus of any source grows, changes and shrinks: only touched shards run, and the tables are those of a scan from nothing."""

import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.run.outcome import Outcome
from jobs.scan import scan
from jobs.watch import SilentWatcher
from tests.integration.test_scan import spec, tables
from tests.support import videos

pytestmark = pytest.mark.usefixtures("without_ray")

SHARD = 4
SIDE = 64
Images = dict[str, bytes]


def photo(number: int) -> bytes:
    """A PNG of stripes and noise; another number gives other pixels."""
    random = np.random.default_rng(number)
    stripes = (np.arange(SIDE)[None, :, None] * (number + 1) // 7 % 2 * 200).repeat(SIDE, 0)
    out = io.BytesIO()
    Image.fromarray(np.clip(stripes + random.integers(0, 56, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)).save(
        out, "png"
    )
    return out.getvalue()


def in_list(folder: Path, images: Images) -> str:
    for name, data in images.items():
        path = folder / name
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)
    (folder / "list.csv").write_text("path\n" + "\n".join(images) + "\n")
    return str(folder / "list.csv")


def in_folder(folder: Path, images: Images) -> str:
    in_list(folder, images)
    for path in folder.glob("*.png"):
        if path.name not in images:
            path.unlink()
    return str(folder)


def in_glob(folder: Path, images: Images) -> str:
    return in_folder(folder, images) + "/[0-9]*.png"


def _by_file(folder: Path, images: Images, suffix: str, write: Callable[[Path, Images], None]) -> None:
    """Files of SHARD images each, by the number in their names; a file is written only if its images have changed."""
    groups: dict[int, Images] = {}
    for name, data in images.items():
        groups.setdefault(int(name[:2]) // SHARD, {})[name] = data
    for number, group in groups.items():
        path, mark = folder / f"{number:02d}{suffix}", folder / f"{number:02d}.mark"
        if not mark.exists() or mark.read_text() != repr(group):
            write(path, group)
            mark.write_text(repr(group))


def in_tars(folder: Path, images: Images) -> str:
    def write(path: Path, group: Images) -> None:
        with tarfile.open(path, "w") as archive:
            for name, data in group.items():
                (folder / "member").write_bytes(data)
                archive.add(folder / "member", name)

    _by_file(folder, images, ".tar", write)
    return f"{folder}/*.tar"


def in_zips(folder: Path, images: Images) -> str:
    def write(path: Path, group: Images) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in group.items():
                archive.writestr(name, data)

    _by_file(folder, images, ".zip", write)
    return f"{folder}/*.zip"


def _write_table(path: Path, group: Images) -> None:
    rows = [{"bytes": data, "path": name} for name, data in group.items()]
    pq.write_table(pa.table({"image": rows, "name": list(group)}), path)


def in_tables(folder: Path, images: Images) -> str:
    _by_file(folder, images, ".parquet", _write_table)
    return f"{folder}/*.parquet"


def in_dataset(folder: Path, images: Images) -> str:
    """The folder of a dataset of Hugging Face."""
    (folder / "data").mkdir(exist_ok=True)
    (folder / "README.md").write_text("---\nlicense: cc0-1.0\n---\n")
    _by_file(folder / "data", images, "-of-many.parquet", _write_table)
    return str(folder)


def in_videos(folder: Path, images: Images) -> str:
    def write(path: Path, group: Images) -> None:
        videos.write(path, "libx264", [np.asarray(Image.open(io.BytesIO(data))) for data in group.values()])

    _by_file(folder, images, ".mp4", write)
    return str(folder)


KEYS: dict[Callable[[Path, Images], str], dict[str, Any]] = {
    in_folder: {}, in_glob: {}, in_list: {}, in_tars: {}, in_zips: {}, in_tables: {"id_column": "name"},
    in_dataset: {"id_column": "name"}, in_videos: {"every": 1},
}  # fmt: skip


@pytest.mark.parametrize("make", KEYS)
def test_only_touched_shards_run_and_the_tables_are_those_of_a_scan_from_nothing(make, tmp_path):
    folder, root, nothing = tmp_path / "corpus", tmp_path / "root", tmp_path / "nothing"
    folder.mkdir()
    images = {f"{number:02d}.png": photo(number) for number in range(3 * SHARD)}

    def scanned(run: str, root: Path) -> Outcome:
        small = {"layers": ["relu1"], "batch": SHARD, "shard": SHARD, "k": 2}
        plain = spec(Path(make(folder, images)), root, run=run, scan=small, resources={"actors": 1})
        return scan(plain.model_copy(update={"corpus": plain.corpus.model_copy(update=KEYS[make])}), SilentWatcher())

    assert scanned("first", root).shards_run == 3
    images |= {f"{number:02d}.png": photo(number) for number in range(3 * SHARD, 3 * SHARD + 2)}
    grown = scanned("grown", root)
    assert (grown.images, grown.shards_run, grown.shards_reused) == (3 * SHARD + 2, 1, 3)
    images["05.png"] = photo(99)
    changed = scanned("changed", root)
    assert (changed.images, changed.shards_run, changed.shards_reused) == (len(images), 1, 3)
    del images["11.png"]
    shrunk = scanned("shrunk", root)
    assert (shrunk.images, shrunk.shards_run, shrunk.shards_reused) == (len(images), 1, 3)
    shutil.copytree(root / "corpora", nothing / "corpora")
    assert scanned("shrunk", nothing).shards_run == 4
    assert {**tables(nothing, "shrunk"), "runs": []} == {**tables(root, "shrunk"), "runs": []}
    ids = set(pq.read_table(nothing / "tables" / "top", columns=["image_id"])["image_id"].to_pylist())
    assert len(ids) > SHARD
