"""A watch on the head of the Ray cluster. Takes a function that reports, ends this process if the head is gone.

If a process cannot reach the head for a minute, Ray ends it, with an error about Ray's own server. Calls to the head block until
then, on the main thread too, so nothing can be raised there. A thread therefore says what to do, and ends the process a little
earlier. Nothing is lost: to the store, this looks like a killed run.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from jobs.ray import joining
from workers.errors import UsageError
from workers.host.steady import SteadyClock

EVERY_S = 5.0
ANSWER_S = 5.0  # time that the head may take to answer
END_S = 45.0  # Ray ends the process after 60 s


@contextmanager
def watch_head(say: Callable[[str], None], end: Callable[[], object] | None = None) -> Iterator[None]:
    """Report a head that does not respond, and end the process if it stays silent; once this process is connected to Ray.

    Args:
        say: reports a message; called from a thread.
        end: ends the process; by default with exit code 1.
    """
    end = end or partial(os._exit, 1)
    is_over = threading.Event()
    thread = threading.Thread(target=_watch, args=(say, end, is_over), name="head watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()


def _watch(say: Callable[[str], None], end: Callable[[], object], is_over: threading.Event) -> None:
    clock = SteadyClock(cap_s=EVERY_S + 2 * ANSWER_S)  # it is read once in this time
    answered, is_reported = clock(), False
    while not is_over.wait(EVERY_S):
        now, address = clock(), joining.head_address()
        if address is None or _responds(address):
            if is_reported:
                say(f"the head of the Ray cluster at {address} responds again")
            answered, is_reported = now, False
        elif is_over.is_set():
            return
        elif clock() - answered >= END_S:
            say(
                f"the head of the Ray cluster at {address} has not responded for {END_S:.0f} s, so this run ends; the same "
                "command resumes it on a cluster that responds"
            )
            end()
            return
        elif not is_reported:
            say(f"the head of the Ray cluster at {address} does not respond")
            is_reported = True


def _responds(address: str) -> bool:
    try:
        joining.require_answer(address, ANSWER_S)
    except (UsageError, TimeoutError):
        return False
    except ConnectionError:  # an answer, too
        return True
    return True
