"""A training as the atlas and the sheets show it: every layer's course, every channel's strip, frame by frame."""

import io

import numpy as np
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from typer.testing import CliRunner

from service.cli.main import app
from service.query import catalog, evolution
from service.sheets import evolve
from tests.support import instrumented
from tests.support.asking import atlas_of
from tests.support.instrumented import CHECKPOINTS
from tests.support.published import CHANNELS, DEAD, publish
from workers.errors import QueryError
from workers.store.facts import LayerFacts
from workers.store.root import Root


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Root:
    root = Root(str(tmp_path_factory.mktemp("root")))
    instrumented.evolve(root)
    publish(root, "scanned")
    return root


@pytest.fixture(scope="module")
def client(root) -> TestClient:
    return atlas_of(root)


def test_a_layers_course_is_the_mean_of_its_channels_and_tells_the_dead(root):
    for course in evolution.courses(catalog.find(root, "trained", None)):
        count = CHANNELS[course.layer.name]
        assert course.overlap == pytest.approx((0.2, 0.6, 1.0)) and course.median == 1 and course.dead == 1
        assert course.settled == pytest.approx((0.0, (count - 1) / count, (count - 1) / count))


def test_a_strip_has_its_own_rows_in_the_order_of_the_training(root, client):
    run = catalog.find(root, "trained", None)
    for layer in CHANNELS:
        for strip in evolution.strips(run, layer, [0, CHANNELS[layer] - 1]):
            for frame in strip.frames:
                found, cell = evolution.cell(run, frame.number)
                assert (found, cell.channel, cell.rank, cell.score) == (
                    layer,
                    strip.channel,
                    frame.checkpoint,
                    frame.score,
                )
                page = client.get(f"/runs/trained/rows/{frame.number}.json").json()
                assert page["title"] == f"channel {strip.channel} at {CHECKPOINTS[frame.checkpoint]}"


def test_a_layers_page_turns_by_channels_and_shows_each_frames_place(client):
    first = client.get("/runs/trained/layers/relu1.json").json()
    assert (first["first"], first["last"], first["total"]) == (1, 16, CHANNELS["relu1"])
    rest = client.get(first["next"].replace("relu1", "relu1.json")).json()
    assert [strip["channel"] for strip in rest["strips"]] == list(range(16, CHANNELS["relu1"]))
    dead = first["strips"][DEAD]
    assert dead["settled_since"] is None and [frame["overlap"] for frame in dead["frames"]] == [None] * 3
    for frame in first["strips"][0]["frames"]:
        with Image.open(io.BytesIO(client.get(frame["patch"]).content)) as drawn:
            corner = np.array(drawn.convert("RGB"))[0, 0].tolist()
        assert corner == [128, 128, 128]  # the field leaves the input there: ground, not the picture moved


def test_the_sheet_of_a_run_or_of_channels_of_a_layer_is_drawn(root, tmp_path):
    for number, words in enumerate([[], ["--layer", "relu2", "--channels", "0-3"], ["--layer", "fc"]]):
        out = tmp_path / f"{number}.png"
        done = CliRunner().invoke(
            app, ["query", "sheet", "--root", root.url, "--run", "trained", *words, "-o", str(out)]
        )
        assert done.exit_code == 0, done.output
        with Image.open(out) as drawn:
            assert drawn.width > 400 and drawn.height > 200
    four = evolve.strips(catalog.find(root, "trained", None), [("relu2", [0, 1, 2, 3])])
    two = evolve.strips(catalog.find(root, "trained", None), [("relu2", [0, 1])])
    assert four.width == two.width and four.height > 1.7 * two.height


def test_what_is_not_there_is_said(root):
    run = catalog.find(root, "trained", None)
    with pytest.raises(QueryError, match="no layer 'conv9'"):
        evolution.strips(run, "conv9")
    with pytest.raises(QueryError, match="no channel 99"):
        evolution.strips(run, "relu2", [99])
    with pytest.raises(QueryError, match="expected 'evolve'"):
        evolution.courses(catalog.find(root, "scanned"))
    done = CliRunner().invoke(
        app, ["query", "sheet", "--root", root.url, "--run", "trained", "--layer", "x", "-o", "a.png"]
    )
    assert done.exit_code == 2 and "no layer 'x'" in done.stderr


def test_a_training_is_reported_in_one_file(root, tmp_path):
    out = tmp_path / "report.html"
    done = CliRunner().invoke(app, ["report", "trained", "--root", root.url, "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert "data:image/png" in out.read_text()


def test_half_have_settled_where_half_have():
    """The median of an even number is a checkpoint that some channel has, not one between two."""
    rows = [{"checkpoint": c, "overlap": 1.0, "settled_since": since} for since in (0, 0, 2, 2) for c in range(3)]
    table = pa.Table.from_pylist(
        rows, pa.schema([("checkpoint", pa.int32()), ("overlap", pa.float64()), ("settled_since", pa.int32())])
    )
    course = evolution._course(LayerFacts(0, "x", 4, 1, 1, 1, 1, 1, 1), table)
    assert course.median == 0 and course.settled == (0.5, 0.5, 1.0)
