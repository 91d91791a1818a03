"""The layout under a root is a promise to readers."""

from workers.store import paths


def test_the_layout_is_the_documented_one():
    assert paths.spec_path("r") == "runs/r/spec.json"
    assert paths.manifest_path("r") == f"{paths.run_folder('r')}/manifest.json" == "runs/r/manifest.json"
    assert paths.table_folder("top", "r") == "tables/top/run=r"
    assert paths.corpus_folder("0ff") == "corpora/0ff"
    assert paths.shard_path("c", "r") == f"{paths.shard_folder('c')}/r.parquet" == "shards/c/r.parquet"
    assert paths.model_path("f") == "models/f.safetensors"
    assert paths.verdict_path("k") == "verdicts/k.json"
