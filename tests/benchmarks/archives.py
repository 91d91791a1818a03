"""Speed of a scan of one tar archive against the same images as files, and the bytes that one shard of the archive reads.

Tiny images, so that finding and reading them weighs as much as it can; one actor without Ray, one layer.
"""

import argparse
import io
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
from PIL import Image

from jobs.run import plan
from tests.support import benchmarking
from workers.actors.job import Job
from workers.actors.scan import ScanWorker
from workers.actors.shard import Shard
from workers.corpus import manifest
from workers.sources.members import Members
from workers.sources.tar import TAR
from workers.store.root import Root

SHARD = 512
GOAL = 0.9


def images(count: int) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of JPEG files of 32 x 32 pixels, in folders of 1,000."""
    random = np.random.default_rng(0)
    for number in range(count):
        buffer = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).save(buffer, "JPEG", quality=50)
        yield f"{number // 1000:03d}/{number:06d}.jpg", buffer.getvalue()


def write(count: int, scratch: Path) -> dict[str, str]:
    """The images as files and as one archive; gives both corpora."""
    with tarfile.open(scratch / "photos.tar", "w") as archive:
        for name, data in images(count):
            place = scratch / "photos" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return {"files": f"{scratch}/photos", "archive": f"{scratch}/photos.tar"}


def shards(job: Job, count: int) -> list[Shard]:
    """All shards of a corpus."""
    root = Root(job.spec.root)
    starts = range(0, count, SHARD)
    return [
        plan.rename_result(
            root,
            Shard(start, min(start + SHARD, count), job.manifest, f"shards/{job.manifest[-40:-8]}/{start}.parquet"),
        )
        for start in starts
    ]


def bytes_read(run: Callable[[], object]) -> int:
    """The bytes that a function reads of archives."""
    local, read = type(fsspec.filesystem("file")), [0]
    plain = local.cat_file

    def counted(self: object, *words: object, **more: object) -> bytes:
        data: bytes = plain(self, *words, **more)
        read[0] += len(data) if str(words[0]).endswith(".tar") else 0
        return data

    local.cat_file = counted
    assert isinstance(TAR.access, Members)
    TAR.access._readers.clear()  # they keep blocks that were read before
    try:
        run()
    finally:
        local.cat_file = plain
    return read[0]


def main() -> None:
    """Measure both corpora."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sides: dict[str, Callable[[], object]] = {}
        for name, corpus in write(asked.images, Path(folder)).items():
            scratch = Path(folder) / name
            job, _ = benchmarking.prepared("deconvoy://zfnet-mini", corpus, scratch, SHARD, layers=["relu1"])
            worker, parts = ScanWorker(job), shards(job, asked.images)
            sides[name] = partial(lambda worker, parts: [worker.run(part) for part in parts], worker, parts)
        rounds = list(benchmarking.alternating(asked.rounds, **sides))
        ratio = benchmarking.spread([each["files"] / each["archive"] for each in rounds])
        rate = benchmarking.spread([asked.images / each["archive"] for each in rounds])
        print(f"{asked.images:,} images, {asked.rounds} rounds; median (least to most)")
        print(f"rate of the archive / rate of the files {ratio}, goal at least {GOAL}; {rate} images/s")
        middle = parts[len(parts) // 2]
        own = sum(row.bytes for row in manifest.rows(Root(job.spec.root), job.manifest, middle.start, middle.stop))
        members = (middle.stop - middle.start) * 512  # bytes of their headers; data are filled up to 512, too
        fetched = bytes_read(lambda: worker.run(middle))
        whole = Path(corpus).stat().st_size
        print(f"one shard of {own:,} bytes of images and {members:,} of headers reads {fetched:,} of {whole:,} bytes")


if __name__ == "__main__":
    main()
