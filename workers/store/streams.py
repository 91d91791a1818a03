"""Streams of stored files. Takes a function that opens a file and one that retries, gives a stream whose reads are retried."""

import io
from collections.abc import Callable
from functools import partial
from typing import BinaryIO, Protocol, TypeVar

PIECE_BYTES = 8 << 20  # size of one read when a whole file is read; a failed read is retried

Result = TypeVar("Result")


class Ask(Protocol):
    """Runs an operation on a store, with retries."""

    def __call__(self, act: Callable[[], Result]) -> Result:
        """The result of the operation."""


class Stream(io.RawIOBase):
    """A seekable stream. After a failed read, the file is opened again and read from the same position.

    Args:
        opening: opens the file at its start.
        ask: runs an operation on the store, with retries.
    """

    def __init__(self, opening: Callable[[], BinaryIO], ask: Ask) -> None:
        super().__init__()
        self._opening, self._ask = opening, ask
        self._file: BinaryIO | None = ask(opening)
        self._position = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position of the next read, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position, relative to the start, the current position or the end."""
        start = {io.SEEK_SET: lambda: 0, io.SEEK_CUR: self.tell, io.SEEK_END: self._size}[whence]()
        self._position = start + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed calls the buffer's type private
        """Fill the buffer with at most its size; returns the number of bytes."""
        data = self._read_piece(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        """The rest of the file. Python's own method would read 8 KiB at a time."""
        return b"".join(iter(partial(self._read_piece, PIECE_BYTES), b""))

    def close(self) -> None:
        """Close the file."""
        self._drop()
        super().close()

    def _read_piece(self, most: int) -> bytes:
        data = self._ask(lambda: self._at(self._position, lambda file: file.read(most)))
        self._position += len(data)
        return data

    def _size(self) -> int:
        return self._ask(lambda: self._at(0, lambda file: file.seek(0, io.SEEK_END)))

    def _at(self, position: int, act: Callable[[BinaryIO], Result]) -> Result:
        """Run an operation on the file at a position. A file that failed is not used again."""
        if self._file is None:
            self._file = self._opening()
        try:
            self._file.seek(position)
            return act(self._file)
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
