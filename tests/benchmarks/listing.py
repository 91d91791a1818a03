"""Listing and committing a corpus of a million objects: rows per second of CPU time, and peak memory.

The objects lie in a synthetic store, in folders of 1,000. Each measurement runs in a process of its own.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import fsspec

from workers.corpus import manifest
from workers.spec.parts import CorpusSpec
from workers.store.root import Root

FOLDER = 1000


class ManyObjects(fsspec.AbstractFileSystem):
    """A store with `many://N/FOLDER/NUMBER.jpg` for each number below N."""

    protocol = "many"

    def ls(self, path: str, **_: Any) -> list[dict[str, Any]]:
        """The folders of a count, or the objects of a folder."""
        count, _, folder = self._strip_protocol(path).strip("/").partition("/")
        if folder:
            start = int(folder) * FOLDER
            return [
                {"name": f"{count}/{folder}/{n}.jpg", "type": "file", "size": 50_000 + n, "ETag": f"{n:032x}"}
                for n in range(start, min(start + FOLDER, int(count)))
            ]
        folders = range((int(count) + FOLDER - 1) // FOLDER)
        return [{"name": f"{count}/{number}", "type": "directory", "size": 0} for number in folders]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """A folder."""
        return {"name": self._strip_protocol(path), "type": "directory", "size": 0}


def measure(count: int) -> str:
    """List, commit, and list again without a change."""
    fsspec.register_implementation("many", ManyObjects, clobber=True)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        root, corpus = Root(str(Path(folder) / "root")), CorpusSpec(source=f"many://{count}")
        for what in ("first", "again"):
            started, cpu = time.monotonic(), time.process_time()
            with manifest.list_corpus(corpus, lambda _: None) as listing:
                rel = listing.commit(root)
            used, seconds = time.process_time() - cpu, time.monotonic() - started
            lines.append(f"{what}: {used:.1f} s of CPU, {seconds:.1f} s, {count / used:,.0f} rows/s of CPU")
        if manifest.count(root, rel) != count:
            raise SystemExit(f"{manifest.count(root, rel)} rows instead of {count}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return f"{count:,} objects; {'; '.join(lines)}; peak memory {peak:,.0f} MiB"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 1_000_000])
    parser.add_argument("--here", action="store_true", help="measure in this process")
    asked = parser.parse_args()
    for count in asked.counts:
        if asked.here:
            print(measure(count), flush=True)
        else:
            command = [sys.executable, "-m", "tests.benchmarks.listing", "--here", "--counts", str(count)]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
