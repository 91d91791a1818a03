"""The demo's corpus: what it is cut from, and that cutting it again changes nothing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs import demo
from workers.errors import ExtraError


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "corpus"
    demo.corpus(folder)
    return folder


def tiles(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_corpus_has_several_hundred_square_colour_tiles_of_every_photograph(folder):
    found = tiles(folder)
    assert 600 < len(found) < 1200
    assert {name.partition("/")[0] for name in found} == {
        Path(name).stem for names in demo.PHOTOS.values() for name in names
    }
    for name in found:
        with Image.open(folder / name) as tile:
            assert (tile.format, tile.mode, tile.size) == ("JPEG", "RGB", (demo.TILE_PX, demo.TILE_PX))


def test_there_are_more_photographs_than_a_channel_shows_so_that_each_can_count_once():
    assert sum(map(len, demo.PHOTOS.values())) > 9


def test_cutting_again_touches_no_tile_that_is_there_and_restores_one_that_is_not(folder):
    before = tiles(folder)
    gone = folder / "coffee" / min(name.partition("/")[2] for name in before if name.startswith("coffee/"))
    gone.unlink()
    assert demo.corpus(folder) == len(before)
    after = tiles(folder)
    name = gone.relative_to(folder).as_posix()
    assert after.pop(name)[1] == before.pop(name)[1]
    assert after == before


def test_the_tiles_of_a_scale_cover_the_photograph_from_edge_to_edge():
    ramp = np.tile(np.arange(400, dtype=np.uint16)[None, :] * 255 // 399, (400, 1)).astype(np.uint8)
    photo = Image.fromarray(ramp).convert("RGB")
    cut = [np.asarray(tile) for name, tile in demo._tiles(photo) if name.startswith("400-")]
    columns = {tuple(tile[0, :, 0]) for tile in cut}
    assert np.array_equal(np.unique(np.concatenate([list(column) for column in columns])), np.unique(ramp))


def test_without_the_packages_the_demo_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "find_spec", lambda _: None)
    with pytest.raises(ExtraError, match=r"deconvoy\[demo\]"):
        demo.corpus(tmp_path / "corpus")


def test_a_package_that_has_dropped_a_photograph_is_told_by_name(monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "PHOTOS", {"sklearn/datasets/images": ("nowhere.jpg",)})
    with pytest.raises(ExtraError, match=r"nowhere\.jpg"):
        demo.corpus(tmp_path / "corpus")
