"""Scans of a corpus of 12 bits, HEIC and DICOM: the depth that is chosen, its record, and what results are named by."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.dry_run import dry_run
from jobs.occlude import occlude
from jobs.run.publish import read_manifest
from jobs.scan import scan
from jobs.watch import SilentWatcher
from tests.support import dicoms
from workers.spec.make import make
from workers.spec.occlude import OcclusionRun
from workers.spec.scan import RunSpec, make_spec
from workers.store.root import Root

pytestmark = pytest.mark.usefixtures("without_ray")

DEEP = 12
SIDE = 160


class Heard(SilentWatcher):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str, **fields: Any) -> None:
        del fields
        self.lines.append(line)


def shades(number: int) -> np.ndarray:
    """A picture of values from 0 to 4,095, different for each number."""
    random = np.random.default_rng(number)
    y, x = np.mgrid[:SIDE, :SIDE]
    waves = np.sin(x / random.uniform(4, 20)) + np.cos(y / random.uniform(4, 20)) + random.normal(0, 0.2, (SIDE, SIDE))
    return ((waves - waves.min()) / np.ptp(waves) * 4095).astype(np.uint16)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(DEEP):
        Image.fromarray(shades(number)).save(folder / f"{number:02}.png")
    colours = Image.fromarray((shades(20) >> 4).astype(np.uint8)).convert("RGB")
    for name in ("phone.heic", "hidden.jpg"):
        buffer = io.BytesIO()
        pillow_heif.from_pillow(colours).save(buffer)
        (folder / name).write_bytes(buffer.getvalue())
    (folder / "slice.dcm").write_bytes(dicoms.grey(shades(21), stored=12))
    (folder / "deflated.dcm").write_bytes(dicoms.dicom(b"", {"rows": 1}, dicoms.DEFLATED))
    colours.save(folder / "map.jp2")
    return folder


def values(corpus: Path, root: Path, run: str, **decode: Any) -> dict[str, Any]:
    return {
        "run": run,
        "root": str(root),
        "model": {"source": "deconvoy://zfnet-mini"},
        "corpus": {"source": str(corpus)},
        "decode": decode,
        "resources": {"actors": 1, "device": "cpu"},
    }


def spec(corpus: Path, root: Path, run: str, **decode: Any) -> RunSpec:
    section = {"layers": ["relu1"], "batch": 4, "shard": 4, "k": 3, "max_reject_share": 0.5}
    return make_spec({**values(corpus, root, run, **decode), "scan": section, "project": {"image_format": "png"}})


def files(root: Path, run: str) -> dict[str, list[str]]:
    """Names of the published files, which hold the hash of their content."""
    manifest = read_manifest(Root(str(root)), run)
    return {name: [Path(part.path).name for part in parts] for name, parts in manifest.tables.items()}


def test_the_depth_of_a_corpus_is_chosen_said_recorded_and_that_of_all_jobs(corpus, tmp_path):
    root, heard = tmp_path / "root", Heard()
    line = f"12: the largest value in {DEEP} sampled 16-bit grey images is 4,095"
    assert dry_run(spec(corpus, root, "auto")).depth == line
    outcome = scan(spec(corpus, root, "auto"), heard)
    assert (outcome.images, outcome.rejects) == (DEEP + 3, 2)
    assert f"depth {line}; override with --depth" in heard.lines
    manifest = read_manifest(Root(str(root)), "auto")
    assert manifest.depth == "12" and "decode" not in manifest.identity

    given = scan(spec(corpus, root, "given", depth=12), SilentWatcher())
    assert (given.shards_run, given.groups_run) == (0, 0) and files(root, "given") == files(root, "auto")
    assert read_manifest(Root(str(root)), "given").depth is None
    other = scan(spec(corpus, root, "sixteen", depth=16), SilentWatcher())
    assert other.shards_run == 5 and files(root, "sixteen")["top"] != files(root, "auto")["top"]

    rows = pq.read_table(root / "tables/images/run=auto").to_pylist()
    decoders = {Path(row["image_id"]).suffix: row["decoder"].split()[0] for row in rows}
    assert decoders == {".png": "pillow", ".heic": "pillow-heif", ".dcm": "pydicom", ".jp2": "pillow"}
    rejects = pq.read_table(root / "tables/rejects/run=auto").to_pylist()
    assert {row["image_id"]: row["reason"] for row in rejects} == {
        "hidden.jpg": "bad_name",
        "deflated.dcm": "unsupported_mode",
    }

    shown = pq.read_table(root / "tables/previews/run=auto").to_pylist()
    shown = {row["image_id"]: np.asarray(Image.open(io.BytesIO(row["preview"]["bytes"]))) for row in shown}
    names = [name for name in shown if name.endswith(".png")]
    assert names
    for name in names:
        wanted = np.floor(shades(int(name[:2])) / 4095 * 255 + 0.5)
        assert (shown[name] == wanted[..., None]).all()

    section = {"layer": "relu1", "images": ["00.png"], "size": 80, "stride": 80}
    occlude(make(OcclusionRun, {**values(corpus, root, "hidden"), "occlude": section}), SilentWatcher())
    [row] = pq.read_table(root / "tables/occlusions/run=hidden").to_pylist()
    panel = np.asarray(Image.open(io.BytesIO(row["panel_image"]["bytes"])).convert("L"))
    assert panel.mean() > 60 and read_manifest(Root(str(root)), "hidden").depth == "12"


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """JPEG photos of many pixels, some of them turned, of sizes that eight does not divide."""
    folder = tmp_path_factory.mktemp("large")
    for number in range(6):
        picture = Image.fromarray((shades(30 + number) >> 4).astype(np.uint8)).resize((1901 + number, 1483 - number))
        exif = Image.Exif()
        exif[0x0112] = (1, 6, 8)[number % 3]
        picture.convert("RGB").save(folder / f"{number}.jpg", quality=92, exif=exif)
    return folder


def test_photos_that_are_decoded_at_a_part_of_their_size_keep_their_sizes_and_places(large, tmp_path):
    tables = {}
    for jpeg in ("full", "reduced"):
        scan(spec(large, tmp_path, jpeg, jpeg=jpeg), SilentWatcher())
        for name in ("images", "top"):
            tables[jpeg, name] = pq.read_table(tmp_path / "tables" / name / f"run={jpeg}").to_pylist()
    images = [[{**row, "run": ""} for row in tables[jpeg, "images"]] for jpeg in ("full", "reduced")]
    assert images[0] == images[1] and {(row["width"] > 1400, row["height"] > 1400) for row in images[1]} == {
        (True, True)
    }
    assert {row["height"] > row["width"] for row in images[1]} == {True, False}  # upright
    keys = ("channel", "image_id", "y", "x")
    boxes = [
        {
            tuple(row[key] for key in keys): [row[f"source_{side}"] for side in ("top", "left", "bottom", "right")]
            for row in rows
        }
        for rows in (tables["full", "top"], tables["reduced", "top"])
    ]
    common = boxes[0].keys() & boxes[1].keys()
    assert len(common) > len(boxes[0]) / 4 and all(boxes[0][key] == boxes[1][key] for key in common)
    scores = [
        {(row["channel"], row["image_id"]): row["score"] for row in tables[jpeg, "top"]} for jpeg in ("full", "reduced")
    ]
    largest = max(scores[0].values())
    assert all(abs(scores[0][key] - scores[1][key]) < 0.05 * largest for key in scores[0].keys() & scores[1].keys())
