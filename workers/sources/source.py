"""The interfaces of image sources. A source takes a corpus, gives one entry per image; an access takes a uri, gives bytes."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePath, PurePosixPath
from typing import Protocol

from workers.errors import Reason
from workers.formats import FRAME
from workers.host.hangs import Limit


@dataclass(frozen=True)
class Request:
    """Which images are asked of a source.

    Attributes:
        source: the corpus, as a path, glob or URL.
        hidden: whether hidden files and folders are listed.
        extensions: extensions of image files, in lower case with a dot; None for all known ones.
        image_column: column of a table that holds the images or their uris; None to find it by type or name.
        id_column: column of a table that holds the image ids; None if the source makes them.
        columns: further columns of a table, which give labels and groups.
        within: folder or URL below which the uris of a list must lie; None for the folder of the list.
        every: for videos, use every n-th frame; None for the source's own choice.
        in_order: whether the entries come in a fixed order, because the listing ends early.
    """

    source: str
    hidden: bool = False
    extensions: frozenset[str] | None = None
    image_column: str | None = None
    id_column: str | None = None
    columns: frozenset[str] = frozenset()
    within: str | None = None
    in_order: bool = False
    every: int | None = None


class PassedOver(StrEnum):
    """Why something in a corpus is not listed. A folder counts as one, whatever it contains."""

    HIDDEN = "hidden"
    NO_EXTENSION = "no extension"
    DANGLING_LINK = "dangling link"
    LINK_LOOP = "link loop"
    UNREADABLE_FOLDER = "unreadable folder"
    UNREADABLE_LINK = "link into an unreadable folder"
    NOT_A_FILE = "not a regular file"
    ENCRYPTED = "encrypted"
    COMPRESSION = "unknown compression"
    SPLIT = "of another split"
    NO_SPLIT = "without a split"


@dataclass
class Tally:
    """What a listing passes over, by reason: a `PassedOver`, or an extension such as `.txt`."""

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, reason: str) -> None:
        """Count one thing."""
        self.counts[str(reason)] += 1

    def take_back(self, reason: str) -> None:
        """Count one thing less."""
        self.counts[reason] -= 1
        self.counts = +self.counts


def describe(passed_over: Mapping[str, int]) -> str:
    """The counts of what is skipped, the largest first, as text."""
    counts = sorted(passed_over.items(), key=lambda item: (-item[1], item[0]))
    has_videos = any(reason in FRAME.extensions for reason in passed_over)
    hint = " (videos beside images are not read; select them with a glob such as '**/*.mp4')" if has_videos else ""
    return ", ".join(f"{count:,} {reason}" for reason, count in counts) + hint


@dataclass(frozen=True)
class SourceEntry:
    """One image in a source's listing.

    Attributes:
        image_id: stable key; for files, the path below the corpus.
        uri: the key by which `Access` reads the image.
        bytes: size, bytes.
        etag: identifies the version of the image; empty if unknown.
        refused: why the image can never be read; None if it can.
        label: the label that the corpus itself gives, for example in a sidecar; None if it gives none.
        path: the path whose folders give labels and groups; by default image_id.
        columns: the requested columns of a table; None if the corpus is not a table.
        group: the group that the corpus itself gives, such as the video of a frame; None if it gives none.
    """

    image_id: str
    uri: str
    bytes: int
    etag: str
    refused: Reason | None = None
    label: str | None = None
    path: str | None = None
    columns: Mapping[str, str | None] | None = None
    group: str | None = None

    def folder(self, number: int = 1) -> str | None:
        """The name of the image's folder, counted from the file; None if there are fewer."""
        parents = PurePosixPath(self.path or self.image_id).parents
        return parents[number - 1].name or None if number <= len(parents) else None


Alive = Callable[[], None]


def nothing() -> None:
    """Do nothing."""


class Access(Protocol):
    """Reads listed images by the uri in their manifest rows. Must be thread-safe."""

    def reads(self, uri: str) -> bool:
        """Whether this access reads a uri."""

    def read(self, uri: str, expected_bytes: int, etag: str, alive: Alive = nothing) -> bytes:
        """The bytes of an image in its listed version.

        Args:
            uri: the image.
            expected_bytes: its size; UNKNOWN_BYTES is not compared.
            etag: its version; an empty one is not compared.
            alive: called again and again during long work, such as decoding a video up to a frame.

        Raises:
            StaleFile: the image has changed.
            Rejected: it is a damaged member of an archive.
            FileNotFoundError, NotADirectoryError: the image has vanished.
            Exception: any error of the storage.
        """

    def staleness(self, uri: str, expected_bytes: int, etag: str) -> Reason | None:
        """Whether a listed image has vanished or changed, without reading it; None if it is unchanged.

        Raises:
            OSError: the storage cannot be read.
        """

    def first_byte(self, uri: str) -> None:
        """Read the first byte of an image; raises OSError if this machine cannot."""

    def corpus_exists(self, uri: str, image_id: str) -> bool:
        """Whether the corpus of an image exists and, if the storage can tell, is not empty."""


class Source(Protocol):
    """One kind of corpus."""

    @property
    def access(self) -> Access:
        """Reads the images of this source. Several sources may share an access."""

    def accepts(self, source: str) -> bool:
        """Whether a corpus is of this kind; decided by its text, without access to storage."""

    def absolute(self, source: str, folder: PurePath) -> str:
        """The corpus with relative paths resolved against `folder`."""

    def places(self, source: str, within: str | None = None) -> tuple[str, ...]:
        """The paths, globs and URLs in the corpus; the caller must be allowed to read all of them.

        Args:
            source: the corpus.
            within: folder or URL below which the paths of a list lie; None for the folder of the list.
        """

    def entries(self, request: Request, limit: Limit, tally: Tally) -> Iterator[SourceEntry]:
        """All images, streaming, in any order; the manifest sorts them by image_id.

        Args:
            request: the corpus, and which of its images.
            limit: how long the storage may be silent. Every answer restarts it, whether or not it contains an image.
            tally: counts what is skipped.

        Raises:
            CorpusError: the corpus cannot be listed. Raised by the call itself, not by the first entry.
        """
