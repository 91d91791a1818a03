"""Questions read exactly the files of one published run, and say which names come nearest to a wrong one."""

import uuid

import pytest

from service.query import catalog, scans
from service.query.catalog import PublishedRun
from service.query.layers import Choice, read_layer
from tests.support.published import CHANNELS, DEAD, IMAGES, MAPS, K, publish
from workers.errors import DamagedRun, QueryError
from workers.store.root import Root


@pytest.fixture(params=["local", "memory"])
def run(request, tmp_path) -> PublishedRun:
    root = Root(str(tmp_path) if request.param == "local" else f"memory://{uuid.uuid4().hex}")
    publish(root)
    return catalog.find(root)


def test_the_top_of_a_channel_is_its_k_images_best_first(run):
    rows = scans.top(run, "relu2", 4)
    assert [row.rank for row in rows] == list(range(K))
    assert [row.score for row in rows] == [50.0 - rank for rank in range(K)]
    assert {(row.layer, row.layer_index, row.channel) for row in rows} == {("relu2", 1, 4)}
    assert (rows[0].box_top, rows[0].box_bottom) == (-12, 23)


def test_dead_channels_come_first_and_then_the_least_active(run):
    found = read_layer(run, "relu2").chosen(Choice("dead"))
    assert [unit.channel for unit in found] == [DEAD, 5, 4, 3, 1, 0]
    assert found[0].dead


def test_channels_are_sorted_by_a_statistic_or_by_their_number_and_cut_at_bounds(run):
    tables = read_layer(run, "relu2")

    def chosen(*choice, **more) -> list[int]:
        return [unit.channel for unit in tables.chosen(Choice(*choice, **more))]

    assert chosen("max") == [5, 4, 3, 1, 0, DEAD]
    assert chosen() == list(range(CHANNELS["relu2"]))
    assert chosen("max", 20.0, 50.0) == [4, 3, 1]
    assert chosen("max", dead=False) == [5, 4, 3, 1, 0]
    assert chosen(dead=True) == [DEAD]
    with pytest.raises(QueryError, match="cannot be sorted by 'maxx'; nearest: max"):
        chosen("maxx")


def test_an_image_names_the_channels_it_tops_by_rank(run):
    rows = scans.image(run, "cat1/003.png")
    assert {row.image_index for row in rows} == {3}
    assert [row.rank for row in rows] == sorted(row.rank for row in rows)
    assert [(row.layer, row.channel) for row in rows if row.rank == 0] == [
        ("relu1", 3),
        ("relu1", 15),
        ("relu2", 3),
        ("relu3", 3),
    ]
    assert scans.image(run, "/photos/cat1/003.png") == rows


def test_an_unknown_image_is_answered_with_the_nearest(run):
    with pytest.raises(QueryError, match=r"no image '003.png' in run 'first'; nearest: cat1/003.png"):
        scans.image(run, "003.png")
    with pytest.raises(QueryError, match=r"no image 'dog' in run 'first'; available: cat0/000.png"):
        scans.image(run, "dog")


def test_a_rejected_image_is_answered_with_the_reason(run):
    with pytest.raises(QueryError, match=f"cat0/{IMAGES:03d}.png' was not used in run 'first': damaged, cut off"):
        scans.image(run, f"cat0/{IMAGES:03d}.png")


def test_a_layer_or_channel_that_is_not_there_is_refused(run):
    with pytest.raises(QueryError, match="no layer 'relu9'; nearest: relu"):
        scans.top(run, "relu9", 0)
    for channel in (-1, 6):
        with pytest.raises(QueryError, match=f"no channel {channel} in layer 'relu2'; it has 0 to 5"):
            scans.top(run, "relu2", channel)
        with pytest.raises(QueryError, match=f"no channel {channel}"):
            scans.cells(run, "relu2", [0, channel])


def test_cells_are_the_pictures_of_some_channels(run):
    cells = scans.cells(run, "relu2", [5, DEAD])
    assert [(cell.channel, cell.rank) for cell in cells] == [(c, rank) for c in (DEAD, 5) for rank in range(K)]
    assert all(cell.patch.startswith(b"\x89PNG") for cell in cells)
    assert [cell.projection is None for cell in cells] == [True] * K + [False] * K


def test_the_living_channels_are_the_first_that_are_not_dead(run):
    assert scans.living(run, "relu2", 4) == (0, 1, 3, 4)


def test_files_that_the_manifest_does_not_name_are_not_read(run):
    for part in run.tables["top"]:
        run.root.put(part.path.replace("part-", "part-9"), run.root.read(part.path))
    assert len(scans.top(run, "relu2", 4)) == K


def test_a_missing_file_or_one_of_another_size_is_a_damaged_run(run):
    path = run.tables["top"][0].path
    data = run.root.read(path)
    run.root.put(path, data + b"x")
    with pytest.raises(DamagedRun, match=f"{path} has {len(data) + 1} bytes instead of {len(data)}"):
        scans.top(run, "relu2", 4)
    run.root.delete(path)
    with pytest.raises(DamagedRun, match=f"{path} is missing"):
        scans.image(run, "cat1/003.png")


def test_a_flipped_bit_is_a_damaged_run(run):
    path = run.tables["patches"][0].path
    data = bytearray(run.root.read(path))
    data[data.index(b"\x89PNG") + 20] ^= 1
    run.root.put(path, bytes(data))
    with pytest.raises(DamagedRun, match="run 'first': its table 'patches' cannot be read"):
        scans.cells(run, "relu1", [0])


def test_a_layer_has_the_share_of_its_top_units_at_the_border(run):
    for name, side in MAPS.items():
        border = read_layer(run, name).border
        if side < 3:
            assert border is None
            continue
        rows = [row for channel in range(CHANNELS[name]) for row in scans.top(run, name, channel) if row.score > 0]
        edge = {0, side - 1}
        assert border.share == sum(bool(edge & {row.y, row.x}) for row in rows) / len(rows)
        by_area = sum(bool(edge & {y, x}) for y in range(side) for x in range(side)) / side**2
        assert border.by_area == pytest.approx(by_area)
        assert border.is_crowded is (border.share >= 1.5 * by_area)
