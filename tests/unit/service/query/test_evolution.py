"""A training as the atlas and the sheets show it: every layer's course, every channel's strip, frame by frame."""

import io

import numpy as np
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from service.atlas import channel_pictures
from service.cli.main import app
from service.query import catalog, evolution
from service.query.evolution import Frame, Strip
from service.query.scans import PlacedCell
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


def test_a_layers_page_by_number_turns_by_channels(client):
    first = client.get("/runs/trained/layers/relu1.json", params={"sort": "channel"}).json()
    assert (first["first"], first["last"], first["total"], first["sort"]) == (1, 16, CHANNELS["relu1"], "channel")
    rest = client.get(first["next"].replace("relu1", "relu1.json")).json()
    assert [strip["channel"] for strip in rest["strips"]] == list(range(16, CHANNELS["relu1"]))
    dead = first["strips"][DEAD]
    assert dead["settled_since"] is None and [frame["overlap"] for frame in dead["frames"]] == [None] * 3
    frame = client.get(first["strips"][3]["frames"][1]["href"] + ".json").json()
    again = client.get(frame["strip"].replace("relu1", "relu1.json")).json()
    assert again["strips"][0]["channel"] == 3  # a frame's page leads back to its own channel
    assert "give one of overlap, channel" in client.get("/runs/trained/layers/relu1.json?sort=size").text


def strip(channel: int, *overlaps: float | None) -> Strip:
    frames = [Frame(0, number, 1.0, overlap, None, "a", None) for number, overlap in enumerate(overlaps)]
    return Strip(channel, 0, tuple(frames))


def test_the_most_changed_channels_come_first_then_those_that_settled_later(client):
    every = [
        strip(0, 1.0, 1.0),
        strip(1, None, None),
        strip(2, 0.2, 0.9, 1.0),
        strip(3, 0.0, 1.0),
        strip(4, 0.2, 0.3, 1.0),
    ]
    every.append(strip(5, 0.2, 0.3, 1.0))
    assert [each.channel for each in evolution.most_changed(every)] == [3, 4, 5, 2, 0, 1]
    page = client.get("/runs/trained/layers/relu2.json").json()
    assert (
        page["sort"] == "overlap" and page["strips"][-1]["channel"] == DEAD
    )  # nothing activates it: no change is known
    html = client.get("/runs/trained/layers/relu2").text
    assert "Most changed first" in html and "<small>20 %</small>" in html


def test_frames_fill_their_tiles_and_the_page_of_a_frame_shows_the_exact_field(client):
    strips = client.get("/runs/trained/layers/relu1.json", params={"sort": "channel"}).json()["strips"]
    for frame in strips[0]["frames"]:
        exact = client.get(frame["href"] + ".json").json()["found"]["pictures"]["patch"]
        corners = []
        for address in (frame["patch"], exact):
            with Image.open(io.BytesIO(client.get(address).content)) as drawn:
                corners.append(np.array(drawn.convert("RGB"))[0, 0].tolist())
        assert corners[0] != [128, 128, 128] == corners[1]  # the field leaves the input there


def test_a_channels_page_shows_its_patches_at_the_checkpoints_of_a_training(client, root):
    run = catalog.find(root, "trained", None)
    [other] = client.get("/runs/scanned/layers/relu2/channels/3.json").json()["others"]
    assert other["href"] == "/runs/trained/layers/relu2?sort=channel&start=3"
    with Image.open(io.BytesIO(client.get(other["picture"]).content)) as drawn:
        shown = np.array(drawn.convert("RGB"), float)
    side = shown.shape[1] // 2
    for number, cell in enumerate(evolution.cells(run, "relu2", [3])[3]):
        row, column = divmod(number, 2)
        tile = shown[row * side : (row + 1) * side, column * side : (column + 1) * side]
        with Image.open(io.BytesIO(cell.patch)) as patch:
            own = np.array(patch.convert("RGB"), float)
        assert abs(tile.max() - own.max()) < 30  # a lossy copy of this checkpoint's patch


@pytest.mark.parametrize(("count", "shown"), [(2, [0, 1]), (3, [0, 1, 2]), (11, [0, 1, 2, 4, 5, 6, 8, 9, 10])])
def test_the_picture_of_a_training_has_its_first_and_last_checkpoint(count, shown):
    frames = tuple(PlacedCell(number, 0, 1.0, 0, 0, b"", None, *[0] * 7) for number in range(count))
    assert [frame.channel for frame in channel_pictures._spread(frames)] == shown


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


def test_the_sheet_says_its_order_and_how_much_of_the_top_images_is_kept(root, tmp_path, monkeypatch):
    texts: list[str] = []
    plain = ImageDraw.ImageDraw.text
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda *w, **m: texts.append(w[2]) or plain(*w, **m))

    def draw(*words: str) -> bytes:
        texts.clear()
        out = tmp_path / "sheet.png"
        asked = ["query", "sheet", "--root", root.url, "--run", "trained", *words, "-o", str(out)]
        assert CliRunner().invoke(app, asked).exit_code == 0
        return out.read_bytes()

    filled = draw("--layer", "relu2")
    drawn = [text for text in texts if text.startswith("channel ")]
    assert drawn == [f"channel {n}" for n in range(6) if n != DEAD]
    assert "most changed first" in " ".join(texts) and texts.count("60 %") == len(drawn)
    draw()
    assert "most changed first" in " ".join(texts)
    draw("--layer", "relu2", "--channels", "4,1")
    assert [text for text in texts if text.startswith("channel ")] == ["channel 4", "channel 1"]
    assert "most changed" not in " ".join(texts)
    assert draw("--layer", "relu2", "--exact") != filled
    layers = catalog.find(root, "trained", None).layers
    assert "more layer" not in " ".join(texts) and len(layers) > 2
    monkeypatch.setattr(evolve, "LARGEST_ROWS", len(layers) - 1)
    draw()
    assert "most changed first; 1 more layer in the table" in " ".join(texts)


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
    words = ["query", "sheet", "--root", root.url, "--run", "trained", "--channels", "3,7", "-o", "a.png"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2 and done.stderr == "deconvoy: --channels needs --layer\n"


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
