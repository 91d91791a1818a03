"""What a source of images is. Takes a corpus as a spec names it, gives one entry per image; takes a uri, gives bytes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Protocol

from workers.errors import Reason
from workers.host.hangs import Limit


@dataclass(frozen=True)
class Entry:
    """One image as its source lists it.

    Attributes:
        image_id: stable key; for files the path below the corpus.
        uri: what `Access` reads it by.
        bytes: its size.
        etag: tells two versions of it apart; empty if that is not known.
        refused: why it cannot be read at all; None if it can.
    """

    image_id: str
    uri: str
    bytes: int
    etag: str
    refused: Reason | None = None


class Access(Protocol):
    """Reads images that were listed earlier, by the uri in their manifest row. May be used by many threads."""

    def reads(self, uri: str) -> bool:
        """Whether a uri is one of these."""

    def read(self, uri: str, expected_bytes: int, etag: str) -> bytes:
        """The bytes of an image, if it still is the version that was listed; an empty etag is not compared.

        Raises:
            StaleFile: it is another version now.
            FileNotFoundError, NotADirectoryError: it is gone.
            Exception: whatever its storage raises.
        """

    def staleness(self, uri: str, expected_bytes: int, etag: str) -> Reason | None:
        """Whether a listed image is gone or has changed, without reading it; None if it is as it was listed.

        Raises:
            OSError: it cannot be known.
        """

    def first_byte(self, uri: str) -> None:
        """Prove that an image can be opened and read from here, or raise OSError."""

    def is_corpus_there(self, uri: str, image_id: str) -> bool:
        """Whether the corpus that holds an image exists and, as far as that can be asked, holds something."""


class Source(Protocol):
    """One way to name a corpus."""

    @property
    def access(self) -> Access:
        """Reads what this source lists. Several sources may share one."""

    def accepts(self, source: str) -> bool:
        """Whether a corpus is written as one of this kind; touches no storage."""

    def absolute(self, source: str, folder: PurePath) -> str:
        """The corpus as every process understands it: relative paths in it are relative to `folder`."""

    def places(self, source: str) -> tuple[str, ...]:
        """The paths, globs and URLs that the corpus names, which a caller must be allowed to read."""

    def entries(self, source: str, limit: Limit) -> Iterator[Entry]:
        """All images, streaming, in any order: the manifest sorts them by image_id.

        Args:
            source: the corpus.
            limit: how long the storage may be silent; every answer restarts it, whether it names an image or not.

        Raises:
            CorpusError: at the call, not at the first entry: the corpus cannot be listed.
        """
