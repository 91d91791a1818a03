"""A compiled scan: the tables of an eager one but for rounding, and the same bytes whenever it runs."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.dry_run import dry_run
from jobs.scan import scan
from jobs.watch import SilentWatcher
from tests.support import corpora
from tests.support.engines import HAS_COMPILER
from workers.spec.scan import RunSpec, make_spec

pytestmark = [pytest.mark.skipif(not HAS_COMPILER, reason="no C++ compiler"), pytest.mark.usefixtures("without_ray")]
IMAGES = 21


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    corpora.photos(folder, range(IMAGES))
    return folder


def spec(photos: Path, root: Path, engine: str, **more: object) -> RunSpec:
    return make_spec(
        {
            "run": engine,
            "root": str(root),
            "model": {"source": "deconvoy://zfnet-mini"},
            "corpus": {"source": str(photos)},
            "scan": {"batch": 8, "shard": 8, "k": 3, "engine": engine, **more},
            "resources": {"device": "cpu", "threads": 1},
        }
    )


@pytest.fixture(scope="module")
def root(photos, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("root")
    for engine in ("eager", "compiled"):
        scan(spec(photos, root, engine), SilentWatcher())
    return root


def manifest(root: Path, run: str) -> dict:
    return json.loads((root / "runs" / run / "manifest.json").read_text())


def top(root: Path, run: str) -> list[dict]:
    return pq.read_table(root / "tables" / "top", filters=[("run", "==", run)]).to_pylist()


def test_top_rows_are_those_of_the_eager_engine(root):
    for eager, compiled in zip(top(root, "eager"), top(root, "compiled"), strict=True):
        assert compiled["score"] == pytest.approx(eager["score"], rel=1e-5, abs=1e-6)
        for name in ("layer", "channel", "rank", "image_id", "y", "x"):
            assert compiled[name] == eager[name]


def test_what_was_used_is_recorded(root):
    assert "engine" not in manifest(root, "eager")["versions"]
    assert manifest(root, "compiled")["versions"]["engine"].startswith("compiled, ")


def test_no_result_of_one_engine_is_used_for_the_other(root):
    assert not {*manifest(root, "eager")["shards"]} & {*manifest(root, "compiled")["shards"]}


def test_another_root_gives_the_same_bytes(photos, root, tmp_path):
    scan(spec(photos, tmp_path, "compiled"), SilentWatcher())
    one, two = (
        {name: [part["sha256"] for part in parts] for name, parts in manifest(where, "compiled")["tables"].items()}
        for where in (root, tmp_path)
    )
    assert one == two


def test_a_plan_knows_the_results_of_its_engine(photos, root):
    planned = dry_run(spec(photos, root, "compiled"))
    assert planned.engine.startswith("compiled, ") and planned.shards_done == planned.shards == 3
    other, auto = (
        made.model_copy(update={"run": "other"})
        for made in (spec(photos, root, "compiled", k=4), spec(photos, root, "auto"))
    )
    assert dry_run(other).shards_done == 0
    assert dry_run(auto).engine == "eager"
