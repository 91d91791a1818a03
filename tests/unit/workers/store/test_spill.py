"""More rows than memory should hold, sorted."""

import random
from typing import Any

import pyarrow as pa
import pytest

from workers.actors.project import KEYS
from workers.store import rows, spill
from workers.store.spill import Spill
from workers.store.tables.scan import PROJECTED


def nulls_last(row: dict[str, Any]) -> list[tuple[bool, int]]:
    return [(row[key] is None, row[key] or 0) for key in KEYS]


@pytest.mark.parametrize("count", [0, 1, 700])
def test_the_file_is_the_one_that_sorting_everything_in_memory_gives(tmp_path, monkeypatch, count):
    monkeypatch.setattr(spill, "HELD_BYTES", 5000)
    draw = random.Random(0)
    each = [
        {
            "layer_index": n % 7 or None, "channel": n % 11, "rank": n % 13, "image_index": n,
            "patch": draw.randbytes(draw.randrange(200)), "projection": draw.randbytes(50) if n % 3 else None,
            "projection_scale": draw.random(), "exact": bool(n % 2),
        }
        for n in range(count)
    ]  # fmt: skip
    wanted = rows.encode(PROJECTED, pa.Table.from_pylist(sorted(each, key=nulls_last), PROJECTED))
    draw.shuffle(each)
    with Spill(tmp_path, PROJECTED, KEYS) as opened:
        for row in each:
            opened.add(row)
        assert opened.encode().read_bytes() == wanted


def test_only_so_much_is_held_in_memory(tmp_path):
    row = {"layer_index": 0, "channel": 0, "rank": 0, "patch": bytes(1 << 20)}
    with Spill(tmp_path, PROJECTED, KEYS) as opened:
        before = pa.total_allocated_bytes()
        for number in range(200):
            opened.add({**row, "image_index": number})
            assert opened._held_bytes <= spill.HELD_BYTES
        assert pa.total_allocated_bytes() - before < 2 * spill.HELD_BYTES
        assert opened.encode().stat().st_size
