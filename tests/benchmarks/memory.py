"""Memory of an actor over 20,000 small images, and of the driver over corpora of growing size.

The 10,000 JPEGs of CIFAR-10's test set are unpacked twice into one folder. The actor's worker scans them shard after
shard in this process; each driver runs whole scans on Ray in a process of its own.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import psutil

from jobs.run import plan
from tests.support import benchmarking
from workers.actors.scan import ScanWorker
from workers.actors.shard import Shard
from workers.corpus import manifest
from workers.store.root import Root

MIB = 2**20
DRIVER = """
import json, sys, resource
from jobs.scan import scan
from jobs.watch import SilentWatcher
from workers.spec.scan import make_spec
import psutil
outcome = scan(make_spec(json.loads(sys.argv[1])), SilentWatcher())
print(outcome.images, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def unpack(folder: Path, copies: int) -> None:
    """CIFAR-10's test photos, `copies` times."""
    tar = next((benchmarking.shared() or Path()).glob("images/cifar10-test/*.tar"))
    for copy in range(copies):
        with tarfile.open(tar) as opened:
            opened.extractall(folder / f"copy{copy}", filter="data")


def actor(corpus: Path, scratch: Path, size: int) -> list[float]:
    """MiB of this process after each shard."""
    job, _ = benchmarking.prepared("deconvoy://zfnet-mini", str(corpus), scratch, size, layers=["relu1", "relu2"])
    worker, process, found = ScanWorker(job), psutil.Process(), []
    images = manifest.count(Root(job.spec.root), job.manifest)
    for start in range(0, images, size):
        stop = min(start + size, images)
        worker.run(plan.rename_result(worker.root, Shard(start, stop, job.manifest, "shards/benchmark/scan.parquet")))
        found.append(process.memory_info().rss / MIB)
    return found


def driver(corpus: str, root: Path) -> str:
    """Images and largest MiB of a driver."""
    spec = {
        "run": "memory",
        "root": str(root),
        "model": {"source": "deconvoy://zfnet-mini"},
        "corpus": {"source": corpus},
        "scan": {"layers": ["relu1"], "k": 3},
        "project": {"previews": False},
        "resources": {"device": "cpu"},
    }
    done = subprocess.run([sys.executable, "-c", DRIVER, json.dumps(spec)], check=True, capture_output=True, text=True)
    images, peak = done.stdout.split()
    return f"{images} images: {peak} MiB"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=2, help="times 10,000 images")
    parser.add_argument("--shard", type=int, default=512)
    asked = parser.parse_args()
    if benchmarking.shared() is None:
        print("skipped: no shared folder of photos, set DECONVOY_SHARED")
        return
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        unpack(scratch / "photos", asked.copies)
        for pattern in ("copy0/**/*0.jpg", "copy0/**/*[0-4].jpg", "copy0/**/*.jpg", "**/*.jpg"):
            print("driver,", driver(f"{scratch}/photos/{pattern}", scratch / f"root{len(pattern)}"), flush=True)
        sizes = actor(scratch / "photos", scratch, asked.shard)
    quarter = max(1, len(sizes) // 4)
    first, last = statistics.median(sizes[:quarter]), statistics.median(sizes[-quarter:])
    print(f"actor, {len(sizes)} shards of {asked.shard}: first quarter {first:.0f} MiB, last {last:.0f} MiB,"
          f" {last - first:+.0f}; all {min(sizes):.0f} to {max(sizes):.0f}")  # fmt: skip


if __name__ == "__main__":
    main()
