"""A short measurement before a scan. Takes a planned job and some rows, runs both passes on them, gives sizes and times.

It runs in a process of its own, which an image may crash or hang.
"""

import io
import multiprocessing
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from jobs import project
from jobs.cost import NOTHING, Cost, cost_of
from jobs.run import plan
from workers.actors.job import Job
from workers.actors.project import ProjectWorker
from workers.actors.scan import ScanWorker
from workers.actors.shard import Group, Shard
from workers.core.network import Network
from workers.core.topk import Rows, ranks
from workers.corpus import manifest
from workers.corpus.manifest import Row
from workers.errors import DeconvoyError
from workers.host.parent import end_with_parent, without_interrupts
from workers.host.retrying import reason
from workers.spec.scan import RunSpec
from workers.store.root import Root
from workers.store.rows import encode, read_table, values
from workers.store.tables.scan import PROJECTED

LIMIT_S = 120.0
CLOSING_S = 5.0  # time to remove what it has opened, after its answer
MOST_IMAGES, LEAST_IMAGES = 32, 4
MULTIPLICATIONS = 1e11  # of the images of a measurement: some seconds of a core
ROWS = 12  # most rows of a layer whose pictures are measured
ROWS_OF_IMAGE = 24  # most rows of a layer that are projected for one image
MOST_ROWS = 120  # of all layers, except that each layer has one
LISTED = "corpora/measured/manifest-0.parquet"


@dataclass(frozen=True)
class Measurement:
    """What a few images of a corpus cost.

    Attributes:
        picture_bytes: mean size of the pictures of one row of `patches`, by layer index; without layers that have no row.
        preview_bytes: mean size of a preview; 0 if the spec asks for none.
        scan: the first pass, for each image.
        image: the second pass, for each image with a row in the top.
        row: the second pass, for each row.
        import_s: seconds until a new process has imported the code.
        scanner_s: seconds until a worker of the first pass is ready and runs at full speed, after that.
        projector_s: those of a worker of the second pass.
        byte_s: seconds to write a byte of a table, from the results of the second pass.
    """

    picture_bytes: Mapping[int, float]
    preview_bytes: float
    scan: Cost
    image: Cost = NOTHING
    row: Cost = NOTHING
    import_s: float = 0.0
    scanner_s: float = 0.0
    projector_s: float = 0.0
    byte_s: float = 0.0


def sample_size(network: Network, job: Job[RunSpec], images: int) -> int:
    """How many of the corpus's images to measure: those of a few seconds, at least 4 and at most 32, or all."""
    each = network.multiplications(max(layer.node for layer in network.select(job.layers)))
    return min(images, max(LEAST_IMAGES, min(MOST_IMAGES, int(MULTIPLICATIONS / max(each, 1)))))


def measure(job: Job[RunSpec], rows: Sequence[Row]) -> Measurement | str:
    """Measure a scan of some images, on this machine; gives the reason in words if that is not possible.

    Args:
        job: the job; its root is temporary, and holds its model.
        rows: rows of the corpus manifest.
    """
    if not rows:
        return "no sampled image has a readable format"
    ours, theirs = multiprocessing.Pipe(duplex=False)
    values = (job, rows, time.time(), theirs)  # processes share no other clock
    process = multiprocessing.get_context("spawn").Process(target=_answer, args=values, daemon=False)
    with without_interrupts():
        process.start()
    theirs.close()
    try:
        if not ours.poll(LIMIT_S):
            return f"{len(rows)} images took longer than {LIMIT_S:.0f} s"
        answer: Measurement | str = ours.recv()
        process.join(CLOSING_S)
    except EOFError:
        process.join()
        return f"the process that measured {len(rows)} images ended with code {process.exitcode}"
    finally:
        process.kill()
        process.join()
        ours.close()
    return answer


def _answer(job: Job[RunSpec], rows: Sequence[Row], began: float, connection: Connection) -> None:
    """Send the measurement, or why there is none. The process was started at `began`."""
    import_s = max(0.0, time.time() - began)
    end_with_parent()
    try:
        answer: Measurement | str = replace(_measure(job, rows), import_s=import_s)
    except (DeconvoyError, OSError) as error:
        answer = str(error)
    except Exception as error:  # noqa: BLE001 - a plan is of use without a measurement
        answer = f"{type(error).__name__}: {reason(error)}"
    connection.send(answer)


def _measure(job: Job[RunSpec], rows: Sequence[Row]) -> Measurement:
    root = Root(job.spec.root)
    job = replace(job, manifest=_write_manifest(root, rows))
    [shard] = plan.plan(root, job.manifest, "measured", len(rows)).shards
    began = time.monotonic()
    worker = ScanWorker(job)
    worker.run(shard)  # the first time is slower
    ready_s = time.monotonic() - began
    scan = cost_of(partial(worker.run, shard))
    measured = Measurement({}, 0.0, scan * (1 / len(rows)), scanner_s=max(0.0, ready_s - scan.wall_s))
    result = read_table(root, shard.result)
    top = Rows.from_arrow(values(result, "top"))
    if not len(top):
        return measured
    hashes = dict(
        zip(*(values(result, "images").field(name).to_pylist() for name in ("image_index", "sha256")), strict=True)
    )
    return _measure_projections(job, shard, top, hashes, measured)


def _measure_projections(
    job: Job[RunSpec], shard: Shard, top: Rows, hashes: Mapping[int, str], measured: Measurement
) -> Measurement:
    """Project the strongest rows of every layer, and many rows of one image, to separate the cost of an image from a row's."""
    root, began = Root(job.spec.root), time.monotonic()
    worker = ProjectWorker(job)
    strongest = _spread(top.take(_strongest(top)), ROWS)
    busiest = np.bincount(top.image_index).argmax()
    single = _spread(top.take(top.image_index == busiest), ROWS_OF_IMAGE)
    groups = zip((single.take(np.arange(1)), strongest, single), "abc", strict=True)
    warming, first, second = (_group(shard, rows, top, hashes, name) for rows, name in groups)
    worker.run(warming)
    projector_s = time.monotonic() - began
    of_first, of_second = (cost_of(partial(worker.run, group)) for group in (first, second))
    images = len(np.unique(strongest.image_index))
    each, rows_of_image = of_first * (1 / images), len(strongest) / images
    wall, cpu = (
        _prices(getattr(each, name), rows_of_image, getattr(of_second, name), len(single))
        for name in ("wall_s", "cpu_s")
    )
    image, row = (Cost(*prices) for prices in zip(wall, cpu, strict=True))
    pictures, preview_bytes = _sizes(root, first)
    measured = replace(measured, projector_s=projector_s, byte_s=_write(root, first))
    return replace(measured, picture_bytes=pictures, preview_bytes=preview_bytes, image=image, row=row)


def _write(root: Root, group: Group) -> float:
    """Seconds for each byte of a result that is read and written again, as tables are."""
    written = 0

    def write() -> None:
        nonlocal written
        data = encode(PROJECTED, read_table(root, group.result))
        root.put(f"{group.result}.again", data)
        written = len(data)

    return cost_of(write).wall_s / written


def _prices(first_s: float, first_rows: float, second_s: float, second_rows: float) -> tuple[float, float]:
    """Seconds of an image and of a row, from the seconds and rows of two images."""
    if second_rows <= first_rows:
        return 0.0, first_s / first_rows
    row_s = max(0.0, (second_s - first_s) / (second_rows - first_rows))
    return max(0.0, first_s - row_s * first_rows), row_s


def _group(shard: Shard, rows: Rows, top: Rows, hashes: Mapping[int, str], name: str) -> Group:
    """A group of some rows of the top."""
    [group] = project.groups(rows, [shard], name, hashes, {})
    every = {int(index): float("inf") for index in np.unique(rows.layer_index)}  # nothing is verified
    return replace(group, scales=project.scales(top), tolerances=every)


def _sizes(root: Root, group: Group) -> tuple[dict[int, float], float]:
    """The mean size of a row's pictures, by layer index, and of a preview."""
    table = read_table(root, group.result)
    sizes: dict[int, list[int]] = {}
    for row in table.select(["layer_index", "patch", "projection"]).to_pylist():
        if row["layer_index"] is not None:
            sizes.setdefault(row["layer_index"], []).append(len(row["patch"]) + len(row["projection"] or b""))
    previews = [len(preview) for preview in table["preview"].to_pylist() if preview]
    return {index: float(np.mean(of_layer)) for index, of_layer in sizes.items()}, float(np.mean(previews or [0]))


def _strongest(top: Rows) -> np.ndarray[Any, Any]:
    """A mask of the rows with a channel's largest score, if that is positive in any; most have one in a whole corpus."""
    first: np.ndarray[Any, Any] = ranks(top) == 0
    positive = first & (top.score > 0)
    has_positive = np.isin(top.layer_index, top.layer_index[positive])
    return np.where(has_positive, positive, first)


def _spread(rows: Rows, count: int) -> Rows:
    """At most `count` rows of each layer, evenly spread over its channels."""
    layers = np.unique(rows.layer_index)
    chosen, most = [], max(1, min(count, MOST_ROWS // len(layers)))
    for index in layers:
        own = np.nonzero(rows.layer_index == index)[0]
        chosen.append(own[np.linspace(0, len(own) - 1, min(most, len(own))).astype(int)])
    return rows.take(np.concatenate(chosen))


def _write_manifest(root: Root, rows: Sequence[Row]) -> str:
    """A manifest of these rows alone."""
    file = io.BytesIO()
    pq.write_table(manifest.as_table(rows), file)
    root.put(LISTED, file.getvalue())
    return LISTED
