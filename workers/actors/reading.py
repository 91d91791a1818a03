"""The images of a job, as its workers read them. Takes rows of the manifest, gives batches of model inputs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from workers.actors import device
from workers.actors.job import Job, rows_key
from workers.actors.shard import Shard
from workers.core.preprocess import CHANNELS, Preprocessing
from workers.corpus import isolate, manifest, reader
from workers.corpus.decode import Pixels
from workers.corpus.isolate import Verdict
from workers.corpus.manifest import Row
from workers.corpus.reader import Batch, ReadOptions
from workers.errors import OtherVerdicts
from workers.pictures import encode
from workers.store import paths
from workers.store.root import Root

NO_VERDICTS: Mapping[int, Verdict] = {}


def judged(root: Root, shards: Sequence[Shard]) -> tuple[list[Row], Mapping[int, Verdict]]:
    """The rows of one or more shards of the same images, and the verdicts on them that their results are named by.

    Raises:
        OtherVerdicts: the verdicts are others now. A result made with these would be taken for one made with those.
    """
    first = shards[0]
    rows = manifest.rows(root, first.manifest, first.start, first.stop)
    verdicts = isolate.read_verdicts(root, rows, root.files(paths.VERDICTS))
    key = rows_key(rows, verdicts)
    for shard in shards:
        if shard.named(key) != shard:
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
    """Some rows' images in batches of a fixed size; see `reader.batches` and `ReadOptions`."""
    limits, preprocessing = job.spec.limits, job.model.preprocessing
    options = ReadOptions(
        limits,
        threads=max(1, min(device.decode_threads(job.spec.resources.device), len(rows))),
        ahead=reader.ahead(size, CHANNELS * preprocessing.crop**2),
        verdicts=verdicts,
        preview=preview,
        extra_bytes=partial(_extra_bytes, preprocessing, preview is not None),
    )
    return reader.batches(rows, size, partial(preprocessing.prepare, max_pixels=limits.pixels), options)


def _extra_bytes(preprocessing: Preprocessing, previews: bool, height: int, width: int) -> int:
    """The input and the preview are made one after the other."""
    preview = encode.preview_bytes(height, width) if previews else 0
    return max(preprocessing.prepare_bytes(height, width), preview)
