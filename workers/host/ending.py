"""Requests to end this process: SIGTERM and Ctrl-C. They raise KeyboardInterrupt, are ignored, or wait for what must be whole."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], object] | int
EVERY_S = 0.002  # how often handlers are set again that another library may have removed


def end_once() -> None:
    """From now on, the first SIGTERM raises KeyboardInterrupt; those after it change nothing, as the process is ending."""
    if _in_main_thread():
        signal.signal(signal.SIGTERM, _end_once)


def ignore() -> None:
    """From now on, SIGTERM changes nothing: the process is about to say why it ends."""
    if _in_main_thread():
        signal.signal(signal.SIGTERM, _ignore)


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt in the block, so that all that is open there is closed. See `end_once` for the next."""
    before = signal.getsignal(signal.SIGTERM)
    if not _in_main_thread() or before is _end_once:
        yield
        return
    end_once()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def whole(action: Callable[[], object]) -> None:
    """Run an action to its end: neither SIGTERM nor Ctrl-C interrupts it, not even if it resets their handlers.

    The action runs in a thread. The main thread, the only one that can set handlers, sets them again every EVERY_S seconds.
    A SIGTERM that arrives between the action's reset and that ends the process.

    Raises:
        Exception: whatever the action raises.
    """
    if not _in_main_thread():
        action()
        return
    handlers = {number: signal.getsignal(number) or signal.SIG_DFL for number in (signal.SIGINT, signal.SIGTERM)}
    ignored = dict.fromkeys(handlers, _ignore)
    with ThreadPoolExecutor(1, "whole") as thread:
        try:
            _set(ignored)
            running: Future[object] = thread.submit(action)
            while not wait([running], EVERY_S).done:
                _set(ignored)
        finally:
            _set(handlers)
    running.result()


def _set(handlers: Mapping[signal.Signals, Handler]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _end_once(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's signature
    ignore()
    raise KeyboardInterrupt


def _ignore(number: int, frame: FrameType | None) -> None:
    """A function, because processes would inherit SIG_IGN."""


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
