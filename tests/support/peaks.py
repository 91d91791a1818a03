"""Memory of one actor over hostile images. Takes a corpus, runs a pass in a fresh process, gives the most MiB above its model.

As a program: CORPUS SCRATCH PASS THREADS. Pass 2 takes the top images from what pass 1 has left in SCRATCH. The environment
may give another budget for pixels, PEAKS_PIXELS_BYTES.
"""

import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pyarrow as pa
import tifffile
from PIL import Image

from tests.support import dicoms

MIB = 1 << 20
ENCODED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "rgba": ("PNG", "RGBA", {"compress_level": 1}),
    "webp": ("WEBP", "RGB", {"method": 0}),
    "jpeg": ("JPEG", "RGB", {"quality": 90}),
    "progressive": ("JPEG", "RGB", {"quality": 90, "progressive": True}),
    "progressive cmyk": ("JPEG", "CMYK", {"quality": 90, "progressive": True}),
    "avif": ("AVIF", "RGBA", {"speed": 10, "quality": 80, "subsampling": "4:4:4"}),
    "jpeg2000": ("JPEG2000", "RGBA", {"irreversible": True, "quality_layers": [40]}),
}


def peak_mib(corpus: Path, scratch: Path, number: int, threads: int) -> int:
    """The most that pass 1 or 2 takes with so many decoding threads."""
    program = [sys.executable, "-m", "tests.support.peaks", str(corpus), str(scratch), str(number), str(threads)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return int(done.stdout.split()[-1])


def photo(kind: str, megapixels: float) -> bytes:
    """An image of one of the kinds that cost most."""
    side = int((megapixels * 1e6) ** 0.5)
    grey = (np.add.outer(np.arange(side) // 7, np.arange(side) // 5) % 256).astype(np.uint8)
    wide, buffer = grey.astype(np.uint16) * 257, io.BytesIO()
    shades = Image.fromarray(grey)
    if kind == "1-bit":
        Image.fromarray(grey > 127).save(buffer, "PNG")
    elif kind == "16-bit":
        Image.fromarray(wide).save(buffer, "PNG", compress_level=1)
    elif kind == "netpbm":
        Image.fromarray(wide).save(buffer, "PPM")
    elif kind == "bands":
        layout: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "contig", "compression": "zlib"}
        tifffile.imwrite(buffer, np.repeat(wide[..., None], 7, axis=-1), **layout)
    elif kind == "dicom":
        buffer.write(dicoms.grey(wide))
    elif kind == "heic":
        pillow_heif.from_pillow(Image.merge("RGB", [shades] * 3)).save(buffer, enc_params={"preset": "ultrafast"})
    else:
        form, mode, options = ENCODED[kind]
        Image.merge(mode, [shades] * len(mode)).save(buffer, form, **options)
    return buffer.getvalue()


def write(folder: Path, kind: str, megapixels: float, images: int) -> Path:
    """A corpus of equal photos."""
    folder.mkdir(parents=True)
    data = photo(kind, megapixels)
    first = folder / "0.img.png"
    first.write_bytes(data)
    for number in range(1, images):
        shutil.copy(first, folder / f"{number}.img.png")
    return folder


def _status(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) // 1024 if found else 0


def _steps(corpus: str, scratch: Path, number: int, threads: int) -> Iterator[None]:
    """Build a worker; then run it."""
    from jobs.project import groups
    from jobs.run import plan
    from tests.support import benchmarking
    from workers.actors import device
    from workers.actors.project import ProjectWorker
    from workers.actors.scan import ScanWorker
    from workers.actors.shard import Shard
    from workers.core.topk import Rows
    from workers.corpus import reader
    from workers.store import rows as stored
    from workers.store.root import Root

    vars(device)["cpu_share"] = lambda _: threads
    reader.PIXELS_BYTES = int(os.environ.get("PEAKS_PIXELS_BYTES", reader.PIXELS_BYTES))
    job, _ = benchmarking.prepared(
        "deconvoy://zfnet-mini", corpus, scratch, 64, k=64, distinct="none", layers=["relu1"]
    )
    root = Root(job.spec.root)
    shard = plan.rename_result(root, Shard(0, 64, job.manifest, "shards/peaks/all.parquet"))
    work: Callable[[], object]
    if number == 1:
        work = partial(ScanWorker(job).run, shard)
    else:
        top = pa.concat_arrays([each.values for each in stored.read_table(root, shard.result, ["top"])["top"].chunks])
        [group] = groups(Rows.from_arrow(top), [shard], "peaks", benchmarking.hashes(root, shard), {})
        work = partial(ProjectWorker(job).run, group)
    yield
    work()
    yield


def main() -> None:
    """Print the most MiB above what the process held once its worker was built."""
    corpus, scratch, number, threads = sys.argv[1:]
    steps = _steps(corpus, Path(scratch), int(number), int(threads))
    next(steps)
    before = _status("VmRSS")
    next(steps)
    print(_status("VmHWM") - before)


if __name__ == "__main__":
    main()
