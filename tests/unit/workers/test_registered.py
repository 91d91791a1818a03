"""A source and a family that are registered are all that a scan needs to know of them: the first pass without Ray."""

import pytest

from jobs.run import plan
from tests.support import benchmarking
from tests.unit.workers.models.families.test_registry import TOY, ToyFamily
from tests.unit.workers.sources.test_registry import COLOURS, SCHEME, ListSource, write
from workers.actors import device
from workers.actors.scan import ScanWorker
from workers.actors.shard import Shard
from workers.models.families import registry as models
from workers.sources import registry as sources
from workers.spec import families
from workers.store import rows
from workers.store.root import Root


def test_a_scan_runs_with_a_source_and_a_family_of_one_line_each(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "SOURCES", (ListSource(), *sources.SOURCES))
    monkeypatch.setattr(models, "FAMILIES", (*models.FAMILIES, ToyFamily()))
    monkeypatch.setattr(families, "SCHEMES", (*families.SCHEMES, TOY))
    write(tmp_path / "images.json")
    job, _ = benchmarking.prepared(
        "toy://stripes", f"{SCHEME}{tmp_path}/images.json", tmp_path, 32, layers=["1"], k=2, distinct="none"
    )
    root = Root(job.spec.root)
    assert device.check(job, root).decoder.startswith("pillow")
    shard = plan.rename_result(root, Shard(0, len(COLOURS), job.manifest, "shards/test/a.parquet"))
    ScanWorker(job).run(shard)
    [row] = rows.read_table(root, shard.result).to_pylist()
    assert len(row["images"]) == len(COLOURS) and not row["rejects"]
    assert pytest.approx(row["images"][0]["width"]) == 40
