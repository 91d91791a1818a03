"""Corpora of videos. Takes videos, a glob or a folder, gives an entry for every n-th frame; reads frames by their number.

Videos are opened in processes of their own (`frames`): a damaged file may crash or hang the decoder, but not an actor.
"""

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from workers import formats
from workers.errors import CorpusError, Reason, Rejected
from workers.sources.containers import Container, ContainerSource
from workers.sources.frames import COUNT, REQUEST, Answer
from workers.sources.member_uris import MemberUri
from workers.sources.members import Members
from workers.sources.source import Alive, SourceEntry, nothing
from workers.sources.versions import UNKNOWN_BYTES

SCHEME = "video"
EVERY = 25  # frames: about one per second
ATTEMPTS = 2  # of a decoder that crashes or hangs
HANG_S = 40.0  # without a sign of life; both attempts together take less than reading a file may
TICK_S = 1.0


def _frames(container: Container) -> Iterator[SourceEntry]:
    """Every n-th frame of a video. One that cannot be opened has a single entry, which the scan rejects with the reason.

    Raises:
        CorpusError: the optional package is missing, or the video changed while it was being listed.
    """
    _require_extra(container)
    own = container.prefix.rstrip("/") or container.path.rpartition("/")[2]  # a single video has no prefix
    every = container.request.every or EVERY
    with container.unchanged() as version:
        try:
            count = FrameReader(container.place, version).count(container.limit.restart)
        except Rejected:
            count = 1
        for number in range(0, count, every):
            container.limit.restart()
            yield SourceEntry(
                image_id=f"{own}/{number:06d}",
                uri=str(MemberUri(SCHEME, "frame", container.place, f"{number}+{every}")),
                bytes=UNKNOWN_BYTES,
                etag=version,
                path=own,
                group=own,
            )


def _require_extra(container: Container) -> None:
    kind = formats.FRAME
    if not formats.version_of(kind.package):
        raise CorpusError(
            f"{container.place!r} is a video, which needs {kind.package}: pip install 'deconvoy[{kind.extra}]'"
        )


@dataclass(frozen=True)
class _Silence:
    """Why there is no answer."""

    reason: Reason
    detail: str


class _Process:
    """A process that decodes videos, one after the other; see `frames`."""

    def __init__(self) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        words = [sys.executable, "-P", "-m", "workers.sources.frames", str(theirs.fileno())]
        # The threads of numpy's linear algebra, which is not used, would take memory.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            words, env=environment, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        theirs.close()
        self._owes_answer = False
        weakref.finalize(self, _stop, self._process)

    def ask(self, request: bytes, alive: Alive) -> bytes | _Silence:
        """The content of an answer, or why there is none. `alive` is called while the process is at work.

        Raises:
            Rejected: the video is to blame.
            OSError: the storage is, or the process was killed from outside.
        """
        self._owes_answer = True
        try:
            self._connection.send_bytes(request)
            answer = self._receive(alive)
            self._owes_answer = False
        except (EOFError, ConnectionError):
            return self._blame()
        if isinstance(answer, _Silence):
            return answer
        kind, content = answer[:1], answer[1:]
        if kind == Answer.FAILED:
            raise OSError(errno.EIO, content.decode())
        if kind == Answer.REFUSED:
            reason, _, detail = content.decode().partition(" ")
            raise Rejected(Reason(reason), detail)
        return content

    def is_alive(self) -> bool:
        """Whether it can be asked. If an error cut a request short, its answer could be taken for that to the next one."""
        return not self._owes_answer and self._process.poll() is None

    def _receive(self, alive: Alive) -> bytes | _Silence:
        answer: bytes = Answer.ALIVE
        while answer == Answer.ALIVE:
            alive()
            if not self._connection.poll(HANG_S):
                _stop(self._process)
                return _Silence(Reason.DECODER_HANG, f"the decoder has not answered for {HANG_S:g} s")
            answer = self._connection.recv_bytes()
        return answer

    def _blame(self) -> _Silence:
        code = self._process.wait()
        if code == -signal.SIGKILL:
            raise OSError(errno.EAGAIN, "the process that decodes videos was killed")
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return _Silence(Reason.DECODER_CRASH, f"the decoder crashed ({how})")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


_IDLE: list[_Process] = []  # free for another video; starting a process takes half a second


def _take_process() -> _Process:
    """An idle process, or a new one."""
    while _IDLE:
        with suppress(IndexError):  # another thread took the last one
            process = _IDLE.pop()
            if process.is_alive():
                return process
    return _Process()


@dataclass(eq=False)
class FrameReader:
    """Reads frames of one version of a video. One thread at a time asks.

    Attributes:
        place: path or URL of the video.
        version: its etag.
    """

    place: str
    version: str
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._process = _take_process()

    def __del__(self, idle: list[_Process] = _IDLE) -> None:
        """Leave the process to other videos. When Python ends, the module's names may be gone before its objects are."""
        if hasattr(self, "_process"):
            idle.append(self._process)

    def count(self, alive: Alive = nothing) -> int:
        """The number of frames.

        Raises:
            Rejected: the video cannot be opened.
            OSError: it cannot be read.
        """
        return int(self.ask(COUNT, 1, alive))

    def read(self, member: MemberUri, expected_bytes: int, alive: Alive = nothing) -> bytes:
        """A frame as a PPM file; see `MemberReader`.

        Raises:
            Rejected: the frame cannot be decoded.
        """
        del expected_bytes
        number, step = map(int, member.place.split("+"))
        return self.ask(number, step, alive)

    def ask(self, number: int, step: int, alive: Alive = nothing) -> bytes:
        """An answer; see `frames`. A decoder that crashes or hangs gets a second process.

        Raises:
            Rejected: the video is to blame.
            OSError: something else is.
        """
        request = REQUEST.pack(number, step) + self.version.encode() + b"\0" + os.fsencode(self.place)
        while not self._lock.acquire(timeout=TICK_S):
            alive()  # the time that other frames take does not count
        try:
            return self._ask_again(request, alive)
        finally:
            self._lock.release()

    def _ask_again(self, request: bytes, alive: Alive) -> bytes:
        for attempt in range(1, ATTEMPTS + 1):
            answer = self._ask_process(request, alive)
            if isinstance(answer, bytes):
                return answer
            self._process = _Process()
            if attempt == ATTEMPTS:
                raise Rejected(answer.reason, answer.detail)
        raise AssertionError("there is at least one attempt")

    def _ask_process(self, request: bytes, alive: Alive) -> bytes | _Silence:
        if not self._process.is_alive():
            self._process = _Process()
        return self._process.ask(request, alive)


# `clips/*.mp4`, a folder of videos, or one video. The group of a frame is its video.
VIDEO = ContainerSource("video", formats.FRAME.extensions, _frames, Members(SCHEME, FrameReader))
