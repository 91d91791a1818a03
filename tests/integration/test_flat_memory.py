"""Memory while many tiny images are scanned: an actor's and the driver's are the same after a tenth of them as at the end."""

import io
import os
import subprocess
import sys
import tarfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.support import proof
from tests.support.own_code import NET

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(3600)]
IMAGES = int(os.environ.get("DECONVOY_TEST_TINY_IMAGES", "200000"))
SIDE, SHARD, TARS = 12, 512, 20
LIMIT = 1.05
SPEC = """
run = "tiny"
root = "{folder}/root"
[model]
source = "{folder}/net.py:small"
crop = {side}
resize = {side}
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
interpolation = "bilinear"
[corpus]
source = "{folder}/tars/*.tar"
[scan]
layers = ["second"]
shard = {shard}
k = 3
[resources]
device = "cpu"
actors = 1
"""


def write_tars(folder: Path) -> None:
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(TARS):
        with tarfile.open(folder / f"{number:02d}.tar", "w") as tar:
            for index in range(IMAGES // TARS):
                data = io.BytesIO()
                Image.fromarray(random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(data, "PNG", compress_level=0)
                member = tarfile.TarInfo(f"{index:06d}.png")
                member.size = data.tell()
                data.seek(0)
                tar.addfile(member, data)


def mib(process: psutil.Process) -> float:
    return process.memory_info().rss / 2**20


def actors(driver: psutil.Process) -> list[psutil.Process]:
    return [child for child in driver.children(recursive=True) if "ray::Actor" in " ".join(child.cmdline())]


def test_memory_is_flat_from_a_tenth_of_the_images_to_all_of_them(tmp_path):
    write_tars(tmp_path / "tars")
    (tmp_path / "net.py").write_text(NET)
    spec = tmp_path / "spec.toml"
    spec.write_text(SPEC.format(folder=tmp_path, side=SIDE, shard=SHARD))
    words = [
        sys.executable,
        "-c",
        "from service.cli.main import main; main()",
        "scan",
        "--spec",
        str(spec),
        "--trust-code",
    ]
    with (tmp_path / "output").open("w") as output:
        run = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT)
    driver, sizes = psutil.Process(run.pid), list[tuple[float, float, float]]()
    try:
        while run.poll() is None:
            done = len(list((tmp_path / "root" / "shards").glob("[0-9a-f]*/*.parquet"))) * SHARD / IMAGES
            with suppress(psutil.NoSuchProcess):
                sizes += [(done, mib(driver), mib(actor)) for actor in actors(driver)]
            time.sleep(0.5)
    finally:
        run.kill()
    assert run.returncode == 0, (tmp_path / "output").read_text()
    rows = []
    for who, column in (("the driver", 1), ("the actor", 2)):
        early = median(size[column] for size in sizes if 0.1 <= size[0] < 0.2)
        late = median(size[column] for size in sizes if 0.9 <= size[0] < 1.0)
        rows.append(f"| {who} | {early:,.0f} | {late:,.0f} | {max(size[column] for size in sizes):,.0f} |")
        assert late <= LIMIT * early, rows
    if os.environ.get(proof.WRITE):
        head = [f"{IMAGES:,} images at commit {proof.commit()}.", "", "| MiB | after a tenth | at the end | maximum |"]
        proof.write("memory", [*head, "|---|---|---|---|", *rows])
