"""What a driver writes down while it works: it is interrupted where it is not wanted, and by nothing else."""

import signal
import threading
import time

import pytest

from jobs.run import progress
from jobs.run.progress import ProgressWriter
from workers.kinds import Kind
from workers.spec.plain import PlainSpec
from workers.store.attempts import Attempts, Begun, Ended
from workers.store.root import Root

PATIENCE_S = 30  # for an interruption that takes 20 ms on an idle machine
AT = "2026-11-26T02:00:00+00:00"


@pytest.fixture
def attempts(tmp_path, monkeypatch) -> Attempts:
    monkeypatch.setattr(progress, "BEAT_S", 0.01)
    monkeypatch.setattr(progress, "EVERY_S", 0.01)
    found = Attempts(Root(str(tmp_path)), "flowers")
    found.take(1, Begun(AT, "local", Kind.SCAN, PlainSpec({})))
    return found


def work(attempts: Attempts, change, seconds: float = 1) -> None:
    """A driver that works until it is interrupted, or for some time."""
    until = time.monotonic() + seconds
    with ProgressWriter(attempts, 1) as watch:
        watch.phase("scan", 10, "images")
        change()
        while time.monotonic() < until:
            time.sleep(0.01)


def test_an_attempt_that_was_overtaken_is_interrupted_in_mid_work(attempts):
    with pytest.raises(KeyboardInterrupt):
        work(attempts, lambda: attempts.take(2, Begun(AT, "local", Kind.SCAN, PlainSpec({}))), PATIENCE_S)


def test_so_it_is_where_the_signal_was_ignored(attempts):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt):
            work(attempts, lambda: attempts.take(2, Begun(AT, "local", Kind.SCAN, PlainSpec({}))), PATIENCE_S)
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_attempt_that_was_cancelled_where_no_signal_reached_it_is_interrupted(attempts):
    with pytest.raises(KeyboardInterrupt):
        work(attempts, lambda: attempts.end(1, Ended(AT, 130, "cancelled")), PATIENCE_S)


def test_a_store_that_cannot_be_written_or_asked_for_a_while_stops_nobody(attempts, monkeypatch):
    class StoreError(Exception):
        """As botocore's: neither OSError nor ValueError."""

    def fails(*_: object, **__: object) -> None:
        raise StoreError

    def goes_away() -> None:
        time.sleep(0.1)
        monkeypatch.setattr(attempts, "report_progress", fails)
        monkeypatch.setattr(attempts, "numbers", fails)

    work(attempts, goes_away)
    assert attempts.progress(1).phase == "scan"


def test_a_store_that_hangs_holds_up_neither_the_run_nor_its_end(attempts, monkeypatch):
    monkeypatch.setattr(progress, "LAST_WAIT_S", 0.1)
    answer = threading.Event()
    monkeypatch.setattr(attempts, "report_progress", lambda *_: answer.wait(30))
    began = time.monotonic()
    with ProgressWriter(attempts, 1) as watch:
        time.sleep(0.1)  # its thread waits for the store by now
        for done in range(1000):
            watch.advance(done)
            watch.say("a line")
    assert time.monotonic() - began < 5
    answer.set()


def test_the_last_progress_is_written(attempts):
    with ProgressWriter(attempts, 1) as watch:
        watch.phase("scan", 10, "images")
        watch.advance(7)
    assert attempts.progress(1).done == 7
