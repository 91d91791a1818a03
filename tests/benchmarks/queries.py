"""What one channel's pictures cost out of a large table: bytes read and time, warm. Builds such a table first.

Bytes are those that the process read from files (`rchar` of Linux), time is that of the whole question.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from service.query import catalog, scans
from tests.support.published import K, commit
from workers.store.root import Root
from workers.store.rows import PART_BYTES
from workers.store.tables.scan import PATCHES

GOAL_BYTES, GOAL_MS = 3_000_000, 50.0
PATCH_BYTES, PROJECTION_BYTES = 9_000, 16_000  # of AlexNet's middle layers
LAYERS = 8
BOX = [f"{name}_{side}" for name in ("box", "source") for side in ("top", "left", "bottom", "right")]


def rows(random: np.random.Generator, layer: int, channel: int) -> list[dict[str, object]]:
    """A channel's rows; sizes of pictures spread as those of real ones do."""
    sizes = random.uniform(0.3, 1.7, (K, 2)) * (PATCH_BYTES, PROJECTION_BYTES)
    return [
        {
            "layer": f"features.{layer}", "layer_index": layer, "channel": channel, "rank": rank, "score": 9.0 - rank,
            "image_index": rank, "image_id": f"{rank:08d}.jpg", "uri": f"/photos/{rank:08d}.jpg", "label": "photo",
            "y": 1, "x": 1, **dict.fromkeys(BOX, 1), "projection_scale": 1.0, "method": "deconvnet", "exact": True,
            **{
                name: {"bytes": random.bytes(int(size)), "path": None}
                for name, size in zip(("patch", "projection"), sizes[rank], strict=True)
            },
        }
        for rank in range(K)
    ]  # fmt: skip


def build(root: Root, size: int) -> int:
    """Publish a run whose patches have this size, bytes; gives the number of channels in a layer."""
    random, channels = np.random.default_rng(0), size // (LAYERS * K * (PATCH_BYTES + PROJECTION_BYTES))
    blocks = (
        pa.Table.from_pylist(rows(random, layer, channel), PATCHES.schema)
        for layer in range(LAYERS)
        for channel in range(channels)
    )
    about = {"height": 13, "width": 13, "field_height": 99, "field_width": 99, "stride_y": 16, "stride_x": 16}
    layers = [{"index": n, "name": f"features.{n}", "channels": channels, **about} for n in range(LAYERS)]
    commit(root, "large", "scan", {"patches": blocks}, layers=layers, part_bytes=PART_BYTES)
    return channels


def bytes_read() -> int:
    """What this process has read so far."""
    [line] = [line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("rchar")]
    return int(line.partition(":")[2])


def main() -> None:
    """Build, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1_000_000_000)
    parser.add_argument("--questions", type=int, default=60)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Root(scratch)
        channels = build(root, asked.size)
        run = catalog.find(root, "large")
        sizes = [part.bytes for part in run.tables["patches"]]
        started = time.perf_counter()
        scans.cells(run, "features.0", [0])
        first = 1000 * (time.perf_counter() - started)
        costs = []
        for number in range(asked.questions):
            layer, channel = f"features.{number % LAYERS}", number * 7919 % channels
            before, started = bytes_read(), time.perf_counter()
            assert len(scans.cells(run, layer, [channel])) == K
            costs.append((bytes_read() - before, 1000 * (time.perf_counter() - started)))
        read, spent = zip(*costs, strict=True)
        print(
            f"patches of {sum(sizes) / 1e9:.2f} GB in {len(sizes)} files; one channel of {channels * LAYERS:,}, warm: "
            f"{statistics.median(read) / 1e6:.2f} MB read (at most {max(read) / 1e6:.2f}, goal {GOAL_BYTES / 1e6:g}), "
            f"{statistics.median(spent):.1f} ms (at most {max(spent):.1f}, goal {GOAL_MS:g}); the first question {first:.0f} ms"
        )


if __name__ == "__main__":
    main()
