"""Parquet files with cached footers. Takes a root and a path, gives the open file; caches the last few footers.

A footer lists every row group, so parsing the footer of a long manifest takes longer than reading one row group. Files are
immutable: a cached footer is valid as long as the file has the same stamp.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

import pyarrow.parquet as pq
from cachetools import LRUCache

from workers.store.files import stamp
from workers.store.root import Root

CACHED = 8

_FOOTERS: LRUCache[tuple[str, str], pq.FileMetaData] = LRUCache(CACHED)
_LOCK = Lock()


@contextmanager
def open_parquet(root: Root, rel: str, check: Callable[[pq.FileMetaData], None]) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file. Page checksums are verified when pages are read.

    Args:
        root: the root.
        rel: path under the root.
        check: raises ArrowInvalid if a footer is not valid; called once per footer.

    Raises:
        FileNotFoundError: there is no such file.
        ArrowInvalid, OSError without errno: the file is damaged.
    """
    with root.open(rel) as file:
        key = root.path(rel), stamp(root, rel)
        with _LOCK:
            footer = _FOOTERS.get(key)
        parquet = pq.ParquetFile(file, metadata=footer, page_checksum_verification=True)
        if footer is None:
            check(parquet.metadata)
            with _LOCK:
                _FOOTERS[key] = parquet.metadata
        yield parquet
