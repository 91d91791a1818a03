"""A watch on the head of the Ray cluster. Takes the run's watcher, ends this process if the head is gone.

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
from jobs.watch import Watcher
from workers.errors import UsageError
from workers.host.steady import SteadyClock

EVERY_S = 5.0
ANSWER_S = 5.0  # time that the head may take to answer
SHARE = 0.75  # of the time after which Ray ends the process
RAYS_LIMIT, RAYS_DEFAULT_S = "RAY_gcs_rpc_server_reconnect_timeout_s", 60.0
CLOSING_S = 3.0  # for the terminal to be restored
STORING_S = 1.5  # for the last line to be stored, which happens about once a second


@contextmanager
def watch_head(watch: Watcher, end: Callable[[], object] | None = None) -> Iterator[None]:
    """Report a head that does not respond, and end the process if it stays silent; once this process is connected to Ray.

    Args:
        watch: receives messages and is closed, from a thread.
        end: ends the process; by default with exit code 1.
    """
    is_over = threading.Event()
    words = (watch, end or partial(os._exit, 1), is_over)
    thread = threading.Thread(target=_watch, args=words, name="head watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()


def limit_s() -> float:
    """Seconds after which a silent head ends the process."""
    try:
        return SHARE * float(os.environ.get(RAYS_LIMIT, RAYS_DEFAULT_S))
    except ValueError:
        return SHARE * RAYS_DEFAULT_S


def _watch(watch: Watcher, end: Callable[[], object], is_over: threading.Event) -> None:
    clock, most_s = SteadyClock(cap_s=EVERY_S + 2 * ANSWER_S), limit_s()  # the clock is read once in this time
    answered, is_reported = clock(), False
    while not is_over.wait(EVERY_S):
        now, address = clock(), joining.head_address()
        if address is None or _responds(address):
            if is_reported:
                watch.say(f"the head of the Ray cluster at {address} responds again")
            answered, is_reported = now, False
        elif is_over.is_set():
            return
        elif clock() - answered >= most_s:
            _close(watch)  # first, since it may print a line about the phase
            watch.say(
                f"the head of the Ray cluster at {address} has not responded for {most_s:.0f} s, so this run ends; the same "
                "command resumes it on a cluster that responds"
            )
            is_over.wait(STORING_S)
            end()
            return
        elif not is_reported:
            watch.say(f"the head of the Ray cluster at {address} does not respond")
            is_reported = True


def _close(watch: Watcher) -> None:
    """Restore the terminal, but do not wait long for it."""
    closing = threading.Thread(target=watch.close, daemon=True)
    closing.start()
    closing.join(CLOSING_S)


def _responds(address: str) -> bool:
    try:
        joining.require_answer(address, ANSWER_S)
    except (UsageError, TimeoutError):
        return False
    except ConnectionError:  # an answer, too
        return True
    return True
