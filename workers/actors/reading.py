"""Reading of a job's images. Takes shards or rows of the manifest, gives verdicts and batches of model inputs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from workers.actors import device
from workers.actors.job import Job
from workers.actors.shard import Shard
from workers.core.preprocess import Preprocessing
from workers.corpus import decode, isolate, manifest, reader, row_keys
from workers.corpus.batch import Batch
from workers.corpus.isolate import Verdict
from workers.corpus.manifest import Row
from workers.corpus.pixels import PixelFormat, Pixels
from workers.corpus.reader import ReadOptions
from workers.corpus.readers import shared_readers
from workers.errors import OtherVerdicts
from workers.pictures import encode
from workers.store import paths
from workers.store.root import Root

NO_VERDICTS: Mapping[int, Verdict] = {}


def read_rows(root: Root, shards: Sequence[Shard]) -> tuple[list[Row], Mapping[int, Verdict]]:
    """The rows of shards of the same images, and the verdicts on them, which are part of the results' names.

    Raises:
        OtherVerdicts: the verdicts have changed since the results were named, so a result would not match its name.
    """
    first = shards[0]
    listed = manifest.table(root, first.manifest, first.start, first.stop)
    rows = manifest.rows_of(listed, first.start)
    verdicts = isolate.read_verdicts(root, rows, root.files(paths.VERDICTS))
    key = row_keys.rows_key(listed, first.start, verdicts)
    for shard in shards:
        if shard.renamed(key) != shard:
            raise OtherVerdicts(
                f"images {shard.start} to {shard.stop}: verdicts have changed since {shard.result} was named"
            )
    return rows, verdicts


def batches(
    job: Job[Any],
    rows: Sequence[Row],
    size: int,
    verdicts: Mapping[int, Verdict] = NO_VERDICTS,
    preview: Callable[[Pixels], bytes] | None = None,
) -> Iterator[Batch]:
    """The images of some rows in batches of a fixed size; see `reader.batches` and `ReadOptions`."""
    limits, preprocessing, form = job.spec.limits, job.model.preprocessing, pixel_format(job)
    options = ReadOptions(
        limits,
        threads=max(1, min(device.cpu_share(job.spec.resources.device), len(rows))),
        ahead=reader.ahead(size, preprocessing.input_bytes),
        verdicts=verdicts,
        preview=preview,
        pixel_bytes=form.pixel_bytes,
        decode=partial(decode.decode, form=form),
        is_reduced=form.least is not None,
        extra_bytes=partial(_extra_bytes, preprocessing, preview is not None),
    )
    prepare = partial(preprocessing.prepare, max_pixels=limits.pixels)
    count = device.reader_count(job.spec.resources)
    if count:
        return shared_readers(count).batches(rows, size, preprocessing.input_bytes, prepare, options)
    return reader.batches(rows, size, prepare, options)


def pixel_format(job: Job[Any]) -> PixelFormat:
    """The pixels that images of a job are decoded to."""
    preprocessing = job.model.preprocessing
    return PixelFormat.of(preprocessing.channels, preprocessing.bits, job.spec.decode, preprocessing.resized_size)


def _extra_bytes(preprocessing: Preprocessing, previews: bool, height: int, width: int) -> int:
    """The memory of the model's input or the preview, whichever is larger: they are made one after the other."""
    preview = encode.preview_bytes(height, width) + _shown_bytes(preprocessing) * height * width if previews else 0
    return max(preprocessing.prepare_bytes(height, width), preview)


def _shown_bytes(preprocessing: Preprocessing) -> int:
    """The memory per pixel that showing an image in 8-bit RGB needs in addition to its pixels."""
    deep = 4 * preprocessing.channels if preprocessing.bits > 8 else 0
    return 0 if (preprocessing.channels, preprocessing.bits) == (3, 8) else encode.SHOWN_BYTES + deep
