"""Frames of a video, decoded in a process of their own, because damaged files crash decoders. Takes numbers, gives frames.

As a program: answers requests from the pipe whose number is its argument. A request is a REQUEST, the version of a video, a null
byte, and its path or URL. An answer is one of ANSWERS and its content. A frame is given as a binary PPM file.

A frame is always decoded from the key frame before it, so that it does not depend on which frames were read before.
"""

import bisect
import errno
import os
import resource
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from cachetools import LRUCache

from workers import files
from workers.errors import Reason, Rejected
from workers.formats import FRAME_MAGIC

MOST_PIXELS = 89_478_485  # of a frame, so that a damaged header cannot take all memory; the limits of a run apply, too
MOST_BYTES = 4 << 30  # of address space that opening and decoding may take
KEPT_BYTES = 64 << 20  # of frames that were passed on the way to another one
REQUEST = struct.Struct("<QQ")  # the number of a frame, and the step to those that will be asked for next
COUNT = (1 << 64) - 1  # in place of a number, asks how many frames there are
ALIVE_EVERY = 100  # packets or frames
OPTIONS = {
    # Without playlists, which name other files.
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi",
    "protocol_whitelist": "",
}


class Answer(bytes, Enum):
    """How an answer begins.

    GIVEN: what was asked for follows. REFUSED: the video is to blame; a reason, a space and a detail follow. FAILED: something
    else is to blame; a message follows. ALIVE: another answer follows.
    """

    GIVEN = b"+"
    REFUSED = b"-"
    FAILED = b"!"
    ALIVE = b"."


@dataclass(frozen=True)
class Index:
    """The frames of a video, in the order in which they are shown.

    Attributes:
        times: the time stamp of each.
        keys: the numbers of key frames, ascending. Decoding can begin there.
    """

    times: tuple[int, ...]
    keys: tuple[int, ...]

    def key_of(self, number: int) -> int:
        """The last key frame up to a frame; the first frame if there is none."""
        place = bisect.bisect_right(self.keys, number)
        return self.keys[place - 1] if place else 0

    def number_of(self, time: int | None) -> int | None:
        """The frame with a time stamp; None if there is none."""
        place = len(self.times) if time is None else bisect.bisect_left(self.times, time)
        return place if place < len(self.times) and self.times[place] == time else None


@dataclass(eq=False)
class Video:
    """An open video.

    Attributes:
        place: its path or URL.
        alive: called again and again during long work.
    """

    place: str
    alive: Callable[[], None]
    _kept: LRUCache[int, bytes] = field(default_factory=lambda: LRUCache(KEPT_BYTES, len))
    _decoded: Iterator[tuple[int, Any]] = field(default_factory=lambda: iter(()))
    _key: int | None = None  # the frame that decoding began with
    _next: int = 0  # the frame after the last one that was decoded

    def __post_init__(self) -> None:
        import av

        filesystem, path = files.filesystem(self.place)
        self._bytes = int(filesystem.size(path))
        if not self._bytes:
            raise Rejected(Reason.EMPTY, "the file has no bytes")
        self._container = av.open(filesystem.open(path, "rb"), options=OPTIONS)
        if not self._container.streams.video:
            raise Rejected(Reason.NOT_AN_IMAGE, "the file has no video stream")
        self._stream = self._container.streams.video[0]
        self._stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
        self._stream.codec_context.thread_count = 1
        self._has_times = self._container.format.name != "avi"  # its time stamps are those of the order of decoding
        self.index = self._make_index()

    def _make_index(self) -> Index:
        """The index, from the headers of all packets. Without time stamps, decoding can begin at the first frame only."""
        packets = list(self._packets())
        if not packets:
            raise Rejected(Reason.EMPTY, "the file has no frames")
        if not self._has_times:
            return Index(tuple(range(len(packets))), ())
        times = tuple(sorted({time for time, _ in packets if time is not None}))
        keys = {time for time, is_key in packets if is_key}
        return Index(times, tuple(number for number, time in enumerate(times) if time in keys))

    def _packets(self) -> Iterator[tuple[int | None, bool]]:
        """The time stamp of each frame in the file, and whether it is a key frame."""
        total = 0
        for number, packet in enumerate(self._container.demux(self._stream)):
            if number % ALIVE_EVERY == 0:
                self.alive()
            total += packet.size
            if total > self._bytes:
                raise Rejected(Reason.DAMAGED, "its frames overlap: together they are larger than the file")
            if packet.size and not packet.is_discard:
                yield packet.pts, packet.is_keyframe

    def frame(self, number: int, step: int) -> bytes:
        """A frame as a PPM file. On the way to it, those whose number is a multiple of `step` are kept.

        Raises:
            Rejected: it cannot be decoded.
        """
        if number in self._kept:
            return self._kept[number]
        key = self.index.key_of(number)
        if key != self._key or number < self._next:
            self._decoded, self._key = self._decode_from(key), key
        for place, decoded in self._decoded:
            self._next = place + 1
            if place == number:
                return to_ppm(decoded)
            if place > number:
                break
            if place % step == 0:
                self._keep(place, to_ppm(decoded))
        self._key = None
        raise Rejected(Reason.DAMAGED, f"frame {number:,} cannot be decoded")

    def _keep(self, place: int, frame: bytes) -> None:
        if len(frame) <= KEPT_BYTES:
            self._kept[place] = frame

    def _decode_from(self, key: int) -> Iterator[tuple[int, Any]]:
        """The frames from a key frame on, with their numbers. What is decoded before it, or is not in the index, is left out."""
        self._container.seek(self.index.times[key] if self._has_times else 0, stream=self._stream)
        for count, frame in enumerate(self._container.decode(self._stream)):
            if count % ALIVE_EVERY == 0:
                self.alive()
            place = self.index.number_of(frame.pts) if self._has_times else count
            if place is not None and place >= key:
                yield place, frame


def to_ppm(frame: Any) -> bytes:  # noqa: ANN401 - av is optional
    """A decoded frame, turned upright, in RGB of 8 bits."""
    pixels = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
    height, width = pixels.shape[:2]
    return FRAME_MAGIC + f"{width} {height}\n255\n".encode() + np.ascontiguousarray(pixels).tobytes()


def serve(connection: Connection) -> None:
    """Answer all requests until the other end of the pipe is closed; see the module."""
    opened, video = b"", None
    while True:
        try:
            request = connection.recv_bytes()
        except EOFError:
            return
        number, step = REQUEST.unpack_from(request)
        wanted = request[REQUEST.size :]
        try:
            if video is None or wanted != opened:
                opened, video = wanted, None  # not the last video, if this one cannot be opened
                place = os.fsdecode(wanted.partition(b"\0")[2])
                video = Video(place, lambda: connection.send_bytes(Answer.ALIVE))
            content = str(len(video.index.times)).encode() if number == COUNT else video.frame(number, step)
            connection.send_bytes(Answer.GIVEN + content)
        except Exception as error:  # noqa: BLE001 - it is sent to whoever asked
            connection.send_bytes(_refusal(error))


def _refusal(error: Exception) -> bytes:
    """The answer to an error: av's own are damage of the video, others are those of the storage, this program or its memory."""
    import av

    line = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, Rejected):
        return Answer.REFUSED + f"{error.reason} {error.detail}".encode(errors="backslashreplace")
    if isinstance(error, av.FFmpegError) or (
        isinstance(error, OSError) and error.errno == errno.EINVAL
    ):  # a seek to nowhere
        return Answer.REFUSED + f"{Reason.DAMAGED} {error.strerror}".encode(errors="backslashreplace")
    return Answer.FAILED + f"{type(error).__name__}: {line}".encode(errors="backslashreplace")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    serve(Connection(int(sys.argv[1])))
