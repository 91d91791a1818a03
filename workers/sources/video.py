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
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from workers import formats
from workers.errors import CorpusError, Reason, Rejected
from workers.sources import members
from workers.sources.containers import Container, ContainerSource
from workers.sources.frames import ALIVE, COUNT, GIVEN, REFUSED, REQUEST
from workers.sources.member_uris import MemberUri
from workers.sources.members import Members
from workers.sources.source import SourceEntry
from workers.sources.versions import UNKNOWN_BYTES

SCHEME = "video"
EVERY = 25  # frames: about one per second
ATTEMPTS = 2  # of a decoder that crashes or hangs
HANG_S = 100.0  # for an answer; less than the time that a read may take


def _frames(container: Container) -> Iterator[SourceEntry]:
    """Every n-th frame of a video; one refused entry for a video that cannot be read.

    Raises:
        CorpusError: the optional package is missing, or the video changed while it was being listed.
    """
    _require_extra(container)
    etag = members.version_of(container.filesystem, container.path)
    own = container.prefix.rstrip("/") or container.path.rpartition("/")[2]
    try:
        count, refused = len(FrameReader(container.place, container.limit.restart)), None
    except Rejected as error:
        count, refused = 1, error.reason
    every = container.request.every or EVERY
    for number in range(0, count, every):
        container.limit.restart()
        yield SourceEntry(
            image_id=f"{container.prefix}{number:06d}",
            uri=str(MemberUri(SCHEME, "frame", container.place, f"{number}+{every}")),
            bytes=UNKNOWN_BYTES,
            etag=etag,
            refused=refused,
            path=own,
            group=own,
        )
    if members.version_of(container.filesystem, container.path) != etag:
        raise CorpusError(f"file {container.place!r} changed while it was being listed; run the same command again")


def _require_extra(container: Container) -> None:
    if not formats.version_of(formats.FRAME.package):
        kind = formats.FRAME
        raise CorpusError(
            f"{container.place!r} is a video, which needs {kind.package}: pip install 'deconvoy[{kind.extra}]'"
        )


@dataclass(frozen=True)
class _Silence:
    """Why there is no answer."""

    reason: Reason
    detail: str

    def __str__(self) -> str:
        return self.detail


class _Process:
    """A process that decodes videos, one after the other; see `frames`."""

    def __init__(self) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        words = [sys.executable, "-P", "-m", "workers.sources.frames", str(theirs.fileno())]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            words, env=environment, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        theirs.close()
        weakref.finalize(self, self._process.kill)

    def ask(self, request: bytes, alive: Callable[[], None]) -> "bytes | _Silence":
        """The content of an answer, or why there is none. `alive` is called while the answer is awaited.

        Raises:
            Rejected: the answer is a refusal.
            OSError: the process was killed from outside, for which the video is not to blame.
        """
        try:
            self._connection.send_bytes(request)
            answer = ALIVE
            while answer == ALIVE:
                alive()
                if not self._connection.poll(HANG_S):
                    self._process.kill()
                    self._process.wait()
                    return _Silence(Reason.DECODER_HANG, f"the decoder has not answered for {HANG_S:g} s")
                answer = self._connection.recv_bytes()
        except (EOFError, ConnectionError):
            return self._blame()
        if answer.startswith(REFUSED):
            reason, _, detail = answer.removeprefix(REFUSED).decode().partition(" ")
            raise Rejected(Reason(reason), detail)
        return answer.removeprefix(GIVEN)

    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def _blame(self) -> _Silence:
        code = self._process.wait()
        if code == -signal.SIGKILL:
            raise OSError(errno.EAGAIN, "the process that decodes videos was killed")
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return _Silence(Reason.DECODER_CRASH, f"the decoder ends its process ({how})")


_IDLE: list[_Process] = []  # processes whose video nobody reads any more; starting one takes half a second


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
    """Reads frames of one video. One thread at a time asks.

    Attributes:
        place: path or URL of the video.
        alive: called again and again while an answer is awaited.
    """

    place: str
    alive: Callable[[], None] = lambda: None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._process = _take_process()

    def __del__(self) -> None:
        """Leave the process to other videos."""
        _IDLE.append(self._process)

    def __len__(self) -> int:
        """The number of frames.

        Raises:
            Rejected: the video cannot be opened.
        """
        return int(self._ask(COUNT, 1))

    def read(self, member: MemberUri, expected_bytes: int) -> bytes:
        """A frame as a PPM file; see `MemberReader`.

        Raises:
            Rejected: the frame cannot be decoded.
        """
        del expected_bytes
        number, step = map(int, member.place.split("+"))
        return self._ask(number, step)

    def _ask(self, number: int, step: int) -> bytes:
        """An answer. A decoder that crashes or hangs gets a second process."""
        request = REQUEST.pack(number, step) + os.fsencode(self.place)
        with self._lock:
            for _ in range(ATTEMPTS):
                answer = self._ask_process(request)
                if isinstance(answer, bytes):
                    return answer
                self._process = _Process()
        raise Rejected(answer.reason, answer.detail)

    def _ask_process(self, request: bytes) -> bytes | _Silence:
        try:
            return self._process.ask(request, self.alive)
        except OSError:
            self._process = _Process()
            raise


# `clips/*.mp4`, a folder of videos, or one video. The group of a frame is its video.
VIDEO = ContainerSource(
    "video", formats.FRAME.extensions, _frames, Members(SCHEME, lambda place, _: FrameReader(place))
)
