"""Layers above a gate, and layers without projections, are marked wherever layers are shown."""

import json
import re
from html import unescape
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import deconvoy
from service.query import catalog, sql
from service.query.layers import read_layer
from service.query.marks import GATED, marks
from tests.support.asking import atlas_of
from tests.support.published import publish
from workers.store.root import Root

NEW = ["row_stride", "column_stride", "gated", "obstacle"]
BLOCKED = "No projections, because of sort: aten.sort has no downward step."


@pytest.fixture
def root(tmp_path) -> Root:
    root = Root(str(tmp_path))
    publish(root)
    return root


def make_older(folder: Path) -> None:
    """Turn the run into one that was published before its layers had marks."""
    path = folder / "runs" / "first" / "manifest.json"
    manifest = json.loads(path.read_text())
    for layer in manifest["layers"]:
        for name in ("gated", "obstacle"):
            layer.pop(name, None)
    for part in manifest["tables"]["units"]:
        file = folder / part["path"]
        pq.write_table(pq.read_table(file, partitioning=None).drop_columns(NEW), file)
        part["bytes"] = file.stat().st_size
    path.write_text(json.dumps(manifest))


def test_a_layer_without_peculiarities_has_no_marks():
    assert marks(False, "") == marks(None, None) == {}
    assert marks(True, "sort: aten.sort has no downward step") == {"gated": GATED, "no projections": BLOCKED}


def test_pages_and_their_twins_mark_layers_and_say_what_the_words_mean(root):
    client = atlas_of(root)
    run = {layer["name"]: layer for layer in client.get("/runs/first.json").json()["layers"]}
    assert [list(run[name]["marks"]) for name in ("relu1", "relu2", "relu3", "fc")] == [
        [],
        ["gated"],
        ["gated", "no projections"],
        [],
    ]
    assert (run["relu2"]["gated"], run["relu3"]["obstacle"][:5], run["fc"]["gated"]) == (True, "sort:", None)
    for path in ("/runs/first/layers/relu3", "/runs/first/layers/relu3/channels/1"):
        page, twin = unescape(client.get(path).text), client.get(f"{path}.json").json()
        assert twin["layer"]["marks"] == {"gated": GATED, "no projections": BLOCKED}
        assert GATED in twin["says"] and BLOCKED in twin["says"] and page.count(GATED) == 2
        assert re.findall(r"<abbr title=[^>]*>(.*?)</abbr>", page) == ["gated", "no projections"]
    assert "<abbr" not in client.get("/runs/first/layers/relu1").text


def test_the_rows_of_channels_carry_the_marks_of_their_layer(root):
    row = read_layer(catalog.find(root), "relu3").channels[0]
    assert (row.stride_y, row.row_stride, row.gated) == (16, 16.0, True)
    assert row.obstacle == "sort: aten.sort has no downward step"
    assert sql.ask(root, "SELECT DISTINCT layer FROM units WHERE gated ORDER BY 1").rows == (("relu2",), ("relu3",))


def test_a_run_from_before_the_marks_is_read_without_them(root, tmp_path):
    make_older(tmp_path)
    client = atlas_of(root)
    for path in ("/runs/first", "/runs/first/layers/relu3", "/runs/first/layers/relu3/channels/1"):
        assert client.get(path).status_code == 200 and "<abbr" not in client.get(path).text
    row = read_layer(catalog.find(root), "relu3").channels[0]
    assert (row.stride_y, row.row_stride, row.column_stride, row.gated, row.obstacle) == (16, None, None, None, None)
    assert deconvoy.open(tmp_path).run("first").layer("relu2").about.gated is None
    assert deconvoy.open(tmp_path).run("first").table("units").column("gated").null_count == 35
