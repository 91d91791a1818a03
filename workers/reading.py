"""The images of a job, as its workers read them. Takes rows of the manifest, gives batches of model inputs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from workers import device, pictures
from workers.core.preprocess import CHANNELS, Preprocessing
from workers.corpus import reader
from workers.corpus.decode import Pixels
from workers.corpus.isolate import Verdict
from workers.corpus.manifest import Row
from workers.corpus.reader import Batch, ReadOptions
from workers.job import Job

NO_VERDICTS: Mapping[int, Verdict] = {}


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
        beside_bytes=partial(_beside_bytes, preprocessing, preview is not None),
    )
    return reader.batches(rows, size, partial(preprocessing.prepare, max_pixels=limits.pixels), options)


def _beside_bytes(preprocessing: Preprocessing, previews: bool, height: int, width: int) -> int:
    """The input and the preview are made one after the other."""
    preview = pictures.preview_bytes(height, width) if previews else 0
    return max(preprocessing.prepare_bytes(height, width), preview)
