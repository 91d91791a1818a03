"""Files that change while a run looks at them: each is a reject with its reason, the run publishes, and nothing is lost."""

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.run.outcome import Outcome
from jobs.scan import scan
from jobs.watch import SilentWatcher
from tests.support import corpora
from tests.support.in_process import here
from workers.corpus import isolate, manifest
from workers.corpus.isolate import Verdict
from workers.errors import Reason
from workers.spec.parts import CorpusSpec
from workers.spec.scan import make_spec
from workers.store.root import Root

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("two_cpus")]

IMAGES = 24


class Meddler(SilentWatcher):
    """Does something to the corpus when a phase begins for the first time."""

    def __init__(self, phase: str, deed: Callable[[], object]) -> None:
        self._phase, self._deed = phase, deed
        self.phases: list[str] = []

    def phase(self, name: str, total: int | None, unit: str) -> None:
        del total, unit
        if name == self._phase and name not in self.phases:
            self._deed()
        self.phases.append(name)


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    corpora.photos(tmp_path / "photos", range(IMAGES))
    return sorted(path for path in (tmp_path / "photos").rglob("*") if path.is_file())


def run_on_ray(folder: Path, root: Path, watch: SilentWatcher, run_id: str = "one") -> Outcome:
    values = {
        "run": run_id,
        "root": str(root),
        "model": {"source": "deconvoy://zfnet-mini"},
        "corpus": {"source": str(folder)},
        "scan": {"layers": ["relu1", "relu5"], "batch": 4, "shard": 8, "k": 3, "max_reject_share": 0.5},
        "resources": {"actors": 2, "device": "cpu"},
    }
    return scan(make_spec(values), watch)


run = here(run_on_ray)


def table(root: Path, name: str, run_id: str = "one"):
    return pq.read_table(root / "tables" / name / f"run={run_id}", partitioning=None).to_pylist()


def reasons(root: Path, run_id: str = "one") -> dict[str, str]:
    return {row["image_id"]: row["reason"] for row in table(root, "rejects", run_id)}


def replaced(path: Path) -> None:
    """Another file of the same size and, by its modification time, of the same age."""
    before, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink()
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    ("deed", "reason"), [(Path.unlink, "vanished"), pytest.param(replaced, "changed", marks=pytest.mark.slow)]
)
def test_a_file_that_goes_or_changes_before_it_is_read_is_a_reject(photos, tmp_path, deed, reason):
    folder, gone = tmp_path / "photos", [photos[3], photos[5], photos[17]]
    outcome = run_on_ray(folder, tmp_path / "root", Meddler("scan", lambda: [deed(path) for path in gone]))
    assert (outcome.images, outcome.rejects, outcome.exit_code) == (IMAGES - 3, 3, 0)
    assert reasons(tmp_path / "root") == {path.relative_to(folder).as_posix(): reason for path in gone}
    assert len(table(tmp_path / "root", "images")) == IMAGES - 3


def test_a_file_that_goes_between_the_passes_is_a_reject_and_the_tables_are_those_of_a_scan_without_it(
    photos, tmp_path
):
    folder = photos[0].parents[1]
    run(folder, tmp_path / "before", SilentWatcher())
    top = table(tmp_path / "before", "top")
    best = next(row["image_id"] for row in top if row["rank"] == 0 and row["score"] > 0)
    watch = Meddler("project", (folder / best).unlink)
    outcome = run(folder, tmp_path / "root", watch)
    assert watch.phases.count("scan") == 2  # it was planned again
    assert (outcome.images, outcome.rejects) == (IMAGES - 1, 1)
    assert reasons(tmp_path / "root") == {best: "vanished"}
    run(folder, tmp_path / "after", SilentWatcher())
    # Image indices differ by the one that the listing no longer has; scores, images and places are the same.
    wanted, ours = (
        [(r["layer"], r["channel"], r["rank"], r["score"], r["image_id"], r["y"], r["x"]) for r in table(root, "top")]
        for root in (tmp_path / "after", tmp_path / "root")
    )
    assert ours == wanted


def test_a_file_that_is_there_again_is_scanned_again(photos, tmp_path):
    folder, away = tmp_path / "photos", tmp_path / "away"
    run(folder, tmp_path / "root", Meddler("scan", lambda: photos[3].rename(away)))
    assert len(reasons(tmp_path / "root")) == 1
    away.rename(photos[3])
    run(folder, tmp_path / "root", SilentWatcher(), "two")
    assert reasons(tmp_path / "root", "two") == {}
    assert len(table(tmp_path / "root", "images", "two")) == IMAGES


def test_a_verdict_of_another_run_names_the_result_that_it_is_part_of(photos, tmp_path):
    """Else the reject would be reused by every later run: nothing in the result's name says that a file was left out."""
    folder, root = photos[0].parents[1], Root(str(tmp_path / "root"))

    def judged_by_another_run() -> None:
        with manifest.list_corpus(CorpusSpec(source=str(folder)), lambda _: None) as listing:
            row = manifest.rows(root, str(listing.latest(root)), 3, 4)[0]
        isolate.write_verdict(root, row, Verdict(Reason.VANISHED, isolate.STALE[Reason.VANISHED]))

    run(folder, tmp_path / "root", Meddler("scan", judged_by_another_run))
    assert list(reasons(tmp_path / "root").values()) == ["vanished"]
    run(folder, tmp_path / "root", SilentWatcher(), "two")  # the listing has the file as it was
    assert reasons(tmp_path / "root", "two") == {}
    assert len(table(tmp_path / "root", "images", "two")) == IMAGES
