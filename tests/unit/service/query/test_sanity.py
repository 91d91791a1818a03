"""The randomisation check as queries, pages, a sheet and a report: medians, what is blank, and where it is shown."""

import io

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.atlas import report
from service.atlas.atlas import Atlas
from service.atlas.pages import parts
from service.query import catalog, scans
from service.query.findings import findings
from service.query.sanity import curves
from service.sheets import boards
from tests.support import instrumented
from tests.support.asking import atlas_of
from tests.support.published import names, publish
from workers.kinds import Kind
from workers.store.root import Root


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Root:
    root = Root(str(tmp_path_factory.mktemp("root")))
    publish(root)
    instrumented.sanity(root)
    return root


@pytest.fixture(scope="module")
def client(root) -> TestClient:
    return atlas_of(root)


def test_curves_are_medians_and_quartiles_over_units_and_seeds_and_blank_ones_are_counted(root):
    [about] = curves(row.values for row in findings(catalog.find(root, "randomised", None)))
    assert (about.layer, about.stages, about.units, about.seeds, about.blank) == (
        "relu2",
        ("conv2", "conv1"),
        2,
        (0, 1),
        1,
    )
    trained, first, second = about.points["ssim", "cascading", "deconvnet"]
    assert (trained.median, trained.count) == (1.0, 2)
    assert (first.low, first.median, first.high, first.count, first.blank) == pytest.approx((0.65, 0.7, 0.75, 4, 0))
    assert second.median == pytest.approx(0.45)
    gradient = about.points["rank_correlation", "cascading", "gradient"][1]
    values = [0.75, 0.65, 0.65]  # of the first image only the second seed's
    assert (gradient.count, gradient.blank) == (3, 1) and gradient.median == pytest.approx(np.median(values))
    assert about.floors["rank_correlation", "gradient"].median == 0.25


def test_a_page_draws_a_line_per_method_and_says_what_was_left_out(client):
    page = client.get("/runs/randomised.json").json()
    [layer] = page["layers"]
    figure = layer["figures"][0]
    points = [tuple(map(float, point.split(","))) for point in figure["lines"]["deconvnet"].split()]
    assert points == [(0.0, 0.0), (160.0, 30.0), (320.0, 55.0)]  # 1, 0.7 and 0.45 on a scale from 0 to 1
    assert figure["floors"]["deconvnet"] == 75.0 and len(layer["figures"]) == 6
    text = client.get("/runs/randomised").text
    assert "blank projections left out: 1" in text and text.count("<span>blank</span>") == 1
    assert text.count("What the pictures do not say") == 1


def test_each_unit_is_a_line_of_pictures_per_method(client):
    page = client.get("/runs/randomised.json").json()
    assert [unit["title"] for unit in page["units"]] == [f"relu2, channel 4, rank {n}: {names()[n][0]}" for n in (0, 1)]
    for unit in page["units"]:
        assert unit["stages"] == ["trained", "conv2", "conv1"] and client.get(unit["patch"]).status_code == 200
        for cells in unit["lines"].values():
            assert all(client.get(cell["picture"]).status_code == 200 for cell in cells if cell["status"] == "ok")
    one = client.get(page["units"][1]["href"] + ".json").json()
    assert one["kind"] == "sanity_unit" and one["title"] == page["units"][1]["title"] and one["next"] is None
    assert client.get(one["previous"] + ".json").json()["title"] == page["units"][0]["title"]
    assert client.get(page["units"][1]["href"]).text.count("<tr><td>") == 3 * (8 + 2)


def test_a_channel_leads_to_the_checks_of_its_scan_and_layer(client):
    there = client.get("/runs/first/layers/relu2/channels/4.json").json()["checks"]
    assert there == [{"run": "randomised", "href": "/runs/randomised#relu2"}]
    assert '<section id="relu2">' in client.get("/runs/randomised").text
    assert client.get("/runs/first/layers/relu1/channels/4.json").json()["checks"] == []


@pytest.mark.parametrize(("floor", "is_reported"), [(0.89, False), (0.9, True), (0.97, True)])
def test_pages_with_projections_say_where_those_of_all_channels_are_the_same(tmp_path, floor, is_reported):
    root = Root(str(tmp_path))
    publish(root)
    instrumented.sanity(root, floor=floor)
    client = atlas_of(root)
    words = f"check randomised found a median rank correlation of {floor:.2f}"
    shown = ("layers/relu2/channels/4", "layers/relu2?show=projection")
    compared = "/compare?a=first&b=first&layer=relu2&show=projection"
    for path in (*(f"/runs/first/{page}" for page in shown), f"/embed/runs/first/{shown[0]}", compared):
        assert (words in client.get(path).text) == is_reported
    for path in ("/runs/first/layers/relu1/channels/4", "/runs/first/layers/relu2"):  # another layer; patches
        assert "found a median" not in client.get(path).text
    image = scans.top(catalog.find(root), "relu2", 4)[0].image_id
    says = client.get("/runs/first/image.json", params={"id": image}).json()["says"]
    assert any(line.startswith("Projections of different channels") and words in line for line in says) == is_reported
    assert (words in report.report(Atlas(root), catalog.find(root), 1)) == is_reported


def test_layers_of_one_check_share_a_line(tmp_path, monkeypatch):
    root = Root(str(tmp_path))
    publish(root)
    instrumented.sanity(root)
    atlas, scan = Atlas(root), catalog.find(root)
    check = catalog.find(root, "randomised", None)
    floors = {"relu1": 0.95, "relu2": 0.91, "fc": 0.2}
    monkeypatch.setattr(parts, "checks_of", lambda *_: iter([check]))
    monkeypatch.setattr(atlas, "floor", lambda _, layer, __: floors[layer])
    [line] = parts.says_alike(atlas, scan, floors)
    assert (
        "nearly the same in relu1 and relu2: check randomised found median rank correlations of 0.95 and 0.91" in line
    )
    assert parts.join_words(["a", "b", "c"]) == "a, b and c"


def test_the_newest_check_decides_and_a_damaged_one_is_left_out(tmp_path):
    root = Root(str(tmp_path))
    publish(root)
    instrumented.sanity(root, "old", floor=0.97)
    manifest = root.read("runs/old/manifest.json").replace(b"2026-11-25", b"2026-11-24")
    root.put("runs/old/manifest.json", manifest)
    instrumented.sanity(root, "new", floor=0.3)
    assert "found a median" not in atlas_of(root).get("/runs/first/layers/relu2/channels/4").text
    instrumented.sanity(root, "damaged", floor=0.97)
    next((tmp_path / "tables" / "sanity" / "run=damaged").glob("*.parquet")).unlink()
    manifest = root.read("runs/damaged/manifest.json").replace(b"2026-11-25", b"2026-11-26")
    root.put("runs/damaged/manifest.json", manifest)
    answer = atlas_of(root).get("/runs/first/layers/relu2/channels/4")
    assert answer.status_code == 200 and "found a median" not in answer.text


def test_the_sheet_and_the_report_show_curves_and_units(root):
    run = catalog.find(root, "randomised", None)
    drawn = np.asarray(boards.BOARDS[Kind.SANITY](run))
    assert (drawn == 128).all(-1).sum() > 2 * (
        3 * 3
    ) * 112 * 112  # two units: patches and projections are mid-grey here
    page = report.report(Atlas(root), run, 1)
    assert page.count("<polyline") == 3 * 6 and page.count("data:image/png") == 2 * (1 + 3 * 3) - 1


def test_where_nothing_can_be_compared_nothing_is_said(tmp_path):
    root = Root(str(tmp_path))
    instrumented.sanity(root, "darkened", dark=True)
    client = atlas_of(root)
    first, second = (unit["lines"] for unit in client.get("/runs/darkened.json").json()["units"])
    assert [cell["says"] for cell in first["gradient"]] == ["blank", "blank", ""]
    assert [cell["says"] for cell in second["deconvnet"]] == ["1.00 · 1.00", "none · 0.75", "0.50 · 0.50"]
    run = catalog.find(root, "darkened", None)
    texts = [client.get(path).text for path in ("/runs/darkened", "/runs/darkened/rows/0")]
    texts.append(report.report(Atlas(root), run, 1))
    assert all("<span>blank</span>" in text and "None" not in text for text in texts)
    assert (np.asarray(boards.BOARDS[Kind.SANITY](run)) == 128).all(-1).sum() > 2 * 3 * 3 * 112 * 112


def test_pictures_of_a_rows_columns_are_sent_or_said_to_be_missing(client):
    rows = client.get("/runs/randomised/rows/0.json").json()
    assert rows["found"]["method"] == "deconvnet"
    answer = client.get("/runs/randomised/rows/0/projection")
    with Image.open(io.BytesIO(answer.content)) as opened:
        assert opened.size == (20, 20)
    assert client.get("/runs/randomised/rows/0/patch").status_code == 404
