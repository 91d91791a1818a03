"""Which images are decoded again, to find the one that harms its decoder."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.run.attempt import Attempt
from tests.support.heard import Heard
from workers.actors.shard import Merge, Shard, ShardBatch
from workers.corpus.isolate import Verdict
from workers.corpus.manifest import Row
from workers.errors import DecoderHang, LostActors, ReaderCrash, ReaderLost, Reason, Replan, StaleImage

WORK = ShardBatch((Shard(0, 4, "m", "shards/c/0.parquet"), Shard(8, 12, "m", "shards/c/8.parquet")))
ALL = [0, 1, 2, 3, 8, 9, 10, 11]


def row(index: int) -> Row:
    return Row(index, f"{index}.jpg", f"/x/{index}.jpg", 1, "", None, None, False, None)


@pytest.fixture
def run(monkeypatch) -> Any:
    """An attempt that notes which images were tried, checked, and given a verdict."""
    attempt: Any = SimpleNamespace(root=None, watch=Heard(), job=SimpleNamespace(spec=SimpleNamespace(limits=None)))
    attempt.tried, attempt.checked, attempt.judged = [], [], []

    def find_culprits(rows: list[Row], **_: Any) -> dict[int, Verdict]:
        attempt.tried += [row.image_index for row in rows]
        return {row.image_index: Verdict(Reason.DECODER_HANG, "slow") for row in rows if row.image_index == 9}

    def find_stale(rows: list[Row]) -> dict[int, Verdict]:
        attempt.checked += [row.image_index for row in rows]
        return {}

    def unjudged_rows(_: None, __: str, start: int, stop: int) -> list[Row]:
        return [row(index) for index in range(start, stop) if index not in attempt.judged]

    monkeypatch.setattr("jobs.run.culprits.plan.unjudged_rows", unjudged_rows)
    monkeypatch.setattr("jobs.run.culprits.isolate.find_culprits", find_culprits)
    monkeypatch.setattr("jobs.run.culprits.isolate.find_stale", find_stale)
    monkeypatch.setattr(
        "jobs.run.culprits.isolate.write_verdict", lambda *given: attempt.judged.append(given[1].image_index)
    )
    monkeypatch.setattr("jobs.run.culprits.pixel_format", lambda _: None)
    attempt._blame = partial(Attempt._blame, attempt)
    return attempt


@pytest.mark.parametrize(
    ("error", "tried"),
    [
        (LostActors("died"), ALL),
        (ReaderCrash("ended"), ALL),
        (ReaderLost("not responded"), ALL),
        (ReaderLost("image 9: hangs", 9), [9]),
        (DecoderHang(9), [9]),
    ],
)
def test_only_the_image_that_an_error_names_is_tried_or_else_all_of_the_work(run, error, tried):
    assert Attempt._blame(run, WORK, error)
    assert (run.tried, run.judged, run.checked) == (tried, [9], [])


def test_all_files_of_the_work_are_checked_if_one_is_stale(run):
    assert not Attempt._blame(run, WORK, StaleImage(9, Reason.VANISHED, "gone"))
    assert (run.checked, run.judged, run.tried) == (ALL, [], [])


@pytest.mark.parametrize("error", [LostActors("died"), DecoderHang(9)])
def test_work_that_tables_depend_on_is_planned_again_once_for_an_image_that_is_to_blame(run, error):
    with pytest.raises(Replan):
        Attempt.replan(run, WORK, error)
    assert Attempt.replan(run, WORK, error) is WORK  # the image is rejected now, so something else failed


def test_work_that_reads_no_images_is_tried_again(run):
    merge = Merge(0, 12, "shards/m/0.parquet", tuple(shard.result for shard in WORK.shards), 3)
    assert Attempt.replan(run, merge, LostActors("died")) is merge
    assert run.tried == []
