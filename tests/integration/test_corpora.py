"""The same images in every form of a corpus give the same tables, but for uris."""

import csv
import gzip
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.scan import scan
from jobs.watch import SilentWatcher
from tests.integration.test_scan import spec, tables
from tests.support import corpora, videos

pytestmark = pytest.mark.usefixtures("without_ray")

TABLES = ("top", "patches", "units", "images", "previews")
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def names(photos: Path) -> list[str]:
    return sorted(str(path.relative_to(photos)) for path in photos.rglob("*.png"))


def links(photos: Path) -> str:
    """A glob of links."""
    for name in names(photos):
        link = photos.parent / "links" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(photos / name)
    return f"{photos.parent}/links/**/*.{{png,jpg}}"


def tar(photos: Path) -> str:
    with tarfile.open(photos.parent / "photos.tar", "w") as archive:
        for name in reversed(names(photos)):
            archive.add(photos / name, name)
    return f"{photos.parent}/photos.tar"


def tar_gz(photos: Path) -> str:
    tar(photos)
    (photos.parent / "photos.tar.gz").write_bytes(gzip.compress((photos.parent / "photos.tar").read_bytes()))
    return f"{photos.parent}/photos.tar.gz"


def archive(photos: Path) -> str:
    with zipfile.ZipFile(photos.parent / "photos.zip", "w", zipfile.ZIP_DEFLATED) as members:
        for name in names(photos):
            members.write(photos / name, name)
    return f"{photos.parent}/photos.zip"


def parquet(photos: Path) -> str:
    images = [{"bytes": (photos / name).read_bytes(), "path": name} for name in names(photos)]
    pq.write_table(pa.table({"image": pa.array(images, IMAGE)}), photos.parent / "photos.parquet", row_group_size=7)
    return f"{photos.parent}/photos.parquet"


def dataset(photos: Path) -> str:
    """A folder such as that of a dataset of Hugging Face."""
    table = pq.read_table(parquet(photos))
    folder = photos.parent / "dataset" / "data"
    folder.mkdir(parents=True)
    half = len(table) // 2
    for number, part in enumerate((table.slice(0, half), table.slice(half))):
        pq.write_table(part, folder / f"train-{number:05d}-of-00002.parquet")
    return str(folder.parent)


def listed(photos: Path) -> str:
    with (photos / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path"], *([name] for name in reversed(names(photos)))])
    return f"{photos}/list.csv"


BY_PATH = {"id_column": "image.path"}
FORMS: dict[Callable[[Path], str], dict[str, str]] = {
    links: {}, tar: {}, tar_gz: {}, archive: {}, parquet: BY_PATH, dataset: BY_PATH, listed: {}
}  # fmt: skip


def rows(root: Path, table: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "uri"} for row in read(root, table)]


def read(root: Path, table: str) -> list[dict[str, Any]]:
    return pq.read_table(root / "tables" / table).to_pylist()


def scan_corpus(source: str, root: Path, **keys: Any):
    plain = spec(Path(source), root, resources={"actors": 1})
    corpus = plain.corpus.model_copy(update=keys)
    return scan(plain.model_copy(update={"corpus": corpus}), SilentWatcher())


def compare(photos: Path, forms: list[Callable[[Path], str]]) -> None:
    count = len(names(photos))
    scan_corpus(str(photos), photos.parent / "root")
    for form in forms:
        root = photos.parent / f"root-{form.__name__}"
        outcome = scan_corpus(form(photos), root, **FORMS[form])
        assert (outcome.images, outcome.rejects) == (count, 0)
        for table in TABLES:
            expected = rows(photos.parent / "root", table)
            assert expected and rows(root, table) == expected, (form.__name__, table)


def test_an_archive_parquet_and_a_list_give_the_tables_of_the_folder(tmp_path):
    corpora.photos(tmp_path / "photos", range(24))
    compare(tmp_path / "photos", [archive, parquet, listed])


@pytest.mark.slow
def test_the_same_200_images_in_every_form_give_the_same_tables(tmp_path):
    corpora.photos(tmp_path / "photos", range(200))
    compare(tmp_path / "photos", list(FORMS))


def test_a_lost_result_of_an_archive_is_made_again_from_its_place(tmp_path):
    corpora.photos(tmp_path / "photos", range(24))
    source, root = tar(tmp_path / "photos"), tmp_path / "root"
    scan_corpus(source, root)
    assert {row["uri"].partition("::")[2].partition("#")[0] for row in read(root, "images")} == {source}
    before = tables(root)
    shutil.rmtree(root / "runs")
    [lost, *_] = sorted((root / "shards").rglob("*.parquet"))
    lost.unlink()
    outcome = scan_corpus(source, root)
    assert outcome.shards_run + outcome.groups_run == 1
    assert {**tables(root), "runs": []} == {**before, "runs": []}


def test_frames_of_videos_give_the_tables_of_the_same_pictures_in_files(tmp_path):
    for name in ("cats/a.mp4", "dogs/b.mp4"):
        place = videos.write(tmp_path / "clips" / name, "libx264", videos.moving(40, 96, 96), bf="2")
        for number, frame in enumerate(videos.read(place)):
            if number % 5 == 0:
                picture = tmp_path / "photos" / name / f"{number:06d}.png"
                picture.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(frame).save(picture)
    outcome = scan_corpus(str(tmp_path / "clips"), tmp_path / "root-clips", every=5)
    assert (outcome.images, outcome.rejects) == (16, 0)
    scan_corpus(str(tmp_path / "photos"), tmp_path / "root-photos", label="folder:2", group=r"^(.*)/")
    for table in ("top", "patches", "units"):
        expected = [row | {"image_id": row["image_id"].removesuffix(".png")} if "image_id" in row else row
                    for row in rows(tmp_path / "root-photos", table)]  # fmt: skip
        assert expected and rows(tmp_path / "root-clips", table) == expected, table
    groups = [(row["label"], row["group"]) for row in rows(tmp_path / "root-clips", "images")]
    assert groups == [("cats", "cats/a.mp4")] * 8 + [("dogs", "dogs/b.mp4")] * 8
