"""Reading a stored file piece by piece. Takes what opens it and what asks the store, gives a stream whose reads are retried."""

import io
from collections.abc import Callable
from functools import partial
from typing import BinaryIO, Protocol, TypeVar

PIECE_BYTES = 8 << 20  # asked for at once where all is read; a read that fails is done again

Result = TypeVar("Result")


class Ask(Protocol):
    """Does something at a store, again if that may help."""

    def __call__(self, act: Callable[[], Result]) -> Result:
        """Its result."""


class Stream(io.RawIOBase):
    """A seekable stream. After a read that failed the file is opened again, and read on from the same place.

    Args:
        opening: opens the file at its beginning.
        ask: does something at the store, again if that may help.
    """

    def __init__(self, opening: Callable[[], BinaryIO], ask: Ask) -> None:
        super().__init__()
        self._opening, self._ask = opening, ask
        self._file: BinaryIO | None = ask(opening)
        self._place = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The place of the next read, bytes from the beginning."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place of the file; from its end if `whence` says so."""
        start = {io.SEEK_SET: lambda: 0, io.SEEK_CUR: self.tell, io.SEEK_END: self._size}[whence]()
        self._place = start + offset
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed calls the buffer's type private
        """Read up to as many bytes as the buffer holds; gives how many."""
        data = self._read_piece(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        """The rest of the file. Python's own asks the store once for each 8 KiB."""
        return b"".join(iter(partial(self._read_piece, PIECE_BYTES), b""))

    def close(self) -> None:
        """Close the file."""
        self._drop()
        super().close()

    def _read_piece(self, most: int) -> bytes:
        data = self._ask(lambda: self._at(self._place, lambda file: file.read(most)))
        self._place += len(data)
        return data

    def _size(self) -> int:
        return self._ask(lambda: self._at(0, lambda file: file.seek(0, io.SEEK_END)))

    def _at(self, place: int, act: Callable[[BinaryIO], Result]) -> Result:
        """Do something with the file at a place of it; a file that failed is not used again."""
        if self._file is None:
            self._file = self._opening()
        try:
            self._file.seek(place)
            return act(self._file)
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
