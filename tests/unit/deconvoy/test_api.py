"""The Python API: runs, layers, channels and rows of a root, as tables and as pictures that notebooks show."""

import inspect
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from PIL import Image
from typer.testing import CliRunner

import deconvoy
from deconvoy.pictures import Picture
from service.cli.main import app
from tests.support import instrumented
from tests.support.published import CHANNELS, DEAD, FIELDS, INPUT_PX, MAPS, K, publish
from workers import errors
from workers.core.display import display
from workers.store.root import Root

READING = (Path(__file__).parents[3] / "docs" / "reading.md").read_text()


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Root:
    root = Root(str(tmp_path_factory.mktemp("root")))
    publish(root)
    publish(root, "newest", "2027-01-01T00:00:00+00:00")
    for kind in (instrumented.occlude, instrumented.invert, instrumented.evolve, instrumented.filters):
        kind(root)
    return root


@pytest.fixture(scope="module")
def atlas(root) -> deconvoy.Atlas:
    return deconvoy.open(root.url)


def shown(thing) -> Image.Image:
    """What a notebook shows of a thing."""
    return Image.open(io.BytesIO(thing._repr_png_()), formats=("PNG",))


def drawn(atlas, *show, **keys) -> Picture:
    return atlas.run("first").layer("relu2").channel(0).wall(*show, **keys)


def test_a_root_leads_to_runs_layers_channels_and_patches(atlas):
    assert atlas.runs[0].id == atlas.run().id == "newest" and not atlas.damaged
    run = atlas.run("first")
    assert (run.kind, run.about.images, [layer.name for layer in run.layers]) == ("scan", 12, list(FIELDS))
    layer = run.layer("relu2")
    assert (layer.about.height, len(layer.channels)) == (MAPS["relu2"], CHANNELS["relu2"])
    patches = layer.channel(3).patches
    assert [patch.rank for patch in patches] == list(range(K))
    assert [patch.score for patch in patches] == [40.0 - rank for rank in range(K)]
    assert (patches[0].image_id, patches[0].label) == ("cat1/003.png", "cat")
    top, left, bottom, right = patches[0].box
    assert (bottom - top, right - left) == (35, 35) and top < 0


def test_tables_are_arrow_tables_and_narrow_with_the_layer_and_the_channel(atlas):
    run = atlas.run("first")
    assert set(run.tables) == {"images", "rejects", "units", "top", "patches", "previews", "predictions"}
    assert len(run.table("top")) == K * sum(CHANNELS.values())
    best = run.layer("relu1").table("top", ["channel", "score"], pc.field("rank") == 0)
    assert best.column_names == ["channel", "score"] and best["channel"].to_pylist() == list(range(CHANNELS["relu1"]))
    assert run.layer("fc").channel(DEAD).table("units", ["dead"]).to_pylist() == [{"dead": True}]


def test_a_layers_summary_has_the_values_of_the_command(atlas):
    layer = atlas.run("first").layer("relu2")
    rows = layer.summary().to_pylist()
    command = CliRunner().invoke(
        app, ["query", "units", "--root", atlas.url, "--run", "first", "--layer", "relu2", "--json"]
    )
    expected = json.loads(command.stdout)
    assert rows == [{name: row[name] for name in rows[0]} for row in sorted(expected, key=lambda row: row["channel"])]
    assert any(row["label"] for row in rows) and any(row["selectivity"] for row in rows)


def test_a_table_is_a_data_frame_where_pandas_is_installed(atlas):
    pytest.importorskip("pandas")
    frame = atlas.run("first").table("units", ["layer", "channel", "max"]).to_pandas()
    assert frame.groupby("layer")["max"].max()["relu2"] == 60.0


def test_patches_are_the_stored_pictures_and_projections_give_their_numbers(atlas):
    patch = atlas.run("first").layer("relu2").channel(1).patches[0]
    assert patch.patch.media == "image/png" and patch.patch.pixels().dtype == np.uint8
    assert (255 - patch.patch.pixels() == patch.projection.pixels()).all()
    signal = patch.signal()
    assert signal.shape == (3, *patch.patch.pixels().shape[:2])
    again, scale = display(signal)
    assert scale == pytest.approx(patch.projection_scale) and (again == patch.projection.pixels()).all()
    dead = atlas.run("first").layer("relu2").channel(DEAD).patches[0]
    assert dead.projection is None and dead.signal() is None


def test_a_notebook_shows_channels_layers_patches_and_rows(atlas, tmp_path):
    layer = atlas.run("first").layer("relu2")
    assert shown(layer).width > shown(layer.channel(0)).width > shown(layer.channel(0).patches[0]).width
    assert shown(layer.sheet([1])).size == shown(layer.channel(1)).size
    wall = layer.channel(0).wall("projection", side_px=100)
    assert wall.media == "image/webp" and max(wall.image().size) <= 100 and shown(wall).size == wall.image().size
    wall.save(tmp_path / "wall.webp")
    assert (tmp_path / "wall.webp").read_bytes() == wall.data
    wall.save(tmp_path / "wall.png")
    assert (tmp_path / "wall.png").read_bytes().startswith(b"\x89PNG")
    assert (Picture((tmp_path / "wall.png").read_bytes(), "image/png").pixels() == wall.pixels()).all()
    assert repr(wall) == f"<deconvoy.Picture image/webp {wall.image().width} x {wall.image().height} px>"
    covered = atlas.run("covered").rows[0]
    assert shown(covered).width > 4 * shown(covered).height and "panel_image" in covered.pictures
    assert shown(atlas.run("inverted").rows[0]).width > INPUT_PX


def test_rows_of_instruments_have_values_pictures_and_maps(atlas):
    run = atlas.run("covered")
    assert [row.values["layer"] for row in run.rows] == ["relu2"] * 2 and "classes" not in run.rows[0].values
    row = run.row(1)
    assert len(row.values["activation_map"]) == instrumented.ROWS * instrumented.COLUMNS and row.number == 1
    assert row.picture("activation_map").image().size == (instrumented.COLUMNS, instrumented.ROWS)
    assert row.picture("original").pixels().shape == (INPUT_PX, INPUT_PX, 3)
    diverged = [row for row in atlas.run("inverted").rows if row.values["status"] == "diverged"]
    assert len(diverged) == 2 and all("inversion" in row.pictures for row in diverged)
    assert shown(run.sheet()).width > shown(atlas.run("trained").rows[0]).width


def test_a_layer_of_another_kind_shows_no_sheet(atlas):
    layer = atlas.run("trained").layers[0]
    assert layer._repr_png_() is None and layer.channel(0)._repr_png_() is None


@pytest.mark.parametrize(
    ("ask", "kind", "message"),
    [
        (lambda atlas: atlas.run("newst"), deconvoy.RunError, "nearest: newest"),
        (lambda atlas: atlas.run("first").layer("rel2"), deconvoy.QueryError, "nearest: relu2"),
        (
            lambda atlas: atlas.run("kernels").layer("relu2"),
            deconvoy.QueryError,
            "no layer 'relu2'; it is of kind 'filters'",
        ),
        (lambda atlas: atlas.run("first").layer("fc").channel(3), deconvoy.QueryError, "it has 0 to 2"),
        (lambda atlas: atlas.run("trained").layers[0].summary(), deconvoy.QueryError, "no table"),
        (lambda atlas: drawn(atlas, "foo"), deconvoy.UsageError, "show is 'foo'; it must be 'patch' or 'projection'"),
        (lambda atlas: drawn(atlas, view="x"), deconvoy.UsageError, "view is 'x'; it must be 'filled' or 'exact'"),
        (lambda atlas: drawn(atlas, side_px=0), deconvoy.UsageError, "side_px is 0; it must be at least 1"),
        (lambda atlas: drawn(atlas).save("a.gif"), deconvoy.UsageError, "ends in none of .png, .webp"),
        (lambda atlas: atlas.run("first").table("tops"), deconvoy.QueryError, "nearest: top"),
        (lambda atlas: atlas.run("first").table("top", ["scor"]), deconvoy.QueryError, "nearest: score"),
        (lambda atlas: atlas.run("first").table("top", where=pc.field("no") == 1), deconvoy.QueryError, "filtered"),
        (lambda atlas: atlas.run("first").layer("fc").table("images"), deconvoy.QueryError, "layer_index"),
        (lambda atlas: atlas.run("first").rows, deconvoy.QueryError, "is of kind 'scan', not an instrument"),
        (lambda atlas: atlas.run("first").sheet(), deconvoy.QueryError, "is of kind 'scan', not an instrument"),
        (lambda atlas: atlas.run("trained").layers[0].channel(0).patches, deconvoy.QueryError, "no table 'patches'"),
        (lambda atlas: atlas.run("covered").row(2), deconvoy.QueryError, "no row 2"),
        (lambda atlas: atlas.run("covered").rows[0].picture("no"), deconvoy.QueryError, "no picture 'no'"),
    ],
)
def test_what_a_run_does_not_hold_is_an_error_of_the_tree_that_names_what_it_holds(atlas, ask, kind, message):
    with pytest.raises(kind, match=message):
        ask(atlas)


def test_a_folder_that_is_not_there_is_no_root_and_an_empty_one_has_no_run(tmp_path):
    with pytest.raises(deconvoy.RootError, match="is not a folder"):
        deconvoy.open(tmp_path / "nowhere")
    atlas = deconvoy.open(tmp_path)
    assert atlas.runs == ()
    with pytest.raises(deconvoy.RunError, match="has no published runs"):
        atlas.run()


def test_every_public_name_has_a_docstring_and_every_exported_error_is_the_trees():
    for name in deconvoy.__all__:
        thing = getattr(deconvoy, name)
        assert inspect.getdoc(thing), name
        if not inspect.isclass(thing):
            continue
        if issubclass(thing, Exception):
            assert thing is getattr(errors, name)
            continue
        members = [(part, each) for part, each in vars(thing).items() if not part.startswith("_")]
        described = inspect.getdoc(thing) or ""
        assert not [part for part, each in members if not inspect.getdoc(each) and f"{part}:" not in described], name


def test_every_public_name_is_in_the_documentation():
    section = READING.split("## From Python")[1].split("\n## ")[0]
    members = {
        part
        for name in deconvoy.__all__
        if inspect.isclass(thing := getattr(deconvoy, name)) and not issubclass(thing, Exception)
        for part in {*vars(thing), *getattr(thing, "__dataclass_fields__", ())}
        if not part.startswith("_")
    }
    shown = re.findall(r"\w+", section)
    assert not [name for name in {*members, *deconvoy.__all__} if name not in shown]


def test_a_name_that_the_package_does_not_have_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'opne'"):
        deconvoy.opne  # noqa: B018 - the misspelt name is what is asked for


USED = """
import sys
import deconvoy
assert not {"pyarrow", "numpy", "service", "typing"} & set(sys.modules), "nothing is loaded before it is used"
run = deconvoy.open(sys.argv[1]).run("first")
assert run.layer("relu1").channel(0)._repr_png_() and run.layer("relu1").channel(0).patches[0].signal() is not None
assert run.table("top").num_rows
print(sorted({"torch", "ray", "fastapi", "typer"} & set(sys.modules)))
"""


def test_the_api_loads_neither_torch_nor_ray_nor_the_command(root):
    done = subprocess.run([sys.executable, "-c", USED, root.url], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
