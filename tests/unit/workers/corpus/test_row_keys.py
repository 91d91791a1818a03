"""The hash of a shard's images: it covers all that can change a result, and nothing of how a table lies in memory."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from workers import formats
from workers.corpus import manifest
from workers.corpus.isolate import Verdict
from workers.corpus.manifest import Row
from workers.corpus.row_keys import listing_key, row_key, rows_key
from workers.errors import Reason

ROWS = [
    Row(7, "a/b.jpg", "/x/a/b.jpg", 10, "e", "a", None, False, None),
    Row(8, "ünï.png", "s3://x/ünï.png", -1, "", None, "g", True, "bad_name"),
    Row(9, "noname", "tar://noname::/x/y.tar#512", 2**40, "f", "a", "", False, None),
    Row(10, "x.dcm", "/x/x.dcm", 5, "", None, None, False, None),
]
VERDICT = Verdict(Reason.DECODER_HANG, "slow")


@pytest.fixture(autouse=True)
def versions(monkeypatch) -> dict[str, str]:
    installed = {"pillow-heif": "pillow-heif 1", "pydicom": "pydicom 2"}
    monkeypatch.setattr(formats, "version_of", lambda package: installed.get(package, ""))
    return installed


def by_hand(rows: list[Row], verdicts: dict[int, Verdict]) -> str:
    """The same hash, value by value."""
    parts = [f"rows {rows[0].image_index} {len(rows)}".encode()]
    for name in ("uri", "bytes", "etag", "group", "removed", "refused"):
        values: list[Any] = [getattr(row, name) for row in rows]
        bits = "".join("1" if value is None else "0" for value in values)
        parts += [int(bits[i : i + 8].ljust(8, "0"), 2).to_bytes(1, "big") for i in range(0, len(bits), 8)]
        if name == "bytes":
            parts += [value.to_bytes(8, "little", signed=True) for value in values]
        elif name == "removed":
            parts += [bytes([value]) for value in values]
        else:
            texts = [(value or "").encode() for value in values]
            ends = np.cumsum([0, *map(len, texts)]).tolist()
            parts += [*[end.to_bytes(4, "little") for end in ends], *texts]
    judged = [[index, verdict.reason, verdict.detail] for index, verdict in verdicts.items()]
    decoders = [(n, v) for n, row in enumerate(rows) if (v := formats.decoder_versions(row.image_id, row.uri))]
    return hashlib.sha256(b"".join([*parts, json.dumps([judged, decoders]).encode()])).hexdigest()[:32]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_hash_is_that_of_the_rows_value_by_value(count):
    rows, verdicts = ROWS[:count], {7: VERDICT}
    assert rows_key(manifest.as_table(rows), 7, verdicts) == by_hand(rows, verdicts)
    assert rows_key(manifest.as_table(rows), 7, {1: VERDICT}) == by_hand(rows, {})
    assert row_key(rows[-1], {}) == by_hand(rows[-1:], {})


def test_chunks_slices_and_unused_memory_do_not_count():
    whole = manifest.as_table(ROWS)
    key = rows_key(whole, 7, {})
    assert rows_key(pa.concat_tables([whole.slice(0, 1), whole.slice(1, 2), whole.slice(3)]), 7, {}) == key
    larger = pa.concat_tables([whole, whole, whole]).combine_chunks()
    assert rows_key(larger.slice(4, 4), 7, {}) == key
    validity, text = pa.py_buffer(bytes([0b0110])), pa.array(["hidden", "g", "", "x"])
    masked = pa.Array.from_buffers(pa.string(), 4, [validity, *text.buffers()[1:]])  # nulls that have text
    assert masked.to_pylist() == [None, "g", "", None]
    index = whole.column_names.index("group")
    assert rows_key(whole.set_column(index, whole.schema.field("group"), pa.chunked_array([masked])), 7, {}) == key


CHANGES: list[dict[str, Any]] = [
    {"uri": "/x/a/c.jpg"},
    {"bytes": 11},
    {"etag": "f"},
    {"group": ""},
    {"removed": True},
    {"refused": "bad_name"},
]


def test_every_value_counts_but_the_label():
    keys = {rows_key(manifest.as_table([replace(ROWS[0], **change), *ROWS[1:]]), 7, {}) for change in [{}, *CHANGES]}
    keys |= {rows_key(manifest.as_table(ROWS), 8, {}), rows_key(manifest.as_table(ROWS), 7, {8: VERDICT})}
    keys |= {rows_key(manifest.as_table(ROWS), 7, {7: VERDICT})}
    assert len(keys) == len(CHANGES) + 4
    assert rows_key(manifest.as_table([replace(ROWS[0], label="b"), *ROWS[1:]]), 7, {}) in keys


def test_the_hash_of_a_listing_covers_labels_and_ids_too():
    changes = [{}, *CHANGES, {"label": "b"}, {"image_id": "a"}]
    keys = {listing_key(manifest.as_table([replace(ROWS[0], **change), *ROWS[1:]]), 7) for change in changes}
    assert len(keys) == len(changes)
    assert listing_key(manifest.as_table(ROWS), 8) not in keys


def test_text_that_moves_from_one_row_to_the_next_counts():
    one, other = (
        [replace(ROWS[0], etag=first), replace(ROWS[1], etag=second)] for first, second in (("ab", "c"), ("a", "bc"))
    )
    assert rows_key(manifest.as_table(one), 7, {}) != rows_key(manifest.as_table(other), 7, {})


@pytest.mark.parametrize(
    "name", [".jpg", "a/.jpg", "..jpg", "a.JPG", "a.j2K", "b.tif#1", "a.jpg#x", "a.heic", "a.jpg.dcm", "x\n.jpg"]
)
def test_names_count_as_they_do_one_by_one(name):
    rows = [replace(ROWS[0], image_id=name, uri=f"/x/{name}"), replace(ROWS[0], image_id="plain", uri=name)]
    assert rows_key(manifest.as_table(rows), 7, {}) == by_hand(rows, {})
