"""What a run reports about the labels and groups of its corpus, and about images of which none can be used."""

from pathlib import Path

import pytest

from jobs.run.listing import describe_labels, require_groups
from jobs.scan import scan
from jobs.watch import SilentWatcher
from tests.support import corpora
from tests.support.in_process import jobs_run_here
from workers.corpus import manifest
from workers.errors import RunStopped, SpecError
from workers.spec.parts import CorpusSpec
from workers.spec.scan import make_spec


@pytest.fixture
def photos(tmp_path) -> Path:
    corpora.photos(tmp_path / "photos", range(4))
    corpora.broken(tmp_path / "photos")
    return tmp_path / "photos"


def described(photos: Path, **keys: str) -> str:
    corpus = CorpusSpec(source=str(photos), **keys)
    with manifest.list_corpus(corpus, lambda _: None) as listing:
        return describe_labels(corpus, listing)


def test_labels_are_counted_and_a_source_that_gives_none_is_named(photos, tmp_path):
    assert described(photos) == "3 labels; 4 of 5 images have one"
    assert described(photos, label="folder:7") == "no image has a label; --label is 'folder:7'"
    names = tmp_path / "names.txt"
    names.write_text("n01 a cat\n")
    assert (
        described(photos, label_names=str(names))
        == f"3 labels; 4 of 5 images have one; {names} has no readable name for any of these labels"
    )
    names.write_text("class0 a cat\n")
    assert described(photos, label_names=str(names)) == "3 labels; 4 of 5 images have one"


def test_distinct_groups_need_an_image_with_a_group(photos):
    for group, is_known in (("none", False), ("folder", True), ("folder:9", False)):
        values = {"corpus": {"source": str(photos), "group": group}, "scan": {"distinct": "group"}}
        spec = make_spec({**values, "root": "r", "model": {"source": "deconvoy://zfnet-mini"}})
        with manifest.list_corpus(spec.corpus, lambda _: None) as listing:
            if is_known:
                require_groups(spec, listing)
            else:
                with pytest.raises(SpecError, match=f"--distinct group: no image has a group, as --group is '{group}'"):
                    require_groups(spec, listing)


def test_a_run_of_which_no_image_can_be_used_names_the_first_and_why(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in "abcde":
        (folder / f"{name}.jpg").write_bytes(b"x" if name == "e" else b"")
    values = {
        "corpus": {"source": str(folder)},
        "scan": {"layers": ["relu1"]},
        "resources": {"actors": 1, "device": "cpu"},
    }
    spec = make_spec({**values, "root": str(tmp_path / "root"), "model": {"source": "deconvoy://zfnet-mini"}})
    with jobs_run_here(), pytest.raises(RunStopped) as caught:
        scan(spec, SilentWatcher())
    line = r"none of the 5 images could be used \(4 empty, 1 not_an_image\); for example, a.jpg: empty: .*; b.jpg: .*; c.jpg: "
    assert caught.match(line) and "d.jpg" not in str(caught.value) and "\n" not in str(caught.value)
