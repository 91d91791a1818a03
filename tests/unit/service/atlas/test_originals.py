"""The corpus's own files: shown only if the operator allows it, and only as long as they are what was scanned."""

import hashlib

import pytest

from tests.support import corpora
from tests.support.asking import atlas_of
from tests.support.published import commit
from workers.store.root import Root


@pytest.fixture
def photos(tmp_path):
    corpora.photos(tmp_path / "photos", range(3))
    return sorted((tmp_path / "photos").rglob("*.png"))


@pytest.fixture
def root(tmp_path, photos) -> Root:
    root = Root(str(tmp_path / "root"))
    rows = [
        {
            "image_index": n, "image_id": path.name, "uri": str(path), "bytes": path.stat().st_size, "width": 90,
            "height": 80, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for n, path in enumerate(photos)
    ]  # fmt: skip
    commit(root, "covered", "occlude", {"images": rows, "rejects": [], "occlusions": []})
    return root


def test_an_original_is_the_file_itself_and_is_where_the_image_page_says(root, photos):
    client = atlas_of(root, originals=True)
    page = client.get("/runs/covered/image.json", params={"id": photos[1].name}).json()
    answer = client.get(page["preview"])
    assert answer.content == photos[1].read_bytes() and answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff" and "private" in answer.headers["cache-control"]


def test_without_leave_there_is_no_such_path(root, photos):
    client = atlas_of(root)
    assert client.get("/runs/covered/originals/1").status_code == 404
    assert client.get("/runs/covered/image.json", params={"id": photos[1].name}).json()["preview"] is None


def test_a_file_that_is_another_one_now_is_not_shown(root, photos):
    client = atlas_of(root, originals=True)
    data = photos[0].read_bytes()
    for other in (data[:-1], data[:-1] + b"x"):
        photos[0].write_bytes(other)
        answer = client.get("/runs/covered/originals/0", follow_redirects=False)
        assert answer.headers["location"].startswith("/runs/covered/previews/0?")
        answer = client.get("/runs/covered/originals/0")  # this run keeps no preview either
        assert answer.status_code == 404 and other not in answer.content
    photos[1].unlink()
    photos[1].symlink_to("/etc/hostname")
    assert client.get("/runs/covered/originals/1").status_code == 404
    assert client.get("/runs/covered/originals/7").status_code == 404
