"""What a long-lived service knows of published runs: read once, by one listing, and another run where it is another one."""

import json
import shutil
import time

import pytest

from service.atlas.atlas import Atlas
from service.query import listing
from service.query.listing import RunListing
from tests.support.asking import atlas_of
from tests.support.published import publish
from tests.support.slow_store import faults
from workers.errors import DamagedRun, RunError
from workers.store.root import Root


@pytest.fixture
def slow(tmp_path):
    """A root on a store that counts."""
    faults.forget()
    yield Root(f"slow://{tmp_path}")
    faults.latency_s = 0.0
    faults.recover()


@pytest.fixture
def _brief(monkeypatch):
    monkeypatch.setattr(listing, "RENEW_S", 0.05)
    monkeypatch.setattr(listing, "LIFE_S", 0.1)


def manifests(count: int, root: Root) -> None:
    publish(root)
    told = json.loads(root.read("runs/first/manifest.json"))
    for number in range(count):
        root.put(f"runs/r{number:03d}/manifest.json", json.dumps({**told, "run": f"r{number:03d}"}).encode())
    faults.forget()


def test_many_runs_are_one_listing_and_one_reading_each_however_often_they_are_asked_for(slow):
    manifests(300, slow)
    found = RunListing(slow)
    for _ in range(20):
        assert len(found.readable()[0]) == 301 and found.run("r007").run == "r007"
    assert faults.calls["cat"] == 301 and faults.calls["find"] <= 3 and set(faults.calls) == {"cat", "find"}


def test_pages_and_pictures_of_a_known_run_ask_the_store_for_nothing(slow):
    publish(slow)
    client = atlas_of(slow)
    paths = ["/runs/first/layers/relu1/channels/3", "/runs/first/layers/relu1/channels/3/wall/patch", "/runs/first"]
    paths += ["/runs/first/layers/relu1/channels/3/0/patch", "/runs/first/previews/1", "/search?q=relu"]
    paths += ["/runs/first/image?id=cat1/003.png", "/runs/first/layers/relu1", "/runs/first/label?name=cat"]
    for path in paths:
        assert client.get(path).status_code == 200
    faults.forget()
    for path in paths:
        assert client.get(path).status_code == 200
    assert set(faults.calls) <= {"find", "ls"} and sum(faults.calls.values()) <= 4  # what is renewed each second


def test_pictures_that_were_not_drawn_yet_cost_their_own_row_group_alone(slow):
    publish(slow)
    client = atlas_of(slow)
    client.get("/runs/first/layers/relu1/channels/0/wall/patch")
    faults.forget()
    assert client.get("/runs/first/layers/relu2/channels/0/wall/patch").status_code == 200
    read = {path.partition("tables/")[2].split("/")[0] for what, path in faults.paths if what == "range"}
    assert read == {"patches"}  # the copies of the same images are in memory
    assert "ls" not in faults.calls and "cat" not in faults.calls


@pytest.mark.usefixtures("_brief")
def test_a_run_that_is_removed_and_published_again_is_another_one(tmp_path):
    root = Root(str(tmp_path))
    publish(root, created="2026-11-23T02:00:00+00:00")
    client, atlas = atlas_of(root), Atlas(root)
    links = [client.get("/runs/first/layers/relu1.json").json()["channels"][0]["picture"]]
    assert client.get(links[0]).status_code == 200
    for folder in (tmp_path / "runs", tmp_path / "tables"):
        shutil.rmtree(folder)
    time.sleep(0.2)
    assert client.get("/runs/first").status_code == 404
    with pytest.raises(RunError, match="has no published runs"):
        atlas.run("first")
    publish(root, created="2026-11-24T02:00:00+00:00")
    time.sleep(0.2)
    links.append(client.get("/runs/first/layers/relu1.json").json()["channels"][0]["picture"])
    assert links[0] != links[1] and client.get(links[1]).status_code == 200
    assert atlas.run("first").created.startswith("2026-11-24")


def test_a_run_that_was_published_just_now_is_found_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "UNKNOWN_S", 0.0)
    root = Root(str(tmp_path))
    publish(root)
    found = RunListing(root)
    found.run("first")
    publish(root, "second")
    assert found.run("second").run == "second"


@pytest.mark.usefixtures("_brief")
def test_a_damaged_run_is_told_of_and_read_again_when_it_was_mended(tmp_path):
    root = Root(str(tmp_path))
    publish(root)
    right = root.read("runs/first/manifest.json")
    root.put("runs/first/manifest.json", b"{}")
    publish(root, "second")
    found = RunListing(root)
    assert [run.run for run in found.readable()[0]] == ["second"] and "cannot be parsed" in found.readable()[1]["first"]
    with pytest.raises(DamagedRun, match="cannot be parsed"):
        found.run("first")
    root.put("runs/first/manifest.json", right)
    time.sleep(0.2)
    assert found.run("first").run == "first"
    time.sleep(0.2)
    assert len(found.readable()[0]) == 2 and not found.readable()[1]


def test_a_manifest_of_many_shards_is_read_once(slow):
    publish(slow)
    told = json.loads(slow.read("runs/first/manifest.json"))
    shards = [f"shards/{'0' * 16}/{number:064x}.parquet" for number in range(100_000)]
    slow.put("runs/first/manifest.json", json.dumps({**told, "shards": shards}).encode())
    client = atlas_of(slow)
    client.get("/runs/first/layers/relu1/channels/3/wall/patch")
    faults.forget()
    started = time.perf_counter()
    for channel in range(20):
        for kind in ("patch", "projection"):
            assert client.get(f"/runs/first/layers/relu1/channels/{channel}/wall/{kind}").status_code == 200
    assert "cat" not in faults.calls
    assert (time.perf_counter() - started) / 40 < 0.1


@pytest.mark.usefixtures("_brief")
def test_what_is_in_memory_is_served_while_the_store_hangs(slow, monkeypatch):
    monkeypatch.setattr(listing, "PATIENCE_S", 0.2)
    publish(slow)
    found = RunListing(slow)
    found.run("first")
    time.sleep(0.2)
    with faults.hung():
        started = time.monotonic()
        assert [found.run("first").run for _ in range(20)] == ["first"] * 20
        assert time.monotonic() - started < 1
