"""Runs that wait for a cluster on a real Ray head of two CPUs: as many as one likes, in order, and none holds up another."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.clusters import RayCluster
from service.submissions import Submissions
from tests.support import corpora
from tests.support.heads import Head, environment
from workers.store.root import Root

pytestmark = [pytest.mark.ray]
MIB = 1 << 20


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    corpora.photos(folder, range(12))
    return folder


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        found = Head(Path(folder), cpus=2)
        yield found
        found.kill()


@pytest.fixture
def submissions(tmp_path, head, monkeypatch) -> Submissions:
    for name, value in environment().items():
        if name.startswith("RAY_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", environment()["PATH"])
    return Submissions(Root(str(tmp_path / "atlas")), RayCluster(head.address))


def spec(photos: Path, run: str, **resources: object) -> dict[str, object]:
    return {
        "run": run, "model": {"source": "deconvoy://zfnet-mini"}, "corpus": {"source": str(photos)},
        "scan": {"layers": ["relu2"], "batch": 4, "shard": 4}, "resources": {"device": "cpu", **resources},
    }  # fmt: skip


def watch(submissions: Submissions, runs: list[str], patience_s: float) -> dict[str, list[tuple[str, str]]]:
    """Every state of the runs, and what they wait for, until all have ended."""
    seen: dict[str, list[tuple[str, str]]] = {run: [] for run in runs}
    until = time.monotonic() + patience_s
    while any(not seen[run] or seen[run][-1][0] in ("pending", "running") for run in runs):
        assert time.monotonic() < until, {run: states[-1:] for run, states in seen.items()}
        for run in runs:
            found = submissions.status(run)
            state = (str(found.state), found.waits)
            if seen[run][-1:] != [state]:
                seen[run].append(state)
        time.sleep(0.5)
    return seen
