"""The contact sheet: every picture in its place, labels whole, the ground mid-grey."""

import dataclasses
import io
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageDraw

from service.query import catalog, scans
from service.query.catalog import PublishedRun
from service.sheets import cells, contact
from service.sheets.tiles import Pen
from tests.support.published import CHANNELS, DEAD, FIELDS, INPUT_PX, box, patch, publish
from workers.errors import QueryError
from workers.spec.scan import ProjectSpec, ScanSpec
from workers.store.manifest import SpecSections
from workers.store.root import Root


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> PublishedRun:
    root = Root(str(tmp_path_factory.mktemp("root")))
    publish(root)
    return catalog.find(root)


def drawn_texts(monkeypatch) -> list[tuple[Image.Image, tuple[float, ...]]]:
    """Collects the picture and the box of every text from now on; each must lie inside its picture."""
    boxes: list[tuple[Image.Image, tuple[float, ...]]] = []
    real = ImageDraw.ImageDraw.text

    def text(self, xy, words, *rest, **more):
        found = self.textbbox(xy, words, font=rest[1], anchor=more["anchor"])
        size = self._image.size
        assert found[0] >= 0 and found[1] >= 0 and found[2] <= size[0] and found[3] <= size[1], (words, found, size)
        boxes.append((self._image, found))
        return real(self, xy, words, *rest, **more)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return boxes


@pytest.mark.parametrize("layer", FIELDS)
@pytest.mark.parametrize("rank", range(5))
def test_a_patch_lies_where_its_field_meets_the_input(run, layer, rank):
    form = dataclasses.replace(cells.geometry(run, run.layer(layer)), factor=1)
    cell = scans.cells(run, layer, [4 if CHANNELS[layer] > 4 else 0])[rank]
    found = np.asarray(cells.draw_cell(cell.patch, cell, form)).astype(int)
    # By another road: paint the whole input on a wide ground, then look through a window.
    reach = 200
    ground = np.full((INPUT_PX + 2 * reach, INPUT_PX + 2 * reach, 3), 128)
    whole, cut = box(layer, rank), box(layer, rank).cut(INPUT_PX, INPUT_PX)
    ground[reach + cut.top : reach + cut.bottom, reach + cut.left : reach + cut.right] = patch(layer, rank)
    top, left = (whole.top, whole.left) if FIELDS[layer].height <= INPUT_PX else (0, 0)
    side = min(FIELDS[layer].height, INPUT_PX)
    assert np.array_equal(found, ground[reach + top : reach + top + side, reach + left : reach + left + side])


@pytest.mark.parametrize(
    ("field", "cell"),
    [
        (1, 80),
        (3, 81),
        (7, 77),
        (11, 77),
        (19, 76),
        (27, 81),
        (51, 102),
        (67, 67),
        (99, 99),
        (131, 128),
        (224, 128),
        (2000, 128),
    ],
)
def test_cells_are_enlarged_by_whole_numbers_and_reduced_to_128(run, field, cell):
    big = dataclasses.replace(run, input_height=224, input_width=224)
    layer = dataclasses.replace(run.layer("relu1"), field_height=field, field_width=field)
    form = cells.geometry(big, layer)
    assert form.cell == (cell, cell)
    assert form.factor < 1 or form.factor == int(form.factor)


def test_a_field_that_is_longer_one_way_keeps_its_shape(run):
    layer = dataclasses.replace(run.layer("relu1"), field_height=7, field_width=14)
    assert cells.geometry(run, layer).cell == (84, 42)


@pytest.mark.parametrize(("k", "side"), [(1, 1), (2, 2), (4, 2), (9, 3), (10, 4), (16, 4), (17, 5)])
def test_the_grid_is_the_smallest_square_that_holds_k(run, k, side):
    assert (
        cells.geometry(dataclasses.replace(run, sections=SpecSections(scan=ScanSpec(k=k))), run.layer("relu1")).side
        == side
    )


def test_projections_stand_left_and_patches_right_best_first(run):
    page = np.asarray(contact.sheet(run, "relu1", [4], "exact")).astype(int)
    form = cells.geometry(run, run.layer("relu1"))
    wide, tall = form.cell
    grid, _ = form.grid
    left, top = contact.MARGIN_PX, page.shape[0] - contact.MARGIN_PX - form.grid[1]
    for cell in scans.cells(run, "relu1", [4]):
        x, y = left + cell.rank % 3 * (wide + cells.GAP_PX), top + cell.rank // 3 * (tall + cells.GAP_PX)
        for encoded, start in ((cell.projection, x), (cell.patch, x + grid + contact.PAIR_GAP_PX)):
            wanted = np.asarray(cells.draw_cell(encoded, cell, form))
            assert np.array_equal(page[y : y + tall, start : start + wide], wanted)


def test_the_ground_is_mid_grey(run):
    page = np.asarray(contact.sheet(run, "relu1", [0, 1]))
    assert (page[: contact.MARGIN_PX // 2] == 128).all() and (page[:, -contact.MARGIN_PX // 2 :] == 128).all()


def test_a_projection_that_is_not_there_is_a_thin_stroke_and_a_missing_row_is_ground(run):
    form = cells.geometry(run, run.layer("relu1"))
    cell = scans.cells(run, "relu1", [DEAD])[0]
    assert cell.projection is None
    pixels = np.asarray(cells.draw_cell(None, cell, form))
    assert 0 < (pixels != 128).any(axis=2).sum() <= 2 * max(form.cell)
    few = dataclasses.replace(run, sections=SpecSections(scan=ScanSpec(k=16)))
    page = np.asarray(contact.sheet(few, "relu1", [0]))
    bottom = slice(page.shape[0] - contact.MARGIN_PX - form.cell[1], None)
    assert (page[bottom] == 128).all()


def test_channels_stand_in_the_order_they_were_asked_for(run):
    one, two = contact.sheet(run, "relu1", [3, 5]), contact.sheet(run, "relu1", [5, 3])
    assert one.size == two.size
    assert ImageChops.difference(one, two).getbbox() is not None
    assert one.tobytes() == contact.sheet(run, "relu1", [3, 5]).tobytes()


@pytest.mark.parametrize(("k", "channels"), [(1, [0]), (1, [0, 1, 3]), (4, [5]), (9, list(range(20))), (9, [0, 7])])
def test_no_text_is_cut_or_overlaps_another(tmp_path, monkeypatch, k, channels):
    publish(Root(str(tmp_path)), "a" * 100)
    long = dataclasses.replace(
        catalog.find(Root(str(tmp_path))), sections=SpecSections(scan=ScanSpec(k=k)), images=1_281_167
    )
    boxes = drawn_texts(monkeypatch)
    page = contact.sheet(long, "relu1", channels)
    title = [found for picture, found in boxes if picture.size == page.size]
    assert len(boxes) == len(channels) + len(title)
    assert all(upper[3] <= lower[1] for upper, lower in pairwise(title))


def test_a_label_wider_than_its_block_widens_the_block(run):
    form = dataclasses.replace(cells.geometry(run, run.layer("relu1")), side=1, factor=1)
    cell = dataclasses.replace(scans.cells(run, "relu1", [0])[0], channel=4095, score=1.234e-12)
    block = contact._block([cell], 4095, Pen(form, "exact", {}))
    assert block.width > 2 * form.grid[0] + contact.PAIR_GAP_PX


def test_a_sheet_that_is_too_large_says_how_many_channels_fit(run):
    big = dataclasses.replace(run.layer("relu3"), channels=10_000)
    many = dataclasses.replace(run, layers=(big,))
    with pytest.raises(QueryError, match="10000 channels do not fit on a sheet; request 1 to "):
        contact.sheet(many, "relu3", range(10_000))


def test_a_lossy_patch_is_drawn_too(run):
    form = cells.geometry(run, run.layer("fc"))
    cell = scans.cells(run, "fc", [0])[0]
    buffer = io.BytesIO()
    Image.new("RGB", (INPUT_PX, INPUT_PX), (200, 10, 10)).save(buffer, "WEBP", quality=90)
    assert np.asarray(cells.draw_cell(buffer.getvalue(), cell, form))[5, 5, 0] > 180


def test_a_projection_that_is_drawn_smaller_gets_its_contrast_back_and_keeps_its_zero():
    faint = np.full((100, 100, 3), 128, np.uint8)
    faint[10:30, 10:30] = 168
    faint[50:70, 50:70] = 98
    drawn = np.asarray(cells.restore_contrast(Image.fromarray(faint))).astype(int)
    assert set(np.unique(drawn)) == {128 - round(30 * 127 / 40), 128, 255}


@pytest.mark.parametrize(
    ("method", "words"), [("gradient", "gradient projections beside patches"), ("none", "patches, without projections")]
)
def test_the_title_says_what_is_beside_the_patches_if_anything_is(run, method, words):
    project = ProjectSpec(method=method)
    other = dataclasses.replace(run, sections=run.sections.model_copy(update={"project": project}))
    assert contact.pictures_of(other, "beside") == words
