"""Pages of synthetic images, and the pages of channels that show them."""

from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from service.atlas.instruments.synthesise import _curve
from service.query import catalog
from service.query.syntheses import is_comparable
from tests.support import instrumented
from tests.support.asking import app_of, client_of
from tests.support.published import CHANNELS, DEAD, publish
from workers.store.facts import PreprocessingFacts
from workers.store.root import Root

OTHER = PreprocessingFacts(resize=9, crop=9, mean=(0.5,), std=(0.5,), interpolation="bilinear")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Root:
    root = Root(str(tmp_path_factory.mktemp("root")))
    publish(root)
    instrumented.synthesise(root)
    return root


@pytest.fixture
def client(root, cluster, clock) -> TestClient:
    return client_of(app_of(root, cluster, clock))


def test_the_page_of_a_channel_shows_its_newest_synthetic_image(client):
    page = client.get("/runs/first/layers/relu2/channels/3.json").json()
    shown = page["synthesis"]
    assert (shown["run"], shown["score"]) == ("dreamt", 40.0)
    row = client.get(f"{shown['href']}.json").json()
    assert (row["found"]["layer"], row["found"]["channel"], row["found"]["score"]) == ("relu2", 3, 40.0)
    assert row["found"]["pictures"]["synthesis"] == shown["picture"]
    assert client.get(shown["picture"]).headers["content-type"].startswith("image/")
    text = client.get("/runs/first/layers/relu2/channels/3").text
    assert "largest activation in it is 40; in this scan" in text and shown["picture"] in text


def test_a_channel_without_one_shows_none(client):
    for layer, channel in (("relu2", DEAD), ("fc", 0)):
        assert client.get(f"/runs/first/layers/{layer}/channels/{channel}.json").json()["synthesis"] is None
        assert "synthetic" not in client.get(f"/runs/first/layers/{layer}/channels/{channel}").text


def test_the_page_of_a_synthetic_image_links_the_channel_in_scans_of_its_network(client):
    page = client.get(f"/runs/dreamt/rows/{CHANNELS['relu1'] + 3}.json").json()
    [scan] = page["scans"]
    channel = client.get(f"{scan['href']}.json").json()
    assert (channel["run"]["run"], channel["channel"], channel["layer"]["name"]) == ("first", 3, "relu2")
    assert client.get(scan["picture"]).status_code == 200
    points = [tuple(map(float, point.split(","))) for point in page["curve"].split()]
    assert points == [(0.0, 100.0), (106.7, 66.7), (213.3, 0.0), (320.0, 33.3)] and page["top"] == 1.5


def test_an_inactive_channel_has_no_image_and_says_so(client):
    number = CHANNELS["relu1"] + DEAD
    page = client.get(f"/runs/dreamt/rows/{number}.json").json()
    assert page["found"]["status"] == "inactive" and not page["found"]["pictures"]
    assert "Its final image does not activate it." in client.get(f"/runs/dreamt/rows/{number}").text
    assert "inactive" in client.get("/runs/dreamt").text


def test_a_damaged_run_is_left_out_and_so_is_one_that_prepares_images_in_another_way(tmp_path, cluster, clock):
    root = Root(str(tmp_path))
    publish(root)
    instrumented.synthesise(root)
    client = client_of(app_of(root, cluster, clock))
    path = "/runs/first/layers/relu2/channels/3.json"
    [run] = [run for run in catalog.runs(root) if run.run == "dreamt"]
    scan = catalog.find(root, "first")
    assert is_comparable(run, scan) and not is_comparable(run, replace(scan, preprocessing=OTHER))
    assert client.get(path).json()["synthesis"]
    [part] = (tmp_path / "tables" / "syntheses" / "run=dreamt").iterdir()
    part.write_bytes(bytes(part.stat().st_size))
    again = client_of(app_of(root, cluster, clock)).get(path)
    assert again.status_code == 200 and again.json()["synthesis"] is None


@pytest.mark.parametrize(
    ("curve", "bottom", "top", "points"),
    [
        ([-2.0, 0.0, 2.0], -2.0, 2.0, "0.0,100.0 160.0,50.0 320.0,0.0"),
        ([-4.0, -1.0], -4.0, 0.0, "0.0,100.0 320.0,25.0"),
        ([0.0], 0.0, 0.0, "0.0,0.0"),
    ],
)
def test_a_curve_below_zero_is_drawn_below_zero(curve, bottom, top, points):
    assert _curve(curve, bottom, top) == points


def test_a_long_curve_is_thinned():
    assert 320 <= len(_curve([float(n) for n in range(100_000)], 0.0, 99_999.0).split()) <= 330


def test_the_run_lists_its_layers_with_an_address_each(client):
    page = client.get("/runs/dreamt.json").json()
    assert [(link["run"], link["href"]) for link in page["layers"]] == [
        ("relu1", "/runs/dreamt#relu1"),
        ("relu2", "/runs/dreamt#relu2"),
    ]
    assert len(page["found"]) == CHANNELS["relu1"] + CHANNELS["relu2"]
    text = client.get("/runs/dreamt").text
    assert 'id="relu1"' in text and 'id="relu2"' in text and "images" not in page["run"]["name"]
