"""A corpus of any source grows, shrinks and changes: rows keep their numbers, and only touched shards get new names."""

import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.run import plan
from workers.corpus import manifest
from workers.spec.parts import CorpusSpec
from workers.store.root import Root

SHARD = 4


def in_list(folder: Path, images: dict[str, bytes]) -> str:
    for name, data in images.items():
        path = folder / name
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)
    (folder / "list.csv").write_text("path\n" + "\n".join(images) + "\n")
    return str(folder / "list.csv")


def in_folder(folder: Path, images: dict[str, bytes]) -> str:
    in_list(folder, images)
    for path in folder.glob("*.jpg"):
        if path.name not in images:
            path.unlink()
    return str(folder)


def _by_file(
    folder: Path, images: dict[str, bytes], suffix: str, write: Callable[[Path, dict[str, bytes]], None]
) -> str:
    """Files of SHARD images each, by the number in their names; a file is written only if its images have changed."""
    groups: dict[int, dict[str, bytes]] = {}
    for name, data in images.items():
        groups.setdefault(int(name[:2]) // SHARD, {})[name] = data
    for number, group in groups.items():
        path, mark = folder / f"{number:02d}{suffix}", folder / f"{number:02d}.mark"
        if not mark.exists() or mark.read_text() != repr(group):
            write(path, group)
            mark.write_text(repr(group))
    return f"{folder}/*{suffix}"


def in_tars(folder: Path, images: dict[str, bytes]) -> str:
    def write(path: Path, group: dict[str, bytes]) -> None:
        with tarfile.open(path, "w") as archive:
            for name, data in group.items():
                (folder / "member").write_bytes(data)
                archive.add(folder / "member", name)

    return _by_file(folder, images, ".tar", write)


def in_zips(folder: Path, images: dict[str, bytes]) -> str:
    def write(path: Path, group: dict[str, bytes]) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in group.items():
                archive.writestr(name, data)

    return _by_file(folder, images, ".zip", write)


def in_tables(folder: Path, images: dict[str, bytes]) -> str:
    def write(path: Path, group: dict[str, bytes]) -> None:
        pq.write_table(pa.table({"image": list(group.values()), "name": list(group)}), path)

    return _by_file(folder, images, ".parquet", write)


@pytest.mark.parametrize("make", [in_folder, in_list, in_tars, in_zips, in_tables])
def test_only_the_shards_that_are_touched_get_new_names(make, tmp_path):
    root, folder = Root(str(tmp_path / "root")), tmp_path / "corpus"
    folder.mkdir()
    images = {f"{number:02d}.jpg": b"%d" % number for number in range(3 * SHARD)}

    def results() -> list[str]:
        key = {"id_column": "name"} if make is in_tables else {}
        with manifest.list_corpus(CorpusSpec(source=make(folder, images), **key), lambda _: None) as listing:
            planned = plan.plan(root, listing.commit(root), "0" * 32, SHARD)
        assert planned.images == len(images)
        return [shard.result for shard in planned.shards]

    first = results()
    assert results() == first and len(first) == 3
    images |= {f"{number:02d}.jpg": b"new" for number in range(3 * SHARD, 3 * SHARD + 2)}
    grown = results()
    assert grown[:3] == first and len(grown) == 4
    images["05.jpg"] = b"changed"
    changed = results()
    assert [one == other for one, other in zip(changed, grown, strict=True)] == [True, False, True, True]
    del images["09.jpg"]
    shrunk = results()
    assert [one == other for one, other in zip(shrunk, changed, strict=True)] == [True, True, False, True]
