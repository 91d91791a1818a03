"""The bytes of listed images. Takes a manifest row's uri, size and etag; asks the access that knows it, patiently."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from workers.errors import ReadError, Reason
from workers.host import retrying
from workers.host.retrying import retried
from workers.sources import versions
from workers.sources.registry import access_of

READ_HANG_S = 120.0
SLOWEST_BYTES_PER_S = 1 << 20


def read(
    uri: str,
    expected_bytes: int,
    etag: str = "",
    patience_s: float = 0.0,
    begin: Callable[[], None] = lambda: None,
) -> bytes:
    """The bytes of a listed image, if it still is the one that was listed.

    Args:
        uri: where it is.
        expected_bytes: its size then.
        etag: of the version that was listed; empty if it is not known.
        patience_s: how long failures that may pass are tried again, seconds; 0 tries once.
        begin: is called before each try.

    Raises:
        StaleFile: it is gone, or another one now.
        ReadError: it cannot be read.
        StoreError: it could not be read for as long as there was patience.
    """

    def attempt() -> bytes:
        begin()
        return access_of(uri).read(uri, expected_bytes, etag)

    with naming(uri):
        try:
            return _patiently(attempt, f"reading {uri}", patience_s)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise versions.vanished(uri) from error


@contextmanager
def naming(uri: str) -> Iterator[None]:
    """Turn whatever a storage raises, which need not be an OSError, into a ReadError that names the file."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and not retrying.may_pass(error):
            raise
        raise ReadError(f"{uri} cannot be read: {retrying.reason(error)}") from error


def staleness(uri: str, expected_bytes: int, etag: str) -> Reason | None:
    """Whether a listed image is gone or has changed, without reading it; None if it is as it was listed.

    Raises:
        OSError: it cannot be known.
    """
    return access_of(uri).staleness(uri, expected_bytes, etag)


def is_corpus_there(uri: str, image_id: str) -> bool:
    """Whether the corpus of an image exists and, as far as that can be asked, holds something."""
    return access_of(uri).is_corpus_there(uri, image_id)


def first_byte(uri: str) -> None:
    """Prove that an image can be opened and read from here, or raise OSError."""
    access_of(uri).first_byte(uri)


def read_limit(size_bytes: int, limit_s: float) -> float:
    """How long one read of so many bytes may take, seconds: a slow storage is not a dead one."""
    return limit_s + size_bytes / SLOWEST_BYTES_PER_S


def _patiently(attempt: Callable[[], bytes], what: str, patience_s: float) -> bytes:
    """Almost every read succeeds at once, and the retry policy alone costs as much as reading a small file."""
    try:
        return attempt()
    except Exception as error:
        if patience_s <= 0 or not retrying.may_pass(error):
            raise
    return retried(attempt, what, patience_s)
