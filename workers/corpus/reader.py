"""From manifest rows to batches of model inputs. Takes rows, gives uint8 batches on a fixed grid, decoded in threads.

Memory is bounded in bytes, for any images. The row gives the size of a file, and the file's header the size of its
pixels. A thread waits until that much memory is free, and drops the pixels once it has made the model's input.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from torch import Tensor

from workers.corpus import decode, fetch
from workers.corpus.batch import Batch, ImageRecord, PreparedImage, Reject
from workers.corpus.budget import Budget, Reservable
from workers.corpus.crew import LAST_WAIT_S, TICK_S, Crew, is_done, no_answer
from workers.corpus.isolate import Verdict
from workers.corpus.manifest import Row
from workers.corpus.pixels import RGB, Claim, Pixels
from workers.errors import DecoderHang, DeconvoyError, Reason, Rejected, StaleFile, StaleImage
from workers.host.hangs import Limit, WorkLimit, thread_cpu
from workers.host.heap import Heap
from workers.host.retrying import patience
from workers.host.steady import SteadyClock
from workers.sources import versions
from workers.spec.parts import LimitsSpec, Pair

FILES_BYTES = 256 << 20  # for files that are read but not yet decoded
PIXELS_BYTES = 1 << 30  # for decoded pixels, and the memory of the decoders
AHEAD_BYTES = 256 << 20  # for model inputs that wait for the model

Decode = Callable[[bytes, LimitsSpec, Claim], Pixels]


class Prepare(Protocol):
    """Makes a model input."""

    def __call__(self, pixels: Pixels, *, size: Pair) -> Tensor:
        """Resize and crop the pixels of an upright image, whose height and width in its file are `size`."""


@dataclass(frozen=True, eq=False)
class Memory:
    """The memory that the threads or processes of one user share.

    Attributes:
        files: for files that are read but not yet decoded.
        pixels: for decoded pixels, and the memory of the decoders.
    """

    files: Reservable
    pixels: Reservable


def no_extra_bytes(height: int, width: int) -> int:
    """The additional memory of options that make only small pictures."""
    del height, width
    return 0


def no_progress() -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, eq=False)
class ReadOptions:
    """Options for reading.

    Attributes:
        limits: the largest accepted file and image.
        threads: number of decoding threads.
        ahead: number of images to decode ahead of the caller.
        hang_s: a decode that takes longer counts as hanging, seconds; see `WorkLimit`.
        read_hang_s: a read that takes longer counts as hanging, seconds.
        patience_s: how long failed reads are retried, seconds.
        verdicts: by image index, files known to crash or hang a decoder, or to be stale; they are not read.
        preview: makes a small encoded copy of an upright image.
        extra_bytes: memory that `prepare` and `preview` need in addition to the pixels, by height and width.
        pixel_bytes: size of a decoded pixel.
        decode: the decoder.
        is_reduced: whether it may reduce images.
        progress: called after each image, and once a second unless all images wait for memory.
    """

    limits: LimitsSpec
    threads: int = 1
    ahead: int = 64
    hang_s: float = 30.0
    read_hang_s: float = fetch.READ_HANG_S
    patience_s: float = field(default_factory=patience)
    verdicts: Mapping[int, Verdict] = field(default_factory=dict)
    preview: Callable[[Pixels], bytes] | None = None
    extra_bytes: Callable[[int, int], int] = no_extra_bytes
    pixel_bytes: int = RGB.pixel_bytes
    decode: Decode = decode.decode
    is_reduced: bool = False
    progress: Callable[[], None] = no_progress


def ahead(size: int, input_bytes: int) -> int:
    """The number of images to read ahead for batches of `size` images: two batches, or fewer to stay in AHEAD_BYTES."""
    return min(2 * size, max(2, AHEAD_BYTES // input_bytes))


def batches(
    rows: Iterable[Row], size: int, prepare: Prepare, options: ReadOptions, memory: Memory | None = None
) -> Iterator[Batch]:
    """Read rows in batches on the manifest's grid.

    Batch i consists of rows [i size, (i + 1) size), without removed and rejected images. It never depends on the order in
    which images finish decoding, because the numbers of a forward pass can depend on its batch.

    Args:
        rows: rows of the manifest, starting at a multiple of `size`.
        size: rows per batch.
        prepare: resizes and crops one image; may raise Rejected.
        options: options for reading.
        memory: the memory that images may take; by default of this call alone.

    Raises:
        StaleImage: a file has vanished or changed since it was listed.
        ReadError: a file cannot be read, or its storage does not answer.
        StoreError: a storage kept failing until the retries ran out.
        DecoderHang: a decoder did not return in time.
    """
    items = _in_order(
        iter(rows), _Decoding(prepare, options, memory or Memory(Budget(FILES_BYTES), Budget(PIXELS_BYTES)))
    )
    pending = iter(items)
    try:
        while group := list(islice(pending, size)):
            pictures = tuple(item for item in group if isinstance(item, PreparedImage))
            rejects = tuple(item for item in group if isinstance(item, Reject))
            yield Batch(pictures, rejects)
    finally:
        items.close()


class _Decoding:
    """The state that the threads of one reader share."""

    def __init__(self, prepare: Prepare, options: ReadOptions, memory: Memory) -> None:
        self.prepare, self.options, self.memory, self.heap = prepare, options, memory, Heap()
        self.clock = SteadyClock()


class _Image:
    """One image in a decoding thread. Time that it waits for memory does not count against its limits."""

    def __init__(self, row: Row, decoding: _Decoding) -> None:
        self._row, self._shared, self._options = row, decoding, decoding.options
        self._limit: tuple[Limit | WorkLimit, DeconvoyError] | None = None

    def is_stuck(self) -> bool:
        """Whether the current limit is exceeded; to be called about once a second."""
        limit = self._limit
        return limit is not None and limit[0].is_over()

    @property
    def is_running(self) -> bool:
        """Whether it is being read or decoded, and does not wait for memory."""
        return self._limit is not None

    def check(self) -> None:
        """Raise the limit's error if the limit is exceeded."""
        limit = self._limit
        if limit and limit[0].is_over():
            raise limit[1]

    def run(self) -> PreparedImage | Reject:
        """Read, decode and prepare the image."""
        refusal = self._refusal()
        if refusal:
            return refusal
        data = b""
        with self._shared.memory.files.reserve(fetch.likely_bytes(self._row.bytes)), ExitStack() as memory:
            try:
                data = self._read()
                self._limit_decoder()
                return self._decode(data, memory)
            except Rejected as rejected:
                size = len(data) if self._row.bytes == versions.UNKNOWN_BYTES else self._row.bytes
                return Reject(self._row.image_index, size, rejected.reason, rejected.detail)
            except StaleFile as stale:
                raise StaleImage(self._row.image_index, stale.reason, str(stale)) from stale
            finally:
                self._limit = None

    def _read(self) -> bytes:
        row, limit_s = self._row, fetch.read_limit(self._row.bytes, self._options.read_hang_s)

        def begin() -> None:
            self._limit = Limit(limit_s, self._shared.clock), no_answer(row.uri, limit_s)

        return fetch.read(row.uri, row.bytes, row.etag, self._options.patience_s, begin)

    def _decode(self, data: bytes, memory: ExitStack) -> PreparedImage:
        """Decode and prepare; the memory of the pixels is reserved until `memory` closes."""
        options = self._options

        def claim(height: int, width: int, working_bytes: int) -> None:
            self._limit = None
            needed = max(working_bytes, options.pixel_bytes * height * width + options.extra_bytes(height, width))
            memory.enter_context(self._shared.memory.pixels.reserve(needed))
            memory.callback(self._shared.heap.count_freed, needed)
            self._limit_decoder()

        decode.require_fitting_name(data, self._row.image_id, self._row.uri)
        pixels = options.decode(data, options.limits, claim)
        size = decode.upright_size(data, pixels) if options.is_reduced else pixels.shape[:2]
        prepared = self._shared.prepare(pixels, size=size)
        preview = options.preview(pixels) if options.preview else None
        return PreparedImage(self._record(data, *size), preview, prepared)

    def _record(self, data: bytes, height: int, width: int) -> ImageRecord:
        digest, decoder = hashlib.sha256(data).hexdigest(), decode.decoder_of(data)
        return ImageRecord(self._row.image_index, width, height, len(data), digest, decoder, self._row.group)

    def _limit_decoder(self) -> None:
        limit = WorkLimit(self._options.hang_s, thread_cpu(), self._shared.clock)
        self._limit = limit, DecoderHang(self._row.image_index)

    def _refusal(self) -> Reject | None:
        """The reject of an image that need not be read."""
        row, limits = self._row, self._options.limits
        verdict = self._options.verdicts.get(row.image_index)
        if row.refused:
            return Reject(row.image_index, row.bytes, Reason(row.refused), _REFUSALS[Reason(row.refused)])
        if verdict:
            return Reject(row.image_index, row.bytes, verdict.reason, verdict.detail)
        if row.bytes > limits.bytes:
            detail = f"{row.bytes} bytes; the limit is {limits.bytes}"
            return Reject(row.image_index, row.bytes, Reason.TOO_MANY_BYTES, detail)
        return None


# Why the listing itself rejects an image.
_REFUSALS = {
    Reason.BAD_NAME: "the file's name is not UTF-8, or contains '?versionId=' (or '::', for archives, Parquet files and videos)",
    Reason.VANISHED: "the list names a file that does not exist",
}

Waiting = deque[tuple[_Image | None, Future[PreparedImage | Reject] | None]]


def _in_order(rows: Iterator[Row], decoding: _Decoding) -> Generator[PreparedImage | Reject | None, None, None]:
    """Pictures, rejects, and None for removed rows, in the order of the rows."""
    decode.prepare_decoder()
    crew = Crew(decoding.options.threads, "decode")
    waiting: Waiting = deque()
    try:
        for row in rows:
            image = None if row.removed else _Image(row, decoding)
            waiting.append((image, crew.submit(image.run) if image else None))
            if len(waiting) > decoding.options.ahead:
                yield _first(waiting, decoding.options)
        while waiting:
            yield _first(waiting, decoding.options)
    finally:
        stuck = any(image.is_stuck() for image, _ in waiting if image)
        crew.close(0.0 if stuck else LAST_WAIT_S)


def _first(waiting: Waiting, options: ReadOptions) -> PreparedImage | Reject | None:
    """Wait for the result of the first image. All images are checked meanwhile: a stuck one may hold memory that others need."""
    future = waiting[0][1]
    tick_s = min(TICK_S, options.hang_s / 4, options.read_hang_s / 4)
    options.progress()
    while future and not is_done(future, tick_s):
        if any(image.is_running for image, _ in waiting if image):
            options.progress()
        for image, _ in waiting:
            if image:
                image.check()
    waiting.popleft()
    return future.result() if future else None
