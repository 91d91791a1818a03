"""Tiles that are filled: what they show, pixel by pixel, against photos whose pixels say where they are."""

import io
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.query.scans import PlacedCell
from service.sheets import tiles
from service.sheets.cells import GROUND, Geometry
from service.sheets.tiles import DIMMED, Photo
from workers.core.receptive_field import Box

INPUT = 60
ZERO = np.array(GROUND)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def photo_of(height: int, width: int) -> np.ndarray:
    """(height, width, 3): each pixel is its row, its column, and 200."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.full_like(rows, 200)], -1)


def cell_of(box: Box, offset: tuple[int, int], photo: np.ndarray) -> PlacedCell:
    """A cell whose model input is a centre crop, without resizing; the crop begins at `offset` in the photo."""
    down, across = offset
    seen = box.cut(INPUT, INPUT)
    patch = photo[down + seen.top : down + seen.bottom, across + seen.left : across + seen.right]
    projection = np.zeros_like(patch) + np.array([250, 10, 10])
    source = (box.top + down, box.left + across, box.bottom + down, box.right + across)
    return PlacedCell(0, 0, 1.0, box.top, box.left, png(patch), png(projection), 0, box.bottom, box.right, *source)


GREY = png(np.full((1, 1, 3), 128))  # what is stored for a unit that sees only padding


def form_of(field: int) -> Geometry:
    side = min(field, INPUT)
    return Geometry(side, side, field <= INPUT, field <= INPUT, 1.0, 3, INPUT, INPUT)


BOXES = {
    "inside": Box(10, 20, 40, 50),
    "cut at the top": Box(-12, 5, 18, 35),
    "cut at a corner": Box(45, 40, 75, 70),
    "cut on both sides": Box(5, -10, 35, 20),
}


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
def test_a_tile_shows_the_photo_itself_and_dims_what_the_model_did_not_see(box):
    photo, offset = photo_of(100, 120), (20, 30)  # the photo is larger than the input on all sides
    cell, form = cell_of(box, offset, photo), form_of(30)
    drawn = np.asarray(tiles.tile(cell, projection=False, form=form, photo=Photo(png(photo), 100, 120))).astype(float)
    expected = photo[box.top + offset[0] : box.bottom + offset[0], box.left + offset[1] : box.right + offset[1]]
    rows, columns = np.mgrid[box.top : box.bottom, box.left : box.right]
    seen = (rows >= 0) & (rows < INPUT) & (columns >= 0) & (columns < INPUT)
    wanted = np.where(seen[..., None], expected, expected * DIMMED)
    assert np.abs(drawn - wanted).max() <= 1


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
def test_a_projection_lies_where_its_patch_lies(box):
    photo = photo_of(100, 120)
    cell, form = cell_of(box, (20, 30), photo), form_of(30)
    drawn = np.asarray(tiles.tile(cell, projection=True, form=form, photo=Photo(png(photo), 100, 120)))
    rows, columns = np.mgrid[box.top : box.bottom, box.left : box.right]
    seen = (rows >= 0) & (rows < INPUT) & (columns >= 0) & (columns < INPUT)
    assert (drawn[seen] == [250, 10, 10]).all() and (drawn[~seen] == ZERO).all()


def test_without_a_photo_the_tile_zooms_to_what_was_seen_near_the_centre_of_the_field():
    photo, box = photo_of(INPUT, INPUT), Box(-15, 10, 15, 40)  # half of it is outside
    cell, form = cell_of(box, (0, 0), photo), form_of(30)
    shown = tiles.window(cell, form)
    assert (shown.top, shown.left, shown.bottom, shown.right) == (0, 17.5, 15, 32.5)
    drawn = np.asarray(tiles.tile(cell, projection=False, form=form)).astype(float)
    assert drawn.shape == (30, 30, 3) and (drawn[..., 2] == 200).all()  # filled, without any grey
    assert np.abs(np.diff(drawn[:, 15, 0])).max() <= 1 and drawn[0, 15, 0] == 0 and drawn[-1, 15, 0] >= 14


def test_where_the_photo_ends_the_tile_is_filled_with_what_there_is():
    photo = photo_of(80, 60)  # ten rows above the input and below, none beside it
    cell, form = cell_of(Box(-10, -15, 20, 15), (10, 0), photo), form_of(30)
    shown = tiles.window(cell, form, Photo(png(photo), 80, 60))
    assert (shown.top, shown.left, shown.bottom, shown.right) == (-2.5, 0, 12.5, 15)
    drawn = tiles.tile(cell, projection=False, form=form, photo=Photo(png(photo), 80, 60))
    blue = np.asarray(drawn)[:, 15, 2]
    assert (blue[:4] == 200 * DIMMED).all() and (blue[6:] == 200).all()  # two pixels for one; filled, without any grey


def test_a_copy_smaller_than_the_photo_continues_it_at_its_scale():
    photo = photo_of(200, 200)
    small = np.asarray(Image.fromarray(photo.astype(np.uint8)).resize((100, 100), Image.Resampling.BOX))
    cell, form = cell_of(Box(-20, 15, 10, 45), (70, 70), photo), form_of(30)
    drawn = np.asarray(tiles.tile(cell, projection=False, form=form, photo=Photo(png(small), 200, 200)))
    outside = drawn[:19, 15].astype(float)  # rows -20 to -1 of the input are rows 50 to 69 of the photo
    assert np.abs(outside[:, 0] - DIMMED * np.arange(50, 69)).max() <= 2
    assert np.abs(outside[:, 1] - DIMMED * (70 + 15 + 15)).max() <= 2


def test_a_unit_without_a_projection_is_struck_through():
    photo = photo_of(INPUT, INPUT)
    cell = cell_of(Box(10, 10, 40, 40), (0, 0), photo)
    without = PlacedCell(**{**vars(cell), "projection": None})
    drawn = np.asarray(tiles.tile(without, projection=True, form=form_of(30)))
    assert 20 <= (drawn != ZERO).any(-1).sum() <= 60


@given(
    field=st.integers(1, 150),
    at=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    margins=st.tuples(*[st.integers(0, 50)] * 4),
    has_photo=st.booleans(),
)
def test_a_window_has_the_shape_of_the_cell_and_lies_in_what_is_known(field, at, margins, has_photo):
    top, left = (round(share * (INPUT + 2 * field)) - field - field // 2 for share in at)  # some see only padding
    box, (above, before, below, behind) = Box(top, left, top + field, left + field), margins
    photo = Photo(b"", INPUT + above + below, INPUT + before + behind)
    source = (box.top + above, box.left + before, box.bottom + above, box.right + before)
    cell = PlacedCell(0, 0, 1.0, box.top, box.left, b"", b"", 0, box.bottom, box.right, *source)
    form = form_of(field)
    shown, saw = tiles.window(cell, form, photo if has_photo else None), tiles.seen(cell, form)
    assert math.isclose(shown.height * form.width, shown.width * form.height)
    assert shown.height <= form.height + 1e-9
    margin = (above, before, below, behind) if has_photo else (0, 0, 0, 0)
    drawn = tiles.tile(replace(cell, patch=GREY, projection=GREY), projection=True, form=form)
    assert drawn.size == form.cell
    if saw.is_empty:
        assert shown.height > 0 and shown.width > 0  # padding alone: the photo beside the input, or grey
        return
    known = (
        max(box.top, -margin[0]),
        max(box.left, -margin[1]),
        min(box.bottom, INPUT + margin[2]),
        min(box.right, INPUT + margin[3]),
    )
    assert shown.top >= known[0] - 1e-9 and shown.left >= known[1] - 1e-9
    assert shown.bottom <= known[2] + 1e-9 and shown.right <= known[3] + 1e-9
    if saw.height <= shown.height and saw.width <= shown.width:
        assert shown.top <= saw.top + 1e-9 and shown.bottom >= saw.bottom - 1e-9
        assert shown.left <= saw.left + 1e-9 and shown.right >= saw.right - 1e-9


def test_a_unit_that_sees_only_padding_shows_the_photo_beside_the_input_or_grey():
    photo, box = photo_of(100, 120), Box(-32, 5, -2, 35)
    cell = replace(
        cell_of(Box(0, 5, 30, 35), (40, 30), photo), box_top=-32, box_bottom=-2, source_top=8, source_bottom=38
    )
    cell = replace(cell, patch=GREY, projection=GREY)
    form = form_of(30)
    drawn = np.asarray(tiles.tile(cell, projection=False, form=form, photo=Photo(png(photo), 100, 120))).astype(float)
    assert np.abs(drawn - DIMMED * photo[8:38, 35:65]).max() <= 1 and box.bottom < 0
    assert (np.asarray(tiles.tile(cell, projection=False, form=form)) == ZERO).all()
    assert (np.asarray(tiles.tile(cell, projection=True, form=form)) == ZERO).all()


def test_tiles_have_the_shape_of_fields_that_are_not_square():
    photo = photo_of(INPUT, INPUT)
    cell = cell_of(Box(10, 5, 25, 45), (0, 0), photo)
    form = Geometry(
        15, 40, moves_down=True, moves_right=True, factor=2.0, side=3, input_height=INPUT, input_width=INPUT
    )
    drawn = tiles.tile(cell, projection=False, form=form)
    assert drawn.size == (80, 30)
    rows, columns = np.asarray(drawn)[..., 0].astype(float), np.asarray(drawn)[..., 1].astype(float)
    assert (
        np.abs(rows[::2, 40] - np.arange(10, 25)).max() <= 1 and np.abs(columns[15, ::2] - np.arange(5, 45)).max() <= 1
    )
