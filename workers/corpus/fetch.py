"""The bytes of listed images. Takes a manifest row's uri, size and etag, gives its bytes; retries failures that may pass."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from workers.errors import ReadError, Reason
from workers.host import retrying
from workers.host.retrying import retried
from workers.sources import versions
from workers.sources.registry import access_of

READ_HANG_S = 120.0
SLOWEST_BYTES_PER_S = 1 << 20
LIKELY_BYTES = 4 << 20  # of an image whose size is not known


def read(
    uri: str,
    expected_bytes: int,
    etag: str = "",
    patience_s: float = 0.0,
    begin: Callable[[], None] = lambda: None,
) -> bytes:
    """The bytes of a listed image.

    Args:
        uri: the image.
        expected_bytes: its size when it was listed.
        etag: its version when it was listed; empty if unknown.
        patience_s: how long failures that may pass are retried, seconds; 0 tries once.
        begin: called before each attempt, and again and again during long ones.

    Raises:
        StaleFile: the image has vanished or changed since it was listed.
        ReadError: it cannot be read.
        StoreError: the storage kept failing until the retries ran out.
    """

    def attempt() -> bytes:
        begin()
        return access_of(uri).read(uri, expected_bytes, etag, begin)

    with naming(uri):
        try:
            return _retry_if_needed(attempt, f"reading {uri}", patience_s)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise versions.vanished_error(uri) from error


@contextmanager
def naming(uri: str) -> Iterator[None]:
    """Turn an error of a storage into a ReadError that names the file. Not all errors of storages are OSErrors."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and not retrying.may_pass(error):
            raise
        raise ReadError(f"{uri} cannot be read: {retrying.reason(error)}") from error


def staleness(uri: str, expected_bytes: int, etag: str) -> Reason | None:
    """Whether a listed image has vanished or changed, without reading it; None if it is unchanged.

    Raises:
        OSError: the storage cannot be read.
    """
    return access_of(uri).staleness(uri, expected_bytes, etag)


def corpus_exists(uri: str, image_id: str) -> bool:
    """Whether the corpus of an image exists and, if the storage can tell, is not empty."""
    return access_of(uri).corpus_exists(uri, image_id)


def first_byte(uri: str) -> None:
    """Read the first byte of an image; raises OSError if this machine cannot."""
    access_of(uri).first_byte(uri)


def read_limit(size_bytes: int, limit_s: float) -> float:
    """The time limit for reading a file of a size, seconds; long enough for a slow storage."""
    return limit_s + likely_bytes(size_bytes) / SLOWEST_BYTES_PER_S


def likely_bytes(size_bytes: int) -> int:
    """The size of an image, or a large one if the listing did not give it."""
    return LIKELY_BYTES if size_bytes == versions.UNKNOWN_BYTES else size_bytes


def _retry_if_needed(attempt: Callable[[], bytes], what: str, patience_s: float) -> bytes:
    """Try once without the retry policy, whose set-up costs as much as reading a small file; then retry with it."""
    try:
        return attempt()
    except Exception as error:
        if patience_s <= 0 or not retrying.may_pass(error):
            raise
    return retried(attempt, what, patience_s)
