"""The hash of a shard's images, which names its result. Takes rows of the manifest and the verdicts on them.

It covers all that can change the result. It is computed from whole columns, because a driver does it for every image of a corpus.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers import formats
from workers.corpus import manifest
from workers.corpus.isolate import Verdict
from workers.corpus.manifest import Row
from workers.store.tables.shared import MANIFEST

COLUMNS = ("uri", "bytes", "etag", "group", "removed", "refused")
# Names of files that need no optional package. The list need not be complete: other names are checked one by one.
_PLAIN = "|".join(re.escape(end[1:]) for kind in formats.FORMATS if not kind.package for end in kind.extensions)
_PLAIN_NAME = rf"(?i)[^/.]\.(?:{_PLAIN})(?:#[0-9+]+)?$"


def rows_key(listed: pa.Table, start: int, verdicts: Mapping[int, Verdict]) -> str:
    """The hash of everything about a shard's images that can change its result.

    Args:
        listed: the rows, with the columns of a manifest.
        start: image index of the first row.
        verdicts: verdicts by image index.

    Returns:
        32 hexadecimal digits.
    """
    digest = _hash(listed, start, COLUMNS)
    stop = start + len(listed)
    judged = [[index, one.reason, one.detail] for index, one in sorted(verdicts.items()) if start <= index < stop]
    digest.update(json.dumps([judged, list(_decoders(listed))]).encode())
    return digest.hexdigest()[:32]


def listing_key(listed: pa.Table, start: int) -> str:
    """The hash of all that a manifest says about some images. The first has the index `start`."""
    return _hash(listed, start, MANIFEST.names).hexdigest()[:32]


def row_key(row: Row, verdicts: Mapping[int, Verdict]) -> str:
    """The hash of a shard with a single image."""
    return rows_key(manifest.as_table([row]), row.image_index, verdicts)


def _hash(listed: pa.Table, start: int, names: Sequence[str]) -> "hashlib._Hash":
    digest = hashlib.sha256(f"rows {start} {len(listed)}".encode())
    for name in names:
        for part in _content(pa.concat_arrays(listed[name].chunks)):
            digest.update(part)
    return digest


def _content(column: pa.Array) -> Iterator[Any]:
    """The content of a column as buffers, the same for equal columns regardless of how pyarrow holds them."""
    yield np.packbits(column.is_null().to_numpy(zero_copy_only=False)).data
    if pa.types.is_string(column.type):
        whole = column.fill_null("")
        _, offsets, data = whole.buffers()
        ends = np.frombuffer(offsets, "<i4")[whole.offset : whole.offset + len(whole) + 1]
        yield (ends - ends[0]).data
        yield memoryview(data)[ends[0] : ends[-1]] if data else b""
    else:
        whole = column.fill_null(False if pa.types.is_boolean(column.type) else 0)
        yield np.ascontiguousarray(whole.to_numpy(zero_copy_only=False)).data


def _decoders(listed: pa.Table) -> Iterator[tuple[int, tuple[str, ...]]]:
    """For each row that an optional package may decode: its number, and the versions of those packages."""
    is_plain = pc.match_substring_regex(listed["image_id"], _PLAIN_NAME).to_numpy()
    others = np.flatnonzero(~is_plain)
    names = (listed[name].take(pa.array(others)).to_pylist() for name in ("image_id", "uri"))
    for number, image_id, uri in zip(others.tolist(), *names, strict=True):
        versions = formats.decoder_versions(image_id, uri)
        if versions:
            yield number, versions
