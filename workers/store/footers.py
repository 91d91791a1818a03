"""Parquet files whose footers are parsed once. Takes a root and a path, gives the open file; keeps the last few footers.

A footer lists every row group: parsing that of a long manifest takes longer than reading one row group. The files are
immutable, so a footer is kept as long as the file has the same stamp.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

import pyarrow.parquet as pq
from cachetools import LRUCache

from workers.store.files import stamp
from workers.store.root import Root

KEPT = 8

_FOOTERS: LRUCache[tuple[str, str], pq.FileMetaData] = LRUCache(KEPT)
_LOCK = Lock()


@contextmanager
def opened(root: Root, rel: str, check: Callable[[pq.FileMetaData], None]) -> Iterator[pq.ParquetFile]:
    """A Parquet file, whose page checksums are verified when its pages are read.

    Args:
        root: where it is.
        rel: its path under the root.
        check: raises ArrowInvalid if a footer cannot be right; called once per footer.

    Raises:
        FileNotFoundError: there is no such file.
        ArrowInvalid, OSError without errno: it is damaged.
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
