"""Small videos. Takes a path, writes a video; reads one from its start, as the oracle."""

from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT, RATE = 64, 48, 25


def moving(count: int, width: int = WIDTH, height: int = HEIGHT) -> list[np.ndarray]:
    """Frames whose colour changes and on which a square moves, each (height, width, 3)."""
    frames = []
    for number in range(count):
        frame = np.zeros((height, width, 3), np.uint8)
        frame[:] = (number * 4 % 256, 255 - number * 4 % 256, 0)
        left = 8 + number % 30
        frame[8:24, left : left + 16, 2] = 200
        frames.append(frame)
    return frames


def write(path: Path, codec: str, frames: list[np.ndarray], pixels: str = "yuv420p", **options: str) -> Path:
    """Write a video. `g` is the largest distance between key frames, `bf` the number of frames that refer to later ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, options={"g": "12", **options})
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def read(path: Path) -> list[np.ndarray]:
    """All frames, decoded one after the other."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def turn(path: Path) -> None:
    """Write into an MP4 file that its pictures are shown turned clockwise by 90 degrees, as phones do."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 36  # of the matrix: nine numbers of 32 bits
    matrix = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    data[place : place + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(data)
