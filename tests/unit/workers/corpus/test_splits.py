"""Splits: only the images of one are listed, and the others are counted."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from service.http.places import Allowed
from workers.corpus import manifest
from workers.errors import CorpusError, RefusedError
from workers.sources.source import PassedOver
from workers.spec.parts import CorpusSpec
from workers.spec.scan import make_spec
from workers.store.root import Root

NAMES = ("test/cat/d.jpg", "train/cat/a.jpg", "train/dog/b.jpg", "val/cat/c.jpg")


@pytest.fixture
def photos(tmp_path) -> Path:
    for name in NAMES:
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(b"x")
    return tmp_path


def listed(folder: Path, source: str = "photos", **keys: Any) -> tuple[list[str], int]:
    """The ids that are listed, and how many images of another split, or of none, were counted."""
    root = Root(str(folder / "root"))
    with manifest.list_corpus(CorpusSpec(source=str(folder / source), **keys), lambda _: None) as listing:
        rel = listing.commit(root)
        passed_over = sum(listing.passed_over.get(reason, 0) for reason in (PassedOver.SPLIT, PassedOver.NO_SPLIT))
    return [row.image_id for row in manifest.rows(root, rel, 0, manifest.count(root, rel))], passed_over


@pytest.mark.parametrize("splits", ["folder:2", r"^(\w+)/"])
def test_folders_and_expressions_name_the_splits_of_files(photos, splits):
    assert listed(photos, split="train", splits=splits) == (["train/cat/a.jpg", "train/dog/b.jpg"], 2)
    assert listed(photos, split="val", splits=splits) == (["val/cat/c.jpg"], 3)


def test_a_csv_file_names_them(photos):
    (photos / "splits.csv").write_text(
        "image_id,split\nval/cat/c.jpg,train\ntest/cat/d.jpg,train\ntrain/cat/a.jpg,val\n"
    )
    assert listed(photos, split="train", splits=str(photos / "splits.csv")) == (["test/cat/d.jpg", "val/cat/c.jpg"], 2)
    (photos / "splits.csv").write_text("image_id,label\nval/cat/c.jpg,train\n")
    with pytest.raises(
        CorpusError, match=r"split file .*splits.csv' needs the columns image_id and split, but has image_id, label"
    ):
        listed(photos, split="train", splits=str(photos / "splits.csv"))


def test_lists_and_parquet_have_a_column(photos):
    (photos / "list.csv").write_text(
        "path,split,fold\n" + "".join(f"photos/{name},{name[:2]},{name[0]}\n" for name in NAMES)
    )
    assert listed(photos, "list.csv", split="tr") == (["photos/train/cat/a.jpg", "photos/train/dog/b.jpg"], 2)
    assert listed(photos, "list.csv", split="t", splits="column:fold")[1] == 1
    rows = {"image": [b"x", b"y", b"z"], "split": ["train", None, "test"]}
    pq.write_table(pa.table(rows), photos / "images.parquet")
    assert listed(photos, "images.parquet", split="test") == (["000000002"], 2)
    with pytest.raises(CorpusError, match="no column 'split'"):
        pq.write_table(pa.table({"image": [b"x"]}), photos / "images.parquet")
        listed(photos, "images.parquet", split="test")


def test_limits_and_samples_are_of_the_split(photos):
    assert listed(photos, split="train", splits="folder:2", limit=1)[0] == ["train/cat/a.jpg"]
    assert listed(photos, split="train", splits="folder:2", sample=2) == (["train/cat/a.jpg", "train/dog/b.jpg"], 2)


def test_labels_from_a_file_may_name_images_of_other_splits_only(photos):
    (photos / "labels.csv").write_text("image_id,label\nval/cat/c.jpg,cat\n")
    keys = {"split": "train", "splits": "folder:2", "label": str(photos / "labels.csv")}
    assert listed(photos, **keys)[0] == ["train/cat/a.jpg", "train/dog/b.jpg"]


def test_a_split_that_no_image_has_is_one_line(photos):
    message = r"no image is in split 'training'; nearest: train; the splits are train \(2\), test \(1\), val \(1\)$"
    with pytest.raises(CorpusError, match=message):
        listed(photos, split="training", splits="folder:2")
    with pytest.raises(CorpusError, match=r"--splits 'folder:7' gives no image a split \(first image id: "):
        listed(photos, split="train", splits="folder:7")
    with pytest.raises(CorpusError, match="neither a list nor Parquet; name the source of the splits"):
        listed(photos, split="train")


def test_images_without_a_split_are_counted_apart_and_blanks_around_a_split_do_not_count(photos):
    (photos / "splits.csv").write_text("image_id,split\nval/cat/c.jpg,  test \ntest/cat/d.jpg,train\n")
    corpus = CorpusSpec(source=str(photos / "photos"), split="test", splits=str(photos / "splits.csv"))
    with manifest.list_corpus(corpus, lambda _: None) as listing:
        assert (listing.images, listing.passed_over) == (1, {"of another split": 1, "without a split": 2})


def test_the_spec_refuses_a_source_of_splits_without_a_split_and_allows_its_file(photos):
    with pytest.raises(ValidationError, match="--splits needs --split NAME"):
        CorpusSpec(source="/photos", splits="folder")
    with pytest.raises(ValidationError, match="split 'folder:x' is neither folder nor folder:N"):
        CorpusSpec(source="/photos", split="train", splits="folder:x")
    corpus = {"source": "s3://bucket/photos", "split": "train", "splits": str(photos / "splits.csv")}
    spec = make_spec({"root": "memory://root", "model": {"source": "deconvoy://zfnet-mini"}, "corpus": corpus})
    with pytest.raises(RefusedError, match=r"^labels '.*splits.csv' is refused"):
        Allowed(("s3://bucket",)).check_spec(spec)


def test_a_corpus_without_a_split_keeps_its_identity():
    assert not {"split", "splits"} & {*CorpusSpec(source="/photos").model_dump(mode="json")}
