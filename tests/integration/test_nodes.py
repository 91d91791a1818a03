"""Nodes that come and go under a scan: a new one's actor does shards, a dead one's shard is done by another, the same bytes."""

import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from jobs.scan import scan
from jobs.watch import SilentWatcher
from tests.support import corpora
from tests.support.in_process import jobs_run_here
from workers.spec.scan import make_spec

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]
PHOTOS, SHARD = 160, 8


@pytest.fixture
def cluster(monkeypatch):
    """One node with one CPU, in a temporary folder of its own, which is gone afterwards whatever happens."""
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        head = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
        found = Cluster(initialize_head=True, head_node_args=head)
        try:
            ray.init(address=found.address, log_to_driver=False)
            yield found
        finally:
            ray.shutdown()
            found.shutdown()


class Operator(SilentWatcher):
    """Adds a node when the first shard is done, holds the others up until its actor has done one, then removes it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._node: Any = None
        self.done: list[tuple[str, str]] = []
        self.said: list[str] = []

    @property
    def nodes(self) -> list[str]:
        """Who has done shards, the first one first."""
        return list(dict.fromkeys(node for node, _ in self.done))

    def note(self, line: str, **about: Any) -> None:
        assert line.endswith("is done")
        self.done.append((about["node_id"], about.get("shard", "")))

    def say(self, line: str, **about: object) -> None:
        del about
        self.said.append(line)

    def advance(self, done: int, rejects: int = 0) -> None:
        del done, rejects
        if not self.done:
            return
        if self._node is None:
            self._node = self._cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
        elif len(self.nodes) < 2:
            time.sleep(2)  # the pool gives out one shard meanwhile
        elif self._node:
            self._cluster.remove_node(self._node, allow_graceful=False)
            self._node = False


def values(place: Path, root: str) -> dict[str, Any]:
    return {
        "run": "one",
        "root": str(place / root),
        "model": {"source": "deconvoy://zfnet-mini"},
        "corpus": {"source": str(place / "photos")},
        "scan": {"layers": ["relu2"], "batch": SHARD, "shard": SHARD, "k": 3},
        "resources": {"device": "cpu"},
    }


def tables(root: Path) -> dict[str, bytes]:
    found = root.glob("tables/*/run=one/*.parquet")
    return {f"{path.parent.parent.name}/{path.name}": path.read_bytes() for path in found if "runs" not in path.parts}


def test_a_node_that_comes_does_shards_and_one_that_dies_costs_none(tmp_path, cluster, monkeypatch):
    monkeypatch.setattr("jobs.ray.pool.GROW_EVERY_S", 0.2)
    monkeypatch.setattr("jobs.ray.pool.PATIENCE_S", 1.0)
    corpora.photos(tmp_path / "photos", range(PHOTOS))
    operator = Operator(cluster)
    outcome = scan(make_spec(values(tmp_path, "moved")), operator)
    assert (outcome.images, outcome.shards_run) == (PHOTOS, PHOTOS // SHARD)
    assert "the cluster has grown: 2 actors" in operator.said
    assert any(line.startswith("lost an actor on") and "at shard" in line for line in operator.said), operator.said
    assert len(operator.nodes) == 2 and operator.done[-1][0] == operator.nodes[0]
    with jobs_run_here():
        scan(make_spec(values(tmp_path, "calm")), SilentWatcher())
    assert tables(tmp_path / "moved") == tables(tmp_path / "calm") and len(tables(tmp_path / "calm")) > 5
