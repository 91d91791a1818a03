"""Processes that are asked to end at a bad moment say how they end."""

import os
import signal
import threading
import time

import pytest

from tests.support.scripts import output_of
from workers.host import ending


def ask(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # the handler runs between two instructions


def test_the_first_request_interrupts_a_block_and_more_change_nothing():
    before, seen = signal.getsignal(signal.SIGTERM), []
    with pytest.raises(KeyboardInterrupt), ending.terminable():
        try:
            ask()
        finally:
            ask()
            seen.append("all is closed")
    assert seen == ["all is closed"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_command_that_is_ending_ignores_more_requests_until_it_exits(tmp_path):
    script = """
        import os, signal
        from workers.host import ending
        ending.end_once()
        try:
            with ending.terminable():
                os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            os.kill(os.getpid(), signal.SIGTERM)
            print("stopped")
            os.kill(os.getpid(), signal.SIGTERM)
            raise SystemExit(130)
    """
    assert output_of(script, tmp_path) == (130, ["stopped"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_action_is_whole_though_the_process_is_asked_to_end_meanwhile(number):
    before, seen = signal.getsignal(number), []

    def act() -> None:
        os.kill(os.getpid(), number)
        time.sleep(0.1)
        seen.append("whole")

    ending.whole(act)
    assert seen == ["whole"]
    assert signal.getsignal(number) is before


def test_an_error_of_an_action_is_raised():
    with pytest.raises(ZeroDivisionError):
        ending.whole(lambda: 1 / 0)


def test_another_thread_leaves_the_handlers_alone():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def act() -> None:
        with ending.terminable():
            ending.whole(lambda: seen.append(signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=act)
    thread.start()
    thread.join()
    assert seen == [before]
