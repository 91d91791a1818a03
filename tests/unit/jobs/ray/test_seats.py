"""What a pool keeps in mind: which item is next, when a failed one is tried again, and when the run gives up."""

import pytest

from jobs.ray.seats import FAILURES, Queue, Task
from workers.errors import (
    DecoderHang,
    LostActors,
    MemoryTaken,
    OtherVerdicts,
    OutOfMemory,
    ReaderCrash,
    ReaderLost,
    Reason,
    StaleImage,
)

DIED = RuntimeError("the process died\nand pages more")


def queue(*items, judge=lambda item, _: item) -> Queue:
    return Queue(iter(items), judge)


def test_items_come_in_order_and_then_none():
    waiting = queue("a", "b")
    assert [task.item if task else None for task in (waiting.next(0), waiting.next(0), waiting.next(0))] == [
        "a",
        "b",
        None,
    ]
    assert waiting.exhausted


def test_a_failed_item_waits_twice_as_long_each_time_while_others_run():
    waiting, pauses = queue("a", *range(20)), []
    task = waiting.next(0.0)
    for _ in range(4):
        waiting.put_back(task, DIED, 0.0)
        pauses.append(task.not_before)
        assert waiting.next(task.not_before - 0.01).item != "a"
        assert waiting.next(task.not_before) is task
    assert pauses == [1, 2, 4, 8]


def test_images_are_judged_after_every_second_death_and_not_for_other_failures():
    asked = []
    waiting = queue(judge=lambda item, _: asked.append(item) or item)
    task = Task("a")
    for died in (True, False, True, False, True):
        waiting.put_back(task, DIED, 0.0, died=died)
    assert (task.deaths, asked) == (3, ["a"])


@pytest.mark.parametrize("error", [DecoderHang(0), StaleImage(0, Reason.VANISHED, "a.jpg is gone"), OtherVerdicts("a")])
def test_an_error_that_names_an_image_is_judged_at_once_and_what_replaces_the_item_runs_without_a_pause(error):
    waiting = queue(judge=lambda item, _: f"{item} without it")
    waiting.put_back(Task("a"), error, 5.0)
    task = waiting.next(0.0)
    assert (task.item, task.failures) == ("a without it", 0)


def test_images_are_judged_after_every_second_crash_of_a_reader_and_after_every_hang():
    asked = []
    waiting = queue(judge=lambda item, error: asked.append(type(error)) or item)
    task = Task("a")
    for error in (ReaderCrash("ended"), ReaderCrash("ended"), ReaderLost("image 3: hangs", 3), ReaderCrash("ended")):
        waiting.put_back(task, error, 0.0)
    assert asked == [ReaderCrash, ReaderLost] and (task.deaths, task.failures) == (3, 4)


def test_an_item_that_fails_too_often_stops_the_run_in_one_line():
    waiting, task = queue(), Task("a")
    for _ in range(FAILURES - 1):
        waiting.put_back(task, DIED, 0.0)
    with pytest.raises(
        LostActors, match=r"^a failed 6 times, and .*; the last error: the process died; the same command resumes"
    ):
        waiting.put_back(task, DIED, 0.0)


@pytest.mark.parametrize("kind", [OutOfMemory, MemoryTaken])
def test_memory_that_is_short_three_times_is_reported_as_it_was(kind):
    waiting, task = queue(), Task("a")
    for wait_s in (5, 10):
        waiting.put_back(task, kind("2 GB"), 0.0)
        assert task.not_before == wait_s
    with pytest.raises(kind, match=r"^2 GB$"):
        waiting.put_back(task, kind("2 GB"), 0.0)


def test_an_item_is_slow_when_it_takes_ten_seconds_and_three_times_the_usual():
    waiting = queue()
    assert not waiting.is_slow(29) and waiting.is_slow(31)  # nothing is usual yet
    waiting.spent_s += [1.0, 2.0, 30.0]
    assert not waiting.is_slow(9) and waiting.is_slow(11)
    waiting.spent_s += [30.0, 30.0]
    assert not waiting.is_slow(80) and waiting.is_slow(91)
