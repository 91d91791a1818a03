"""Labels and groups from CSV files, and the words of labels."""

from pathlib import Path
from typing import Any

import fsspec
import pytest

from service.control import uploads
from service.http.places import Allowed
from workers.corpus import labels, manifest
from workers.errors import CorpusError, RefusedError
from workers.spec.parts import CorpusSpec
from workers.spec.scan import make_spec
from workers.spec.toml import read_toml
from workers.store.root import Root


@pytest.fixture
def photos(tmp_path) -> Path:
    for name in ("n01/a.jpg", "n02/b.jpg", "n02/c,d.jpg"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(b"x")
    return tmp_path


def rows(photos: Path, **keys: Any) -> dict[str, tuple[str | None, str | None]]:
    root = Root(str(photos / "root"))
    with manifest.list_corpus(CorpusSpec(source=str(photos / "photos"), **keys), lambda _: None) as listing:
        rel = listing.commit(root)
    return {row.image_id: (row.label, row.group) for row in manifest.rows(root, rel, 0, manifest.count(root, rel))}


def csv(photos: Path, text: str, name: str = "labels.csv") -> str:
    (photos / name).write_text(text)
    return str(photos / name)


def test_labels_and_groups_come_from_files(photos):
    given = csv(photos, 'image_id,label,more\nn01/a.jpg,cat,1\n"n02/c,d.jpg",,2\nelsewhere.jpg,cow,3\n')
    groups = csv(photos, "group,image_id\nfilm,n02/b.jpg\n", "groups.csv")
    assert rows(photos, label=given) == {
        "n01/a.jpg": ("cat", None),
        "n02/b.jpg": (None, None),
        "n02/c,d.jpg": (None, None),
    }
    assert rows(photos, group=groups)["n02/b.jpg"] == ("n02", "film")
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/names/labels.csv", b"image_id,label\nn02/b.jpg,dog\n")
    assert rows(photos, label="memory://names/labels.csv")["n02/b.jpg"] == ("dog", None)


def test_a_changed_file_is_another_listing(photos):
    given = csv(photos, "image_id,label\nn01/a.jpg,cat\n")
    assert rows(photos, label=given)["n01/a.jpg"] == ("cat", None)
    csv(photos, "image_id,label\nn01/a.jpg,tiger\n")
    assert rows(photos, label=given)["n01/a.jpg"] == ("tiger", None)


def test_labels_are_shown_with_their_words(photos):
    names = csv(photos, "n01 golden retriever\nn02\tcrane\n\nn03 crane\n", "names.txt")
    assert labels.read_names(names) == {"n01": "golden retriever", "n02": "crane (n02)", "n03": "crane (n03)"}
    assert rows(photos, label_names=names)["n01/a.jpg"] == ("golden retriever", None)
    given = csv(photos, "image_id,label\nn01/a.jpg,n02\nn02/b.jpg,other\n")
    found = rows(photos, label=given, label_names=names)
    assert (found["n01/a.jpg"], found["n02/b.jpg"]) == (("crane (n02)", None), ("other", None))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "image_id,class\nn01/a.jpg,1\n",
            r"needs the columns image_id and label, but has image_id, class$",
        ),
        ("image_id,label\nn01/a.jpg,1\nn01/a.jpg,2\n", r"names image 'n01/a.jpg' more than once"),
        (
            "image_id,label\na.jpg,1\n",
            r"names no image of the corpus; its first id is 'a.jpg', whereas the corpus has ids such as 'n0",
        ),
        ("image_id,label\n", r"has no rows$"),
        ("", r"is empty; its first line must be image_id,label$"),
        ("image_id;label\nn01/a.jpg;1\n", r"but has image_id;label; columns are separated by commas$"),
        ("image_id,label\nn01/a.jpg\n", r"line 2 of .* has fewer fields than the first line$"),
        ("image_id,label\n,1\n", r"row 1 of .* has no image_id"),
        ('image_id,label\n"n01/a.jpg,1\n', r"line \d of .* cannot be read"),
    ],
)
def test_what_is_no_file_of_labels_is_one_line(photos, text, message):
    with pytest.raises(CorpusError, match=message) as caught:
        rows(photos, label=csv(photos, text))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(photos):
    with pytest.raises(CorpusError, match=r"nowhere.csv' cannot be read: "):
        rows(photos, label=str(photos / "nowhere.csv"))
    with pytest.raises(
        CorpusError, match=r"is not a label-names file: line 1 is 'n01'; each line holds a label and a readable name"
    ):
        rows(photos, label_names=csv(photos, "n01\n", "names.txt"))


def test_files_of_labels_are_places_that_are_made_absolute_allowed_and_uploaded(photos):
    given = csv(photos, "image_id,label\nn01/a.jpg,cat\n")
    text = '[corpus]\nsource = "photos"\nlabel = "labels.csv"\ngroup = "(.*)[.]csv"\nlabel_names = "names.txt"\nwithin = "a"\n'
    assert read_toml(text, Path("/specs"))["corpus"] == {
        "source": "/specs/photos", "label": "/specs/labels.csv", "group": "(.*)[.]csv", "label_names": "/specs/names.txt",
        "within": "/specs/a",
    }  # fmt: skip
    corpus = {"source": "s3://bucket/photos", "label": given}
    spec = make_spec({"root": "memory://root", "model": {"source": "deconvoy://zfnet-mini"}, "corpus": corpus})
    with pytest.raises(RefusedError, match=r"^labels '.*labels.csv' is refused"):
        Allowed(("s3://bucket",)).check_spec(spec)
    Allowed(("s3://bucket", str(photos))).check_spec(spec)
    changed = uploads.upload(
        {"root": "memory://root", "corpus": {**corpus, "group": "folder"}}, "http://head.example:8265"
    )["corpus"]
    assert changed["label"].startswith("memory:///root/uploads/") and changed["label"].endswith("/labels.csv")
    assert (changed["source"], changed["group"]) == ("s3://bucket/photos", "folder")
    assert fsspec.open(changed["label"]).open().read() == Path(given).read_bytes()


def test_the_labels_of_tiny_imagenet_and_the_groups_of_ucf101(tmp_path):
    for name in ("train/n01443537/images/n01443537_0.JPEG", "train/n01629819/images/n01629819_7.JPEG"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True)
        (tmp_path / "photos" / name).write_bytes(b"x")
    names = csv(tmp_path, "n01443537 goldfish\nn01629819 European fire salamander\n", "words.txt")
    found = rows(tmp_path, label="folder:2", label_names=names)
    assert [label for label, _ in found.values()] == ["goldfish", "European fire salamander"]
    frames = tmp_path / "frames" / "photos"
    for video in ("v_ApplyEyeMakeup_g01_c02", "v_ApplyEyeMakeup_g01_c03", "v_YoYo_g25_c01"):
        (frames / video).mkdir(parents=True)
        (frames / video / "frame0001.jpg").write_bytes(b"x")
    found = rows(frames.parent, label=r"v_(\w+?)_g\d+", group=r"(v_\w+?_g\d+)_c\d+")
    assert list(found.values()) == [("ApplyEyeMakeup", "v_ApplyEyeMakeup_g01")] * 2 + [("YoYo", "v_YoYo_g25")]


def test_the_dialect_does_not_depend_on_the_first_rows(photos):
    many = "".join(f"other{number},x\n" for number in range(30_000))
    given = csv(photos, f'image_id,label\n{many}n01/a.jpg,"late, x"\n"n02/b.jpg",\'cat\'\n')
    found = rows(photos, label=given)
    assert (found["n01/a.jpg"], found["n02/b.jpg"]) == (("late, x", None), ("'cat'", None))


def test_a_part_of_the_corpus_may_have_no_label(photos):
    given = csv(photos, "image_id,label\nn02/b.jpg,dog\n")
    assert rows(photos, label=given, limit=1) == {"n01/a.jpg": (None, None)}


def test_extensions_in_any_order_are_the_same_corpus():
    one, other = (CorpusSpec(source="/p", extensions=given) for given in ((".jpg", "PNG"), ("png", "jpg")))
    assert one == other and manifest._corpus_hash(one) == manifest._corpus_hash(other)
