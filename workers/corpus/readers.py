"""Reading in processes. Takes rows, gives batches in order; a crash or hang of a decoder costs a process, not its caller.

The processes live until their user ends. Any of them can read any batch, because each task carries its options. The pixels of a
batch come back in shared memory: torch.multiprocessing, once it is imported, sends tensors that way.
"""

import shutil
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

import numpy as np
import torch
import torch.multiprocessing
from torch import Tensor

from workers.corpus import reader
from workers.corpus.batch import Batch, ImageRecord, PreparedImage, Reject
from workers.corpus.budget import SharedBudget
from workers.corpus.crew import TICK_S, is_done
from workers.corpus.manifest import Row
from workers.corpus.reader import AHEAD_BYTES, FILES_BYTES, PIXELS_BYTES, Memory, Prepare, ReadOptions
from workers.errors import DecoderHang, ReaderCrash, ReaderLost
from workers.host.hangs import Limit
from workers.host.parent import end_with_parent

AHEAD = 2  # batches per reader that may be read before they are needed
MOST_AHEAD_BYTES = 1 << 30  # for one batch per reader, if that is more than AHEAD_BYTES
SILENCE_S = 60.0  # after which a process that shows no progress counts as lost; it may be starting
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - where Linux keeps it; containers often make it small  # nosec B108
PRELOADED = ("workers.corpus.readers", "workers.core.preprocess", "workers.pictures.encode")


@dataclass(frozen=True, eq=False)
class Packed:
    """A batch on its way from a reader, with one array for all of its images.

    Attributes:
        records: properties of the images.
        previews: their previews.
        pixels: (n, channels, height, width); a tensor lies in shared memory, an array is copied.
        rejects: images that cannot be used.
    """

    records: tuple[ImageRecord, ...]
    previews: tuple[bytes | None, ...]
    pixels: Tensor | np.ndarray[Any, Any]
    rejects: tuple[Reject, ...]

    def unpack(self) -> Batch:
        """The batch."""
        pixels = torch.from_numpy(self.pixels) if isinstance(self.pixels, np.ndarray) else self.pixels
        pictures = map(PreparedImage, self.records, self.previews, pixels)
        return Batch(tuple(pictures), self.rejects, pixels)


class Readers:
    """Processes that read batches.

    Args:
        count: number of processes.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._context = _Context()
        self._context.set_forkserver_preload(list(PRELOADED))
        self._is_spoiled = False
        self._start()

    def batches(
        self, rows: Iterable[Row], size: int, input_bytes: int, prepare: Prepare, options: ReadOptions
    ) -> Iterator[Batch]:
        """As `reader.batches`; the options' number of threads and of images to read ahead have no effect.

        Args:
            rows: rows of the manifest, starting at a multiple of `size`.
            size: rows per batch.
            input_bytes: size of a model input.
            prepare: see `reader.batches`; can be pickled, like the options.
            options: options for reading.

        Raises:
            ReaderLost: a reader crashed or hung. New readers replace all of them.
            StaleImage, ReadError, StoreError: see `reader.batches`.
        """
        batch_bytes = size * input_bytes
        ahead = _ahead(self._count, batch_bytes)
        shared = _free_shared_bytes() > 2 * ahead * batch_bytes
        if self._is_spoiled:
            self._replace()
        pending: deque[Future[Packed]] = deque()
        remaining = iter(rows)
        try:
            while part := tuple(islice(remaining, size)):
                pending.append(self._submit(_Task(part, prepare, _for_part(options, part), shared)))
                if len(pending) > ahead:
                    yield self._first(pending).unpack()
            while pending:
                yield self._first(pending).unpack()
        finally:
            self._is_spoiled = self._is_spoiled or bool(pending)  # nobody watches what these batches do

    def close(self) -> None:
        """End the processes, also those that hang."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        for process in self._context.processes:
            if process.pid is not None:  # it was started
                process.kill()
        self._context.processes.clear()

    def _start(self) -> None:
        self._is_spoiled = False
        self._progress = self._context.RawValue("Q", 0)
        files = SharedBudget(self._context, FILES_BYTES, parts=max(64, 4 * self._count))
        pixels = SharedBudget(self._context, PIXELS_BYTES, parts=max(128, 4 * self._count))
        self._executor = ProcessPoolExecutor(
            self._count, self._context, _begin, (self._progress, Memory(files, pixels))
        )

    def _replace(self) -> None:
        self.close()
        self._start()

    def _submit(self, task: "_Task") -> "Future[Packed]":
        try:
            return self._executor.submit(_read, task)
        except (BrokenProcessPool, OSError, EOFError) as error:  # the latter two if no process can be started
            self._replace()
            raise _crashed() from error

    def _first(self, pending: "deque[Future[Packed]]") -> Packed:
        """Wait for the first batch. Readers report progress once a second, unless a decoder blocks their whole process."""
        limit, progress = Limit(SILENCE_S), self._progress.value
        while not is_done(pending[0], TICK_S):
            if self._progress.value != progress:
                progress = self._progress.value
                limit.restart()
            if failed := next(filter(_has_failed, pending), None):  # it may hold memory that the first one waits for
                return self._result(failed)
            if limit.is_over():
                self._replace()
                raise ReaderLost(f"a process that decodes images has not responded for {SILENCE_S:g} s")
        return self._result(pending.popleft())

    def _result(self, future: "Future[Packed]") -> Packed:
        try:
            return future.result()
        except BrokenProcessPool as error:
            self._replace()
            raise _crashed() from error
        except DecoderHang as error:
            self._replace()
            raise ReaderLost(str(error), error.image_index) from error


@cache
def shared_readers(count: int) -> Readers:
    """The readers of this process, which all of its workers share."""
    return Readers(count)


class _Context(ForkServerContext):
    """Makes processes and remembers them, so that those that hang can be killed."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[ForkServerProcess] = []

    def Process(self, *args: Any, **kwargs: Any) -> ForkServerProcess:  # type: ignore[override]  # noqa: N802, ANN401
        """A process; see `multiprocessing.Process`."""
        process = ForkServerProcess(*args, **kwargs)
        self.processes.append(process)
        return process


@dataclass(frozen=True, eq=False)
class _Task:
    """One batch to read."""

    rows: Sequence[Row]
    prepare: Prepare
    options: ReadOptions
    shared: bool

    def run(self, progress: Callable[[], None], memory: Memory) -> Packed:
        options = replace(self.options, progress=progress)
        [batch] = reader.batches(self.rows, len(self.rows), self.prepare, options, memory)
        pixels = batch.pixels() if batch.pictures else torch.empty(0)
        previews = tuple(picture.preview for picture in batch.pictures)
        return Packed(batch.records, previews, self._share(pixels), batch.rejects)

    def _share(self, pixels: Tensor) -> Tensor | np.ndarray[Any, Any]:
        """The pixels in shared memory, or in this process's if there is too little of it."""
        try:
            if self.shared:
                pixels.share_memory_()  # type: ignore[no-untyped-call]
                return pixels
        except RuntimeError:  # torch's, if it is full
            pass
        return pixels.numpy()


def _ahead(count: int, batch_bytes: int) -> int:
    """How many batches are read before they are needed: two per process, or one per process if two need too much memory."""
    most_bytes = max(AHEAD_BYTES, min(count * batch_bytes, MOST_AHEAD_BYTES))
    return max(1, min(AHEAD * count, most_bytes // batch_bytes))


def _for_part(options: ReadOptions, part: Sequence[Row]) -> ReadOptions:
    """The options with the verdicts of a part only: options are sent with each task."""
    verdicts = {
        row.image_index: options.verdicts[row.image_index] for row in part if row.image_index in options.verdicts
    }
    return replace(options, threads=1, verdicts=verdicts)


def _has_failed(future: "Future[Packed]") -> bool:
    return future.done() and future.exception() is not None


def _crashed() -> ReaderCrash:
    return ReaderCrash("a process that decodes images ended unexpectedly")


def _free_shared_bytes() -> float:
    try:
        return shutil.disk_usage(SHARED_MEMORY).free
    except OSError:  # not Linux
        return float("inf")


class _Reader:
    """The state of a reader's process."""

    def __init__(self, progress: Any, memory: Memory) -> None:  # noqa: ANN401 - a number in shared memory
        self._progress, self.memory = progress, memory

    def report(self) -> None:
        """Show that this process responds."""
        self._progress.value += 1


_reader: _Reader | None = None


def _begin(progress: Any, memory: Memory) -> None:  # noqa: ANN401 - a number in shared memory
    """Prepare this process for reading."""
    global _reader
    _reader = _Reader(progress, memory)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the user's Ctrl-C is for the command
    torch.set_num_threads(1)
    end_with_parent()


def _read(task: _Task) -> Packed:
    assert _reader is not None  # noqa: S101 - `_begin` has run
    return task.run(_reader.report, _reader.memory)
