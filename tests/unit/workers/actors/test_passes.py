"""Both passes as plain classes, without Ray: stale files, previews, and the same bytes whatever the threads."""

import hashlib
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from PIL import Image

from jobs.project import groups
from jobs.run import plan
from tests.support import benchmarking
from workers.actors import device, single
from workers.actors.evolve import EvolveWorker
from workers.actors.project import ProjectWorker
from workers.actors.reports import ShardReport
from workers.actors.scan import ScanWorker, ShardScan
from workers.actors.shard import CheckpointBatch, CheckpointShard, Shard, ShardBatch
from workers.core.topk import Rows
from workers.corpus import isolate, manifest
from workers.corpus.decode import decode
from workers.corpus.isolate import Verdict
from workers.errors import OtherVerdicts, ReadError, Reason, StaleImage, StoreError
from workers.pictures import encode
from workers.spec.parts import LimitsSpec
from workers.store import rows
from workers.store.root import Root


@pytest.fixture
def corpus(tmp_path) -> Path:
    draw = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(6):
        pixels = draw.integers(0, 256, (400 + 30 * number, 500, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png", compress_level=1)
    return tmp_path / "photos"


def prepared(corpus: Path, scratch: Path):
    job, _ = benchmarking.prepared(
        "deconvoy://zfnet-mini", str(corpus), scratch, 32, layers=["relu1"], k=2, distinct="none"
    )
    return job, Root(job.spec.root)


def shard_of(job, root: Root) -> Shard:
    """All images, named by the verdicts that are known now."""
    return plan.rename_result(root, Shard(0, 6, job.manifest, "shards/test/a.parquet"))


def scan_of_one(job, shard: Shard) -> None:
    ScanWorker(job).run(shard)


def scan_of_checkpoints(job, shard: Shard) -> None:
    EvolveWorker([job]).run(CheckpointBatch((CheckpointShard(**vars(shard), checkpoint=0),)))


def look_at_one(job, shard: Shard) -> None:
    root = Root(job.spec.root)
    found = single.read(job, root, shard)
    root.put(shard.result, b"of one image" if found.pictures else b"of none")


@pytest.mark.parametrize(("run", "stop"), [(scan_of_one, 6), (scan_of_checkpoints, 6), (look_at_one, 1)])
def test_a_result_is_made_with_no_other_verdicts_than_those_it_is_named_by(corpus, tmp_path, run, stop):
    """Another run may record a verdict, or forget one, after the shard was named: a reject would be reused for ever."""
    job, root = prepared(corpus, tmp_path)
    [row] = manifest.rows(root, job.manifest, 0, 1)
    before = plan.rename_result(root, Shard(0, stop, job.manifest, "shards/test/a.parquet"))
    isolate.write_verdict(root, row, Verdict(Reason.VANISHED, "the file was listed but no longer exists"))
    with pytest.raises(OtherVerdicts, match=f"images 0 to {stop}: verdicts have changed since {before.result}"):
        run(job, before)
    assert not root.files("shards/test")
    after = plan.rename_result(root, before)
    run(job, after)
    assert set(root.files("shards/test")) == {after.result.rpartition("/")[2]} and after.result != before.result
    [name] = root.files("verdicts")
    root.delete(f"verdicts/{name}")
    with pytest.raises(OtherVerdicts):
        run(job, after)
    run(job, before)
    assert root.read(before.result) != root.read(after.result)


def test_a_file_that_vanished_stops_its_shard_and_is_a_reject_once_that_is_known(corpus, tmp_path):
    job, root = prepared(corpus, tmp_path)
    (corpus / "2.png").unlink()
    worker, shard = ScanWorker(job), shard_of(job, root)
    with pytest.raises(StaleImage, match=r"image 2: .*2.png was listed but no longer exists"):
        worker.run(shard)
    listed = manifest.rows(root, job.manifest, 0, 6)
    for index, verdict in isolate.find_stale(listed).items():
        isolate.write_verdict(root, listed[index], verdict)
    report = worker.run(plan.rename_result(root, shard))
    assert isinstance(report, ShardReport)
    assert (report.images, report.rejects) == (5, {"vanished": 1})


def shards_of(job, root: Root, size: int) -> list[Shard]:
    """All images in shards of a size, each named by the verdicts that are known now."""
    starts = range(0, 6, size)
    return [
        plan.rename_result(root, Shard(start, min(start + size, 6), job.manifest, f"shards/test/{start}.parquet"))
        for start in starts
    ]


def in_pairs(corpus: Path, scratch: Path):
    """A job with batches of two, and its shards of two images; one of the images is a reject."""
    (corpus / "3.png").write_bytes(b"no image")
    job, _ = benchmarking.prepared(
        "deconvoy://zfnet-mini", str(corpus), scratch, 2, layers=["relu1"], k=2, distinct="none", batch=2
    )
    root = Root(job.spec.root)
    return job, root, shards_of(job, root, 2)


@pytest.mark.parametrize("numbers", [(0, 1, 2), (0, 2), (2,)])
def test_shards_that_run_together_give_the_results_that_each_gives_alone(corpus, tmp_path, numbers):
    job, root, shards = in_pairs(corpus, tmp_path)
    worker, asked = ScanWorker(job), [shards[number] for number in numbers]
    alone: list[bytes] = []
    reports: list[Any] = []
    for shard in asked:
        reports.append(worker.run(shard))
        alone.append(root.read(shard.result))
        root.delete(shard.result)
    report: Any = worker.run(ShardBatch(tuple(asked)))
    assert [root.read(shard.result) for shard in asked] == alone and len(set(alone)) == len(asked)
    assert report.images == sum(each.images for each in reports) == worker.done - (1 in numbers)
    assert report.rejects == ({"not_an_image": 1} if 1 in numbers else {})


def test_a_result_is_written_while_the_next_shard_is_scanned_and_only_one_waits(corpus, tmp_path, monkeypatch):
    job, root, shards = in_pairs(corpus, tmp_path)
    worker, scanned, most = ScanWorker(job), [threading.Event() for _ in shards], []
    take, put = ShardScan.take, worker.root.put

    def observed(scan, batch):
        number = batch.records[0].image_index // 2
        scanned[number].set()
        most.append(number - len(root.files("shards/test")))
        take(scan, batch)

    def late(path: str, data: bytes) -> None:
        number = next(number for number, shard in enumerate(shards) if shard.result == path)
        assert number == 2 or scanned[number + 1].wait(30)
        put(path, data)

    monkeypatch.setattr(ShardScan, "take", observed)
    monkeypatch.setattr(worker.root, "put", late)
    worker.run(ShardBatch(tuple(shards)))
    assert len(root.files("shards/test")) == 3 and max(most) == 1


def test_a_result_that_cannot_be_written_fails_the_work(corpus, tmp_path, monkeypatch):
    job, _, shards = in_pairs(corpus, tmp_path)
    worker = ScanWorker(job)

    def refused(path: str, data: bytes) -> None:
        raise StoreError(f"{path}: {len(data)} bytes refused")

    monkeypatch.setattr(worker.root, "put", refused)
    with pytest.raises(StoreError, match=f"{shards[0].result}: .* refused"):
        worker.run(ShardBatch(tuple(shards)))


def top_of(root: Root, shard: Shard) -> Rows:
    found = rows.read_table(root, shard.result, ["top"])["top"]
    return Rows.from_arrow(pa.concat_arrays([chunk.values for chunk in found.chunks]))


def test_the_second_pass_gives_the_same_bytes_on_many_threads_and_previews_of_what_was_decoded(
    corpus, tmp_path, monkeypatch
):
    job, root = prepared(corpus, tmp_path)
    shard = shard_of(job, root)
    ScanWorker(job).run(shard)
    top = top_of(root, shard)
    written = []
    for threads in (1, 4):
        monkeypatch.setattr(device, "cpu_share", lambda _, threads=threads: threads)
        [group] = groups(top, [shard], f"threads{threads}", benchmarking.hashes(root, shard), {})
        ProjectWorker(job).run(group)
        written.append(root.read(group.result))
    assert written[0] == written[1]
    previews = rows.read_table(root, group.result, filters=pc.field("layer_index").is_null())
    for index, preview in zip(previews["image_index"].to_pylist(), previews["preview"].to_pylist(), strict=True):
        [row] = manifest.rows(root, job.manifest, index, index + 1)
        assert preview == encode.preview(decode(Path(row.uri).read_bytes(), LimitsSpec()), "webp")
    assert len(previews) == len(set(top.image_index.tolist()))


def test_another_image_is_noticed_however_wide_the_tolerance_of_half_precision_is(corpus, tmp_path):
    job, root = prepared(corpus, tmp_path)
    shard = shard_of(job, root)
    ScanWorker(job).run(shard)
    [group] = groups(top_of(root, shard), [shard], "changed", benchmarking.hashes(root, shard), {0: 1e9, 1: 1e9})
    changed = sorted(group.hashes)[0]
    assert group.hashes[changed] == hashlib.sha256((corpus / f"{changed}.png").read_bytes()).hexdigest()
    stale = replace(group, hashes={**group.hashes, changed: "0" * 64})  # as if the scan had read other bytes
    with pytest.raises(ReadError, match=rf"image {changed} was scanned with the SHA-256 0{{16}}\.\.\. and now has"):
        ProjectWorker(job).run(stale)
    assert not root.exists(group.result)
