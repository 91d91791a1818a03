"""What perturbed images gave, as pages, figures and reports: curves and bars have the lengths of their numbers."""

import re

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from typer.testing import CliRunner

from service.atlas import report
from service.atlas.atlas import Atlas
from service.cli.main import app
from service.cli.running import read_spec
from service.query import catalog
from tests.support import instrumented, pages
from tests.support.asking import atlas_of
from tests.support.instrumented import AMOUNTS, LAYERS
from tests.support.published import names, publish
from workers.store.root import Root

PARTS = ("<b>nose</b>", "left eye")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Root:
    root = Root(str(tmp_path_factory.mktemp("root")))
    publish(root)
    instrumented.invariance(root)
    instrumented.correspondence(root, parts=PARTS)
    return root


@pytest.fixture(scope="module")
def client(root) -> TestClient:
    return atlas_of(root)


def test_curves_go_from_the_least_amount_to_the_largest_and_are_as_high_as_their_numbers(root):
    page = pages.shown(root.base, "moved")
    assert page["transforms"] == ["shift down, px", "scale factor", "rotation counter-clockwise, degrees"]
    assert page["ranges"] == [[-8, 8], [1, 1.5], [0, 180]]
    first, second, probability = page["lines"]
    assert [line["title"].partition(":")[0] for line in page["lines"][:2]] == list(LAYERS)
    assert [line["top"] for line in page["lines"]] == [0.5, 0.5, 1]  # the layers to one scale, whose end is half a unit
    assert {each["points"] for each in first["charts"][0]} == {"0.0,55.0 120.0,110.0 240.0,55.0"}
    assert {each["points"] for each in second["charts"][2]} == {"0.0,110.0 120.0,82.5 240.0,55.0"}
    assert {each["points"] for each in probability["charts"][1]} == {"0.0,0.0 240.0,11.0"}
    colours = [image["colour"] for image in page["images"]]
    assert len(set(colours)) == 2 and [each["colour"] for each in first["charts"][0]] == colours
    shown = [[each["amount"] for each in line] for line in page["images"][0]["pictures"]]
    assert shown == [list(AMOUNTS[name]) for name in ("translate_y", "scale", "rotate")]


def test_a_row_of_invariance_says_where_it_is_on_its_images_curves(client):
    page = client.get("/runs/moved/rows/1.json").json()
    assert (page["found"]["transform"], page["found"]["amount"], page["at"]) == ("rotate", 90, 120)
    assert page["title"] == names()[0][0] and [len(line["charts"]) for line in page["lines"]] == [1, 1, 1]
    assert [each["amount"] for each in page["amounts"]] == list(AMOUNTS["rotate"])
    for path in ("/runs/moved/rows/1", page["amounts"][2]["href"], page["found"]["image_href"]):
        assert client.get(path).status_code == 200


def test_bars_are_as_long_as_their_numbers_with_their_error_and_what_was_left_out(root, client):
    page = pages.shown(root.base, "parts")
    assert [layer["layer"] for layer in page["layers"]] == list(LAYERS)
    bars = page["layers"][0]["parts"][1]["bars"]
    assert [each["kind"] for each in bars] == ["part", "random", "together"]
    reach = 0.2 + 0.02
    assert page["top"] == pytest.approx(reach)
    assert [each["width"] for each in bars] == pytest.approx([0.1 / reach, 0.2 / reach, 0])
    assert bars[0]["ends"] == pytest.approx([0.09 / reach, 0.11 / reach])
    assert bars[1]["ends"] == pytest.approx([0.18 / reach, 1])
    assert page["left_out"] == [f"{part}: a.png: damaged" for part in sorted(PARTS)]
    text = client.get("/runs/parts").text
    assert "<b>nose</b>" not in text and "&lt;b&gt;nose&lt;/b&gt;" in text
    one = client.get("/runs/parts/rows/1.json").json()
    assert one["title"] == "<b>nose</b> in relu1, random" and len(one["layers"]) == 1
    assert client.get("/runs/parts/rows/1").status_code == 200


def test_an_images_page_shows_its_transformed_pictures_and_none_of_the_other_rows(client):
    page = client.get("/runs/first/image.json", params={"id": names()[0][0]}).json()
    assert [each["run"] for each in page["instruments"]] == ["moved"] * sum(map(len, AMOUNTS.values()))
    assert client.get("/runs/first/image", params={"id": names()[0][0]}).text.count("the transformed image") == 8


def test_more_images_than_colours_are_turned_over_in_pages(tmp_path):
    root = Root(str(tmp_path))
    instrumented.invariance(root, named=[(f"{n:03d}.png", "cat") for n in range(11)])
    first = pages.shown(tmp_path, "moved")
    second = atlas_of(root).get(first["next"].replace("?", ".json?")).json()
    seen = [image["image_id"] for page in (first, second) for image in page["images"]]
    assert seen == [f"{n:03d}.png" for n in range(11)] and second["next"] is None


def test_figures_are_drawn_by_query_and_stand_in_reports(root, tmp_path):
    sheet = tmp_path / "sheet.png"
    done = CliRunner().invoke(app, ["query", "sheet", "--root", root.base, "--run", "parts", "-o", str(sheet)])
    with Image.open(sheet) as drawn:
        assert done.exit_code == 0 and drawn.width >= 800
        assert len(np.unique(np.asarray(drawn.convert("RGB")).reshape(-1, 3), axis=0)) > 100
    text = report.report(Atlas(root), catalog.find(root, "moved", None), 3)
    assert re.search(r'<img src="data:image/png;base64,[^"]{10000,}" alt="the figure', text)


@pytest.mark.parametrize("job", ["invariance", "correspondence"])
def test_the_job_of_a_spec_file_is_seen_from_its_table(tmp_path, job):
    file = tmp_path / "run.toml"
    file.write_text(f'root = "r"\n[{job}]\nlayers = ["relu1"]\n')
    assert read_spec(file, None)[0] == job
