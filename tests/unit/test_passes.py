"""Both passes as plain classes, without Ray: stale files, previews, and the same bytes whatever the threads."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from jobs.project import groups
from tests.support import benchmarking
from workers import device, pictures
from workers.core.topk import Rows
from workers.corpus import isolate, manifest
from workers.corpus.decode import decode
from workers.errors import StaleImage
from workers.project import ProjectWorker
from workers.scan import ScanWorker
from workers.shard import Shard
from workers.spec import LimitsSpec
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


def test_a_file_that_vanished_stops_its_shard_and_is_a_reject_once_that_is_known(corpus, tmp_path):
    job, root = prepared(corpus, tmp_path)
    (corpus / "2.png").unlink()
    worker, shard = ScanWorker(job), Shard(0, 6, job.manifest, "shards/test/a.parquet")
    with pytest.raises(StaleImage, match=r"image 2: .*2.png was listed and is gone"):
        worker.run(shard)
    listed = manifest.rows(root, job.manifest, 0, 6)
    for index, verdict in isolate.stale(listed).items():
        isolate.write_verdict(root, listed[index], verdict)
    report = worker.run(shard)
    assert (report.images, report.rejects) == (5, {"vanished": 1})


def test_the_second_pass_gives_the_same_bytes_on_many_threads_and_previews_of_what_was_decoded(
    corpus, tmp_path, monkeypatch
):
    job, root = prepared(corpus, tmp_path)
    shard = Shard(0, 6, job.manifest, "shards/test/a.parquet")
    ScanWorker(job).run(shard)
    top = Rows.from_arrow(
        pa.concat_arrays([c.values for c in rows.read_table(root, shard.result, ["top"])["top"].chunks])
    )
    written = []
    for threads in (1, 4):
        monkeypatch.setattr(device, "decode_threads", lambda _, threads=threads: threads)
        [group] = groups(top, [shard], f"threads{threads}")
        ProjectWorker(job).run(group)
        written.append(root.read(group.result))
    assert written[0] == written[1]
    previews = rows.read_table(root, group.result, filters=[("layer_index", "==", -1)])
    for index, preview in zip(previews["image_index"].to_pylist(), previews["patch"].to_pylist(), strict=True):
        [row] = manifest.rows(root, job.manifest, index, index + 1)
        assert preview == pictures.preview(decode(Path(row.uri).read_bytes(), LimitsSpec()), "webp")
    assert len(previews) == len(set(top.image_index.tolist()))
