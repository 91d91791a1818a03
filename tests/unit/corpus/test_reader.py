"""Batches on a fixed grid, rejects in their places, decoders that hang or die."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from workers.corpus import isolate, manifest, reader
from workers.corpus.isolate import Verdict
from workers.errors import DecoderHang, Reason, Rejected
from workers.spec import LimitsSpec
from workers.store.root import Root

LIMITS = LimitsSpec(bytes=100)


def rows(folder: Path, *contents: bytes, removed: tuple[int, ...] = ()) -> list[manifest.Row]:
    found = []
    for index, data in enumerate(contents):
        file = folder / f"{index}.jpg"
        file.write_bytes(data)
        found.append(manifest.Row(index, file.name, str(file), len(data), "", None, None, index in removed, None))
    return found


def decode(data: bytes, limits: LimitsSpec, claim: object = None) -> np.ndarray:
    """A picture as tall as the number in the file; slow where the number is even, so that threads overtake."""
    del limits, claim
    if data == b"bad":
        raise Rejected(Reason.DAMAGED, "bad")
    time.sleep(0.02 * (int(data) % 2 == 0))
    return np.zeros((int(data), 1, 3), np.uint8)


def prepare(pixels: np.ndarray) -> torch.Tensor:
    return torch.full((3, 2, 2), len(pixels), dtype=torch.uint8)


@pytest.mark.parametrize("threads", [1, 4])
def test_batches_lie_on_the_grid_of_the_rows_and_not_of_what_could_be_read(tmp_path, threads):
    listed = rows(tmp_path, b"10", b"bad", b"12", b"13", b"14", b"15", b"x" * 101, b"bad", b"18", removed=(4,))
    options = reader.ReadOptions(LIMITS, threads=threads, ahead=3, decode=decode)
    batches = list(reader.batches(listed, 3, prepare, options))
    assert [[p.record.image_index for p in batch.pictures] for batch in batches] == [[0, 2], [3, 5], [8]]
    assert [[(r.image_index, r.reason) for r in batch.rejects] for batch in batches] == [
        [(1, "damaged")], [], [(6, "too_many_bytes"), (7, "damaged")]
    ]  # fmt: skip
    assert batches[1].pixels()[:, 0, 0, 0].tolist() == [13, 15]
    assert batches[0].pictures[1].record.height == 12


def test_a_file_with_a_verdict_is_not_touched(tmp_path):
    listed = rows(tmp_path, b"10", b"11")
    (tmp_path / "1.jpg").unlink()
    options = reader.ReadOptions(LIMITS, decode=decode, verdicts={1: Verdict(Reason.DECODER_CRASH, "signal 11")})
    [batch] = reader.batches(listed, 4, prepare, options)
    assert [(r.image_index, r.reason, r.detail) for r in batch.rejects] == [(1, "decoder_crash", "signal 11")]


def test_a_decoder_that_hangs_is_told_and_not_waited_for(tmp_path):
    def slow(data: bytes, limits: LimitsSpec, claim: object) -> np.ndarray:
        time.sleep(3 if data == b"11" else 0)
        return decode(data, limits, claim)

    options = reader.ReadOptions(LIMITS, threads=2, hang_s=0.3, decode=slow)
    started = time.monotonic()
    with pytest.raises(DecoderHang, match="image 1:"):
        list(reader.batches(rows(tmp_path, b"10", b"11", b"12"), 1, prepare, options))
    assert time.monotonic() - started < 2.5


def test_a_verdict_is_remembered_until_its_file_is_deleted_or_the_image_changes(tmp_path):
    root, (row, other) = Root(str(tmp_path / "root")), rows(tmp_path, b"1", b"2")
    verdict = Verdict(Reason.DECODER_HANG, "slow")
    isolate.write_verdict(root, row, verdict)
    names = root.files("verdicts")
    assert isolate.read_verdicts(root, [row, other], names) == {0: verdict}
    changed = manifest.Row(**{**vars(row), "etag": "new"})
    assert isolate.read_verdicts(root, [changed], names) == {}
    root.delete(f"verdicts/{next(iter(names))}")
    assert isolate.read_verdicts(root, [row], root.files("verdicts")) == {}
