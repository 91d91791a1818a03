"""A run is what has a manifest."""

import json
import uuid

import pytest

from service.query import catalog
from tests.support.published import publish
from workers.errors import DamagedRun, QueryError, RunError
from workers.store.root import Root


def test_the_newest_run_is_the_one_published_last(root):
    publish(root, "zebra", "2026-11-23T02:00:00+00:00")
    publish(root, "ant", "2026-11-24T02:00:00+00:00")
    publish(root, "bee", "2026-11-22T02:00:00+00:00")
    assert catalog.find(root).run == "ant"
    assert [run.run for run in catalog.runs(root)] == ["ant", "zebra", "bee"]
    assert catalog.find(root, "bee").run == "bee"


def test_a_run_without_a_manifest_is_not_published(root):
    publish(root, "done")
    root.put("runs/started/spec.json", b"{}")
    root.put("tables/top/run=started/part-00000-0123.parquet", b"")
    assert [run.run for run in catalog.runs(root)] == ["done"]
    with pytest.raises(RunError, match=r"run 'started' is not published in .*; available: done"):
        catalog.find(root, "started")


def test_a_root_without_runs_says_so(root):
    with pytest.raises(RunError, match="has no published runs"):
        catalog.find(root)
    with pytest.raises(RunError, match=r"run 'x' is not published: root .* has no published runs"):
        catalog.find(root, "x")


@pytest.mark.parametrize("run", ["../first", "first/..", "", "First", "7"])
def test_what_is_no_run_id_never_becomes_a_path(root, run, monkeypatch):
    publish(root)
    asked: list[str] = []
    monkeypatch.setattr(Root, "exists", lambda _, rel: bool(asked.append(rel)))
    with pytest.raises(RunError, match="is not a valid run id"):
        catalog.find(root, run)
    assert asked == []


def test_a_run_tells_what_its_manifest_says(root):
    publish(root)
    run = catalog.find(root)
    assert (run.images, run.rejects, run.rejects_by_reason) == (12, 1, {"damaged": 1})
    assert (run.k, run.method, run.input_height, run.input_width) == (9, "deconvnet", 64, 64)
    assert run.layer("relu2").field_height == 35
    assert run.layer("fc").stride_y is None
    with pytest.raises(QueryError, match="run 'first' has no layer 'rleu2'; nearest: relu2"):
        run.layer("rleu2")


def test_a_root_in_memory_is_read_like_any_other():
    root = Root(f"memory://{uuid.uuid4().hex}")
    publish(root)
    assert catalog.find(root).run == "first"


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"version": 1}', b"\xff"])
def test_a_manifest_that_cannot_be_understood_is_named(root, data):
    root.put("runs/first/manifest.json", data)
    with pytest.raises(DamagedRun, match=r"run 'first': its manifest.json cannot be parsed"):
        catalog.find(root)


def test_a_manifest_of_another_version_is_refused(root):
    publish(root)
    told = json.loads(root.read("runs/first/manifest.json"))
    root.put("runs/first/manifest.json", json.dumps({**told, "version": 2}).encode())
    with pytest.raises(DamagedRun, match="has version 2; this Deconvoy reads version 1"):
        catalog.find(root)
