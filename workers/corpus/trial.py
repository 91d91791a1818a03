"""Trial decoding in a fresh process. Takes rows, decodes them, gives the row at which the process dies or hangs."""

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

import psutil

from workers.corpus import fetch
from workers.corpus.crew import TICK_S, no_answer
from workers.corpus.pixels import PixelFormat
from workers.errors import DeconvoyError, Reason, Rejected, RunStopped, StaleFile
from workers.host.hangs import Limit, WorkLimit
from workers.host.retrying import patience
from workers.spec.parts import LimitsSpec

if TYPE_CHECKING:
    from workers.corpus.manifest import Row

START_S = 60.0
STARTING, READING, DECODING, DONE = "starting", "reading", "decoding", "done"


@dataclass(frozen=True)
class Patience:
    """The time limits of a process.

    Attributes:
        hang_s: a decode that takes longer counts as hanging, seconds; see `WorkLimit`.
        read_hang_s: a read that takes longer counts as hanging, seconds.
    """

    hang_s: float
    read_hang_s: float = fetch.READ_HANG_S


@dataclass(frozen=True)
class Decoder:
    """What is tried.

    Attributes:
        function: the decoder, as module:function.
        limits: limits on one file.
        form: the pixels that it gives; None for its own default.
    """

    function: str
    limits: LimitsSpec
    form: PixelFormat | None = None

    def load(self) -> Callable[[bytes], object]:
        """The function of a file's bytes."""
        module, _, function = self.function.partition(":")
        decode = getattr(import_module(module), function)
        form = {} if self.form is None else {"form": self.form}
        return lambda data: decode(data, self.limits, **form)


@dataclass(frozen=True)
class Failure:
    """Where and how a process failed.

    Attributes:
        position: position of the row that it was decoding.
        reason: whether it crashed or hung; None if SIGKILL ended it, for which the decoder is not to blame.
        detail: a description.
    """

    position: int
    reason: Reason | None
    detail: str


def first_failure(rows: Sequence["Row"], patience: Patience, decoder: Decoder) -> Failure | None:
    """Decode rows in order, in a fresh process; gives the first row at which it dies or hangs.

    Raises:
        ReadError: a file cannot be read, or its storage does not answer, so nothing is known about the decoder.
        StoreError: a storage kept failing until the retries ran out.
        RunStopped: the process did not start.
    """
    with _Child(rows, decoder) as child:
        while child.phase != DONE:
            limit = child.limit(patience)
            try:
                if child.advance(limit):
                    continue
            except EOFError:
                return child.crash()
            return child.hang(patience)
    return None


class _Child:
    """A fresh process that decodes rows and reports each phase before it begins.

    Attributes:
        phase: the current phase.
        position: position of the current row.
    """

    def __init__(self, rows: Sequence["Row"], decoder: Decoder) -> None:
        context = multiprocessing.get_context("spawn")
        self.phase, self.position, self._rows = STARTING, 0, rows
        self._ours, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_decode_all, args=(list(rows), decoder, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> "_Child":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._ours.close()

    def limit(self, patience: Patience) -> Limit | WorkLimit:
        """The time limit of the current phase."""
        if self.phase == READING:
            return Limit(fetch.read_limit(self._rows[self.position].bytes, patience.read_hang_s))
        limit_s = patience.hang_s if self.phase == DECODING else START_S
        return WorkLimit(limit_s, _cpu_of(self._process.pid or 0))

    def advance(self, limit: Limit | WorkLimit) -> bool:
        """Wait for the next phase; False if the limit is exceeded. Raises EOFError if the process has ended."""
        while not self._ours.poll(min(TICK_S, limit.limit_s)):
            if limit.is_over():
                return False
        message = self._ours.recv()
        if isinstance(message, BaseException):
            raise message
        self.phase, self.position = message
        return True

    def crash(self) -> Failure | None:
        """The failure of a process that has ended; None if it was killed before the first row."""
        self._process.join()
        code = self._process.exitcode or 0
        if code == -signal.SIGKILL:  # sent by the kernel when memory runs out, or by a user
            return None if self.phase == STARTING else Failure(self.position, None, "its process was killed")
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        if self.phase != DECODING:
            raise RunStopped(f"the process for trial decoding ended while {self.phase} ({how})")
        return Failure(self.position, Reason.DECODER_CRASH, f"the decoder crashed ({how})")

    def hang(self, patience: Patience) -> Failure:
        """The failure of a process that exceeds a limit."""
        if self.phase == READING:
            raise no_answer(self._rows[self.position].uri, patience.read_hang_s)
        if self.phase != DECODING:
            raise RunStopped(f"the process for trial decoding has not started within {START_S:g} s")
        return Failure(self.position, Reason.DECODER_HANG, f"the decoder did not finish within {patience.hang_s:g} s")


def _cpu_of(pid: int) -> Callable[[], float]:
    """A function that reads the CPU time of a process, seconds."""
    last = 0.0

    def read() -> float:
        nonlocal last
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.Error:  # the process has ended
            return last
        last = times.user + times.system
        return last

    return read


def _decode_all(rows: Sequence["Row"], decoder: Decoder, progress: Connection) -> None:
    run = decoder.load()
    try:
        for position, row in enumerate(rows):
            data = _read(row, position, decoder.limits, progress)
            progress.send((DECODING, position))
            try:
                run(data)
            except Rejected:
                continue
        progress.send((DONE, len(rows)))
    except (DeconvoyError, MemoryError) as error:
        progress.send(error)


def _read(row: "Row", position: int, limits: LimitsSpec, progress: Connection) -> bytes:
    """The bytes of a file; empty if the reader would refuse the file without decoding it."""
    if row.bytes > limits.bytes:
        return b""

    def begin() -> None:
        progress.send((READING, position))

    try:
        return fetch.read(row.uri, row.bytes, row.etag, patience(), begin)
    except (StaleFile, Rejected):  # the scan reports it
        return b""
