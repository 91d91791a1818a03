"""What pages cost a store that is far away: a page asks it no more often where there are ten times as many runs."""

from collections import Counter
from collections.abc import Mapping

import pytest
from fastapi.testclient import TestClient

from service.query import listing
from tests.support import instrumented
from tests.support.asking import atlas_of
from tests.support.published import publish
from tests.support.slow_store import faults
from workers.kinds import Kind
from workers.store.root import Root

FEW, MANY = 3, 30
# The kinds that pages of the first scan look for.
BESIDE = (publish, instrumented.occlude, instrumented.sanity, instrumented.concepts)
KINDS = tuple(kind for kind in Kind if kind is not Kind.SCAN)
PAGES = [
    "/",
    "/limits",
    "/compare?a=first&b=second",
    "/compare?a=first&b=second&match=overlap",
    "/runs/first",
    "/runs/first/layers/relu2",
    "/runs/first/layers/relu2/channels/3",
    "/runs/first/label?name=cat",
    *(f"/runs/own-{kind}{page}" for kind in KINDS for page in ("", "/rows/1")),
    "/runs/own-evolve/layers/relu2",
]
# These look into the tables of all runs. What they need of them stays in memory, so that the next one finds it there.
LEARNING = [
    ("/runs/first/image?id=cat1/001.png", "/runs/first/image?id=cat0/004.png"),
    ("/runs/own-occlude/image?id=cat0/000.png", "/runs/own-occlude/image?id=cat1/001.png"),
    ("/search?q=relu1", "/search?q=cat0"),
]


def served(folder: str, count: int) -> TestClient:
    """The atlas of a root with a run of each kind, and so many more of those that other pages look for."""
    root = Root(f"slow://{folder}")
    publish(root)
    publish(root, "second")
    for kind in KINDS:
        getattr(instrumented, kind)(root, run=f"own-{kind}")
    for number in range(count):
        BESIDE[number % len(BESIDE)](root, run=f"beside-{number}")
    faults.forget()
    return atlas_of(root)


def calls(client: TestClient, path: str) -> Mapping[str, int]:
    """What a page asks the store for; keys are listed by time, whatever is asked."""
    faults.forget()
    assert client.get(path).status_code == 200, path
    return Counter(what for what, place in faults.paths if not place.endswith("/keys"))


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """Two services: of few runs and of many, which list them once."""
    for name in ("RENEW_S", "LIFE_S"):
        monkeypatch.setattr(listing, name, 1000.0)
    yield [served(f"{tmp_path}/{count}", count) for count in (FEW, MANY)]
    faults.forget()


def test_a_page_asks_the_store_as_often_where_there_are_ten_times_as_many_runs(pair):
    few, many = pair
    listed = [calls(client, "/") for client in pair]
    assert listed[1]["cat"] - listed[0]["cat"] == MANY - FEW and listed[0]["find"] == listed[1]["find"] == 1
    for path in PAGES:
        assert calls(few, path) == calls(many, path), path


@pytest.mark.parametrize(("first", "next_"), LEARNING)
def test_a_page_that_looks_into_all_runs_reads_each_once(pair, first, next_):
    for client in pair:
        calls(client, first)
    few, many = (calls(client, next_) for client in pair)
    assert few == many


def test_every_manifest_is_read_once_whatever_is_asked_for(pair):
    _, many = pair
    faults.forget()
    for path in (*PAGES, *(path for paths in LEARNING for path in paths)):
        assert many.get(path).status_code == 200, path
    manifests = Counter(path for what, path in faults.paths if what == "cat" and path.endswith("manifest.json"))
    assert len(manifests) == MANY + len(KINDS) + 2 and set(manifests.values()) == {1}
