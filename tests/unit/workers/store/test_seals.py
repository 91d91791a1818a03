"""Files that carry their own hash: in memory and on disk the same bytes, and any flipped bit is seen."""

import numpy as np
import pyarrow as pa

from workers.store import rows, seals

SCHEMA = pa.schema([("layer", pa.string()), ("patch", pa.binary())])


def table() -> pa.Table:
    noise = np.random.default_rng(0)
    return pa.table({"layer": ["relu1"] * 8, "patch": [noise.bytes(500) for _ in range(8)]}, SCHEMA)


def test_a_file_sealed_on_disk_is_the_one_sealed_in_memory(tmp_path):
    path = tmp_path / "rows.parquet"
    with rows.writer(path, SCHEMA) as writer:
        writer.write_table(table(), row_group_size=rows.SMALL_GROUP_ROWS)
    seals.seal_file(path)
    assert path.read_bytes() == rows.encode(SCHEMA, table())


def test_any_flipped_bit_of_a_sealed_file_is_seen():
    whole = rows.encode(SCHEMA, table())
    assert not seals.is_broken(whole)
    name = whole.rindex(seals.NAME)
    for bit in range(0, 8 * len(whole), 37):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        assert seals.is_broken(bytes(flipped)) or name <= bit // 8 < name + len(seals.NAME)
