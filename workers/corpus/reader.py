"""From manifest rows to batches of model inputs. Takes rows, gives uint8 batches on a fixed grid, decoded beside the caller."""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workers.corpus import decode, sources
from workers.corpus.isolate import Verdict
from workers.corpus.manifest import Row
from workers.errors import DecoderHang, Reason, Rejected
from workers.spec import LimitsSpec

Prepare = Callable[[np.ndarray[Any, Any]], Tensor]
Decode = Callable[[bytes, LimitsSpec], np.ndarray[Any, Any]]


@dataclass(frozen=True)
class ImageRecord:
    """What is known of an image that was read."""

    image_index: int
    width: int
    height: int
    bytes: int
    sha256: str
    decoder: str
    group: str | None


@dataclass(frozen=True)
class Reject:
    """An image that could not be used, and why."""

    image_index: int
    bytes: int
    reason: Reason
    detail: str


@dataclass(frozen=True, eq=False)
class Picture:
    """One decoded image.

    Attributes:
        record: what is known of it.
        pixels: uint8 (height, width, 3), upright RGB; None where nobody asked to keep it.
        prepared: uint8 (3, crop, crop), the model's input before normalisation.
    """

    record: ImageRecord
    pixels: np.ndarray[Any, Any] | None
    prepared: Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """Images of one stretch of the grid, and those of them that could not be used.

    Attributes:
        pictures: the images, in order; may be none.
        rejects: the others, in order.
    """

    pictures: tuple[Picture, ...]
    rejects: tuple[Reject, ...]

    @property
    def records(self) -> tuple[ImageRecord, ...]:
        """What is known of the images."""
        return tuple(picture.record for picture in self.pictures)

    def pixels(self) -> Tensor:
        """uint8 (n, 3, crop, crop); there must be at least one image."""
        return torch.stack([picture.prepared for picture in self.pictures])


@dataclass(frozen=True, eq=False)
class ReadOptions:
    """How to read.

    Attributes:
        limits: what one file may cost.
        threads: decoding threads.
        ahead: images decoded or being decoded before they are asked for.
        hang_s: a decode that takes longer hangs, seconds.
        verdicts: by image index, files known to crash or hang a decoder; they are not touched.
        keep_pixels: keep the upright source image beside the model's input.
        decode: decoder.
    """

    limits: LimitsSpec
    threads: int = 1
    ahead: int = 64
    hang_s: float = 30.0
    verdicts: Mapping[int, Verdict] = field(default_factory=dict)
    keep_pixels: bool = False
    decode: Decode = decode.decode


def batches(rows: Iterable[Row], size: int, prepare: Prepare, options: ReadOptions) -> Iterator[Batch]:
    """Read rows in batches on the manifest's grid.

    A batch is rows [i size, (i + 1) size) of what is given, less removed and rejected ones: never by arrival, since the
    numbers of a forward pass can depend on its batch.

    Args:
        rows: rows of the manifest; the first one lies on the grid.
        size: rows per batch.
        prepare: resizes and crops one image; may raise Rejected.
        options: how to read.

    Raises:
        ReadError: a file cannot be read.
        DecoderHang: a decoder did not come back.
    """
    items = _in_order(iter(rows), prepare, options)
    pending = iter(items)
    try:
        while stretch := list(islice(pending, size)):
            pictures = tuple(item for item in stretch if isinstance(item, Picture))
            rejects = tuple(item for item in stretch if isinstance(item, Reject))
            yield Batch(pictures, rejects)
    finally:
        items.close()


@dataclass(eq=False)
class _Job:
    """One image on its way through a decoding thread."""

    row: Row
    started: float | None = None

    def run(self, prepare: Prepare, options: ReadOptions) -> Picture | Reject:
        refusal = self._refused(options)
        if refusal:
            return refusal
        data = sources.read(self.row.uri, self.row.bytes)
        self.started = time.monotonic()
        try:
            pixels = options.decode(data, options.limits)
            prepared = prepare(pixels)
        except Rejected as rejected:
            return Reject(self.row.image_index, self.row.bytes, rejected.reason, rejected.detail)
        height, width = pixels.shape[:2]
        digest = hashlib.sha256(data).hexdigest()
        record = ImageRecord(self.row.image_index, width, height, len(data), digest, decode.DECODER, self.row.group)
        return Picture(record, pixels if options.keep_pixels else None, prepared)

    def _refused(self, options: ReadOptions) -> Reject | None:
        row = self.row
        verdict = options.verdicts.get(row.image_index)
        if row.refused:
            return Reject(row.image_index, row.bytes, Reason(row.refused), "the file's name is no UTF-8 text")
        if verdict:
            return Reject(row.image_index, row.bytes, verdict.reason, verdict.detail)
        if row.bytes > options.limits.bytes:
            detail = f"{row.bytes} bytes, the limit is {options.limits.bytes}"
            return Reject(row.image_index, row.bytes, Reason.TOO_MANY_BYTES, detail)
        return None


def _in_order(rows: Iterator[Row], prepare: Prepare, options: ReadOptions) -> Generator[Any, None, None]:
    """Pictures, rejects, and None for removed rows, in the order of the rows."""
    decode.prepare_decoder()
    pool = ThreadPoolExecutor(options.threads, thread_name_prefix="decode")
    waiting: deque[tuple[_Job, Future[Picture | Reject] | None]] = deque()
    hanging = False
    try:
        for row in rows:
            job = _Job(row)
            waiting.append((job, None if row.removed else pool.submit(job.run, prepare, options)))
            if len(waiting) > options.ahead:
                yield _result(*waiting.popleft(), options.hang_s)
        while waiting:
            yield _result(*waiting.popleft(), options.hang_s)
    except DecoderHang:
        hanging = True
        raise
    finally:
        pool.shutdown(wait=not hanging, cancel_futures=True)


def _result(job: _Job, future: Future[Picture | Reject] | None, hang_s: float) -> Picture | Reject | None:
    while future is not None:
        try:
            return future.result(timeout=min(hang_s, 1.0))
        except TimeoutError:
            if future.done():
                raise
            if job.started is not None and time.monotonic() - job.started > hang_s:
                raise DecoderHang(job.row.image_index) from None
    return None
