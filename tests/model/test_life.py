"""Runs in a simulated world: whatever fails, readers see all or nothing, and the same command ends in the same bytes."""

import io
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.model import oracle
from tests.model.faults import find_fault
from tests.model.life import LIVES, SHARDS, calm, live, make_corpus
from tests.model.mutations import MUTATIONS
from tests.model.world import LAYERS, End, K, World

NUMBERS = int(os.environ.get("DECONVOY_TEST_LIVES", "1000")) // LIVES
SHORT = 1
QUICK = ("the plan leaves out the last shard", "a merge loses a child")  # a few lives show them


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("photos"))


def table(corpus: Path, shard: int, name: str) -> list[dict]:
    files = [data for path, data in sorted(calm(corpus, shard).items()) if path.startswith(f"tables/{name}/")]
    return [row for data in files for row in pq.read_table(io.BytesIO(data)).to_pylist()]


@pytest.mark.parametrize("shard", SHARDS)
def test_the_calm_run_finds_what_the_shortest_way_finds(corpus, shard):
    expected = oracle.top(corpus, LAYERS, K)
    rows = table(corpus, shard, "top")
    keys = ("layer", "channel", "rank", "image_id", "y", "x")
    assert [tuple(row[key] for key in keys) for row in rows] == [row[:-1] for row in expected]
    assert [row["score"] for row in rows] == pytest.approx([row[-1] for row in expected], abs=1e-5)


@pytest.mark.parametrize("shard", SHARDS)
def test_the_calm_run_counts_what_the_shortest_way_counts(corpus, shard):
    expected, rows = oracle.statistics(corpus, LAYERS), table(corpus, shard, "units")
    assert len(rows) == len(expected)
    for row in rows:
        images, mean, largest, active = expected[row["layer"], row["channel"]]
        assert (row["images"], row["active_share"]) == (images, active)
        assert (row["mean"], row["max"]) == pytest.approx((mean, largest), abs=1e-5)


@pytest.mark.parametrize(
    "number", [pytest.param(number, marks=() if number < SHORT else pytest.mark.slow) for number in range(NUMBERS)]
)
def test_lives(corpus, number):
    live(corpus, number, LIVES)


def test_the_same_number_gives_the_same_lives(corpus, monkeypatch):
    traces: list[list[str]] = []
    attempt = World.attempt

    def recording(world: World, *given: Any, **more: Any) -> End:
        end = attempt(world, *given, **more)
        traces.append([end, *world.trace])
        return end

    monkeypatch.setattr(World, "attempt", recording)
    live(corpus, 1, 3)
    first = traces.copy()
    traces.clear()
    live(corpus, 1, 3)
    assert traces == first and len(first) > 3


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in MUTATIONS]
)
def test_a_fault_in_the_code_shows(corpus, name):
    lives, line = find_fault(corpus, name)
    assert lives and line
