"""What instruments found, as queries and pages: rows by their place, maps, curves, an image's rows of all runs."""

import io
import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.atlas import report
from service.atlas.atlas import Atlas
from service.atlas.instruments.registry import INSTRUMENTS
from service.query import catalog, findings
from tests.support import instrumented
from tests.support.asking import atlas_of
from tests.support.instrumented import COLUMNS, KERNELS, LAYERS, RESTARTS, ROWS
from tests.support.published import commit, names, publish
from workers.errors import QueryError
from workers.store.root import Root


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Root:
    root = Root(str(tmp_path_factory.mktemp("root")))
    publish(root)
    instrumented.occlude(root)
    instrumented.invert(root)
    instrumented.filters(root)
    return root


@pytest.fixture(scope="module")
def client(root) -> TestClient:
    return atlas_of(root)


def test_rows_come_in_the_tables_order_and_one_of_them_with_its_lists(root):
    run = catalog.find(root, "inverted", None)
    rows = findings.findings(run)
    assert [row.number for row in rows] == list(range(2 * len(LAYERS) * RESTARTS))
    keys = [(row.values["image_index"], row.values["layer_index"], row.values["restart"]) for row in rows]
    assert keys == sorted(keys)
    for row in rows:
        one = findings.finding(run, row.number)
        assert {name: one.values[name] for name in row.values} == row.values
        assert one.pictures == row.pictures == ("inversion", "original")
    assert findings.finding(run, 0).values["error_curve"] == pytest.approx([1.0, 0.1, 0.01])
    with pytest.raises(QueryError, match="has no row 8 in its table 'inversions'"):
        findings.finding(run, 8)
    with pytest.raises(QueryError, match="is of kind 'scan', not an instrument"):
        findings.findings(catalog.find(root, "first"))


def test_an_images_rows_are_those_of_its_own_corpus_with_their_place_in_the_table(root):
    name = names()[1][0]
    found = list(findings.of_image(catalog.runs(root), "/photos", name))
    assert [(row.run.run, row.number) for row in found] == [
        ("inverted", 4), ("inverted", 5), ("inverted", 6), ("inverted", 7), ("covered", 1),
    ]  # fmt: skip
    assert {row.values["image_id"] for row in found} == {name}
    assert not list(findings.of_image(catalog.runs(root), "/elsewhere", name))


@pytest.fixture(scope="module")
def every_root(tmp_path_factory) -> Root:
    """One run of each kind."""
    root = Root(str(tmp_path_factory.mktemp("every")))
    publish(root)
    for job in findings.TABLE_OF:
        getattr(instrumented, job)(root, run=job)
    return root


@pytest.fixture(scope="module")
def every(every_root) -> TestClient:
    return atlas_of(every_root)


@pytest.mark.parametrize("job", findings.TABLE_OF)
def test_a_page_beyond_the_end_is_the_last_one(every, job):
    last = every.get(f"/runs/{job}.json").json()
    while last.get("next"):
        path, _, query = last["next"].partition("?")
        last = every.get(f"{path}.json?{query}").json()
    for path in (f"/runs/{job}", f"/runs/{job}.json"):
        beyond = every.get(path, params={"start": 99})
        assert beyond.status_code == 200 and (not path.endswith(".json") or beyond.json() == last)


@pytest.mark.parametrize("job", findings.TABLE_OF)
def test_a_report_tells_once_how_many_rows_it_leaves_out_and_reads_none_for_a_figure(every_root, job, monkeypatch):
    run = catalog.find(every_root, job, None)
    count = sum(part.rows for part in run.tables[findings.TABLE_OF[job].name])
    assert count == len(findings.findings(run))
    if job in {kind for kind, each in INSTRUMENTS.items() if each.report_figure}:
        monkeypatch.delattr(report, "findings")
    told = report.report(Atlas(every_root), run, 1).count(f"<p>{count:,} ")
    assert told == (0 if INSTRUMENTS[job].report_pictures else 1)  # those of few rows show them all


def test_the_strips_of_a_layer_end_with_their_last_page_too(every):
    first = every.get("/runs/evolve/layers/relu1.json").json()
    assert first["kind"] == "strips" and first["strips"]
    assert (
        every.get("/runs/evolve/layers/relu1.json", params={"start": 9999, "sort": "channel"}).json()["strips"][-1][
            "channel"
        ]
        == 19
    )


@pytest.mark.parametrize("job", ["invariance", "sanity"])
def test_a_run_whose_images_were_all_rejects_has_a_page(root, job):
    commit(root, f"empty-{job}", job, {"images": [], "rejects": [], findings.TABLE_OF[job].name: []})
    client = atlas_of(root)
    assert client.get(f"/runs/empty-{job}").status_code == 200
    assert client.get(f"/runs/empty-{job}.json").json()["total"] == 0


def test_an_occlusion_has_a_map_with_one_pixel_for_each_position(client):
    page = client.get("/runs/covered/rows/0.json").json()
    assert page["kind"] == "occlusion" and len(page["found"]["activation_map"]) == ROWS * COLUMNS
    maps = {name: _pixels(client.get(href).content) for name, href in page["maps"].items()}
    assert {name: pixels.shape[:2] for name, pixels in maps.items()} == dict.fromkeys(maps, (ROWS, COLUMNS))
    colours = maps["activation_map"].reshape(-1, 3).astype(int)
    redder = colours[:, 0] > colours[:, 2]
    assert redder.tolist() == [p >= ROWS * COLUMNS // 2 for p in range(ROWS * COLUMNS)]  # blue is low, red high
    two = maps["class_map"].reshape(-1, 3)
    assert len(np.unique(two, axis=0)) == 2 and (two[0] == two[2]).all() and (two[0] != two[1]).any()


def test_inversions_stand_in_rows_of_images_and_columns_of_layers(client):
    page = client.get("/runs/inverted.json").json()
    assert page["layers"] == list(LAYERS) and len(page["images"]) == 2
    for image in page["images"]:
        assert [line["restart"] for line in image["restarts"]] == list(range(RESTARTS))
        assert [[each["layer"] for each in line["found"]] for line in image["restarts"]] == [list(LAYERS)] * RESTARTS
    text = client.get("/runs/inverted").text
    assert text.count("diverged") == 2


def test_an_inversions_curve_falls_in_its_figure(client):
    page = client.get("/runs/inverted/rows/0.json").json()
    points = [tuple(map(float, point.split(","))) for point in page["curve"].split()]
    assert points == [(0.0, 20.0), (160.0, 40.0), (320.0, 60.0)]  # 1, 0.1 and 0.01 on a scale from 10 to 1e-4
    assert page["settings"] == {"rate": 0.004, "channels": None}
    assert not client.get("/runs/inverted/rows/3.json").json()["curve"]  # diverged


def test_kernels_stand_on_a_wall_the_dead_and_copied_ones_marked(client):
    text = client.get("/runs/kernels").text
    assert text.count("<li>") + text.count("<li class") == KERNELS and "copy of 0" in text and 'class="dead"' in text
    assert client.get("/runs/kernels/rows/1").status_code == 200


def test_an_images_page_shows_what_instruments_found_of_it(client):
    page = client.get("/runs/first/image.json", params={"id": names()[0][0]}).json()
    assert [each["run"] for each in page["instruments"]] == ["inverted"] * 4 + ["covered"]
    for each in page["instruments"]:
        assert client.get(each["href"]).status_code == client.get(each["run_href"]).status_code == 200
    of_instrument = client.get("/runs/covered/image", params={"id": names()[0][0]})
    assert of_instrument.status_code == 200


def test_many_images_are_turned_over_in_pages(tmp_path):
    root, many = Root(str(tmp_path)), [(f"{n:03d}.png", "cat") for n in range(95)]
    instrumented.occlude(root, named=many)
    client = atlas_of(root)
    seen, href = [], "/runs/covered"
    while href:
        page = client.get(href.replace("?", ".json?") if "?" in href else f"{href}.json").json()
        seen += [each["image_id"] for each in page["found"]]
        assert client.get(href).status_code == 200
        href = page["next"]
    assert seen == [name for name, _ in many]


def test_a_run_of_an_older_deconvoy_without_a_column_is_shown_without_it(tmp_path):
    root = Root(str(tmp_path))
    instrumented.occlude(root)
    [part] = (tmp_path / "tables" / "occlusions" / "run=covered").glob("*.parquet")
    whole = pq.read_table(part, partitioning=None)
    pq.write_table(whole.drop_columns(["original", "fill"]), part)
    path = tmp_path / "runs" / "covered" / "manifest.json"
    told = json.loads(path.read_text())
    told["tables"]["occlusions"][0]["bytes"] = part.stat().st_size
    path.write_text(json.dumps(told))
    client = atlas_of(root)
    page = client.get("/runs/covered/rows/0.json").json()["found"]
    assert "original" not in page["pictures"] and page["fill"] is None and "panel_image" in page["pictures"]
    assert client.get("/runs/covered/rows/0").status_code == client.get("/runs/covered").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/runs/covered/rows/99", "/runs/covered/rows/one", "/runs/covered/rows/0/uri", "/runs/first/rows/0",
        "/runs/covered/rows/99999999999999999999", "/runs/covered?start=-1", "/runs/inverted/rows/0/activation_map",
        "/runs/first/label?name=dog",
    ],
)  # fmt: skip
def test_what_is_not_there_is_said(client, path):
    answer = client.get(path)
    assert answer.status_code == 404 and re.search("no |is not a whole number|not an instrument", answer.text)


def _pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as opened:
        return np.asarray(opened.convert("RGB"))
